//! What the build scripts that run a cargo of their own have in common: its folder, and what it must not hear of the outer one.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `target/<name>` beside `target/debug`, so that all profiles share it, and the two cargos never wait for each other's lock;
/// `OUT_DIR` where the layout is another.
pub(crate) fn target_folder(out: &Path, name: &str) -> PathBuf {
    // …/target/debug/build/yurt-<hash>/out
    let build = out.ancestors().nth(2).filter(|build| build.ends_with("build"));
    build.and_then(|build| build.ancestors().nth(2)).unwrap_or(out).join(name)
}

/// The outer cargo says to its build scripts what it is doing; an inner cargo would take that for its own orders (flags for the
/// host's processor, another target or profile, clippy as compiler). Only what says where crates come from and how to talk goes on,
/// and what `also` names.
pub(crate) fn forget_the_outer_build(command: &mut Command, also: fn(&str) -> bool) {
    for (name, _) in env::vars_os().filter(|(name, _)| meant_for_the_outer_build(name, also)) {
        command.env_remove(name);
    }
}

fn meant_for_the_outer_build(name: &OsString, also: fn(&str) -> bool) -> bool {
    let Some(name) = name.to_str() else { return false };
    let goes_on = ["CARGO_HOME", "CARGO_MAKEFLAGS"].contains(&name)
        || ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"].iter().any(|start| name.starts_with(start))
        // The very programs that are at work, absolute.
        || ["CARGO", "RUSTC"].contains(&name)
        || also(name);
    let of_cargo = ["CARGO_", "RUSTC_", "DEP_"].iter().any(|start| name.starts_with(start))
        || ["RUSTFLAGS", "RUSTDOC", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS"].contains(&name);
    of_cargo && !goes_on
}

//! Embeds the default guests: `YURT_GUEST_USB` and `YURT_GUEST_PYTHON` name the components `usb` and `python` for `include_bytes!`.
//!
//! Built here by `guests/build.sh` (another target, another profile, a target folder of its own beside the outer one, so that the
//! two cargos never wait for each other's lock), or taken from the folder that `YURT_GUESTS_DIR` names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// Components that `guests/build.sh` makes, by the names of their files and of their sources' folders.
const GUESTS: [&str; 2] = ["usb", "python"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=YURT_GUESTS_DIR");
    let built = match env::var_os("YURT_GUESTS_DIR") {
        Some(folder) => prebuilt(Path::new(&folder)),
        None => build(),
    };
    match built {
        Ok(components) => {
            for (name, component) in GUESTS.iter().zip(components) {
                println!("cargo::rustc-env=YURT_GUEST_{}={}", name.to_uppercase(), component.display());
            }
            ExitCode::SUCCESS
        }
        Err(problem) => {
            println!("cargo::error={problem}");
            ExitCode::FAILURE
        }
    }
}

/// The components that somebody else built.
fn prebuilt(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let component = |name: &&str| {
        let file = folder.join(format!("{name}.wasm"));
        println!("cargo::rerun-if-changed={}", file.display());
        // Absolute: cargo runs build scripts in the package's folder, the compiler elsewhere.
        let file = fs::canonicalize(&file).map_err(|e| format!("YURT_GUESTS_DIR: {}: {e}", file.display()))?;
        looks_like_a_component(&file)
    };
    GUESTS.iter().map(component).collect()
}

fn build() -> Result<Vec<PathBuf>, String> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or(format!("cargo did not set {name}"));
    let root = variable("CARGO_MANIFEST_DIR")?.join("../..");
    let guests = root.join("guests");
    for source in GUESTS.iter().chain(&["sdk", "Cargo.toml", "Cargo.lock", ".cargo", "build.sh", "toolchain.sh"]) {
        println!("cargo::rerun-if-changed={}", guests.join(source).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("wit").display());

    let out = variable("OUT_DIR")?;
    let mut script = Command::new("sh");
    script.arg(guests.join("build.sh")).arg(&out).env("YURT_GUESTS_TARGET", target_folder(&out));
    for (name, _) in env::vars_os().filter(|(name, _)| meant_for_the_outer_build(name)) {
        script.env_remove(name);
    }
    let status = script.status().map_err(|e| format!("cannot run guests/build.sh with sh: {e}"))?;
    if !status.success() {
        return Err("the embedded guests did not build, see above; it takes the Rust target wasm32-unknown-unknown \
                    (rustup target add wasm32-unknown-unknown), or YURT_GUESTS_DIR naming a folder with usb.wasm and python.wasm built elsewhere"
            .into());
    }
    GUESTS.iter().map(|name| looks_like_a_component(&out.join(format!("{name}.wasm")))).collect()
}

/// `target/guests` beside `target/debug`, so that all profiles share it; `OUT_DIR` where the layout is another.
fn target_folder(out: &Path) -> PathBuf {
    // …/target/debug/build/yurt-<hash>/out
    let build = out.ancestors().nth(2).filter(|build| build.ends_with("build"));
    build.and_then(|build| build.ancestors().nth(2)).unwrap_or(out).join("guests")
}

/// The outer cargo says to its build scripts what it is doing; an inner cargo would take that for its own orders (flags for the
/// host's processor, another target, clippy as compiler). Only what says where crates come from and how to talk goes on.
fn meant_for_the_outer_build(name: &OsString) -> bool {
    let Some(name) = name.to_str() else { return false };
    let goes_on = ["CARGO_HOME", "CARGO_MAKEFLAGS"].contains(&name)
        || ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"].iter().any(|start| name.starts_with(start))
        // The very programs that are at work, absolute.
        || ["CARGO", "RUSTC"].contains(&name);
    let of_cargo = ["CARGO_", "RUSTC_", "DEP_"].iter().any(|start| name.starts_with(start))
        || ["RUSTFLAGS", "RUSTDOC", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS"].contains(&name);
    of_cargo && !goes_on
}

/// The preamble of a component (version 13, layer 1), not of a core module.
fn looks_like_a_component(file: &Path) -> Result<PathBuf, String> {
    let bytes = fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    if bytes.starts_with(b"\0asm\x0d\0\x01\0") {
        Ok(file.to_owned())
    } else {
        Err(format!("{}: not a WebAssembly component", file.display()))
    }
}

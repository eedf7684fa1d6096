//! The binary under test belongs to another package, so cargo does not build it for these tests: they do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// `YURT_BIN`, else the binary of this workspace, built once per test program with the profile of the tests.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("YURT_BIN").map_or_else(build, PathBuf::from))
}

/// The component of a built-in guest: of `YURT_GUESTS_DIR`, else of the build of [`binary`]; none where that was made elsewhere.
pub fn guest(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("YURT_GUESTS_DIR").map(PathBuf::from);
    let built = || {
        // target/debug/yurt, target/debug/build/yurt-<hash>/out
        let builds = std::fs::read_dir(binary().parent()?.join("build")).ok()?.flatten().map(|entry| entry.path());
        let components = builds.map(|build| build.join("out").join(name).with_extension("wasm"));
        components.filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file))).max().map(|(_, file)| file)
    };
    given.map(|dir| dir.join(name).with_extension("wasm")).or_else(built).filter(|file| file.exists())
}

/// Fresh already, this takes cargo a moment. Where the file is, cargo itself says.
fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).args([
        "build",
        "--package=yurt",
        "--bin=yurt",
        "--message-format=json-render-diagnostics",
    ]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // What the outer cargo says of this package is nothing to the other one.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.stderr(std::process::Stdio::inherit()).output().expect("cargo cannot be run");
    assert!(output.status.success(), "the binary under test does not build");
    let messages = String::from_utf8(output.stdout).expect("cargo's messages are JSON");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "yurt")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names no executable")
}

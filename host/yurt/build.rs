//! Embeds the default guests: `YURT_GUEST_USB` names the component `usb` for `include_bytes!`, and so do `YURT_GUEST_PYTHON`,
//! `YURT_GUEST_EXEC`, `YURT_GUEST_RAW_EXEC`, `YURT_GUEST_JAVA` and `YURT_GUEST_WASI` theirs.
//!
//! Built here by `guests/build.sh` (another target, another profile, a target folder of its own beside the outer one), or taken from the folder that `YURT_GUESTS_DIR` names.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

#[path = "../nested_cargo.rs"]
mod nested_cargo;
use nested_cargo::{forget_the_outer_build, target_folder};

/// Components that `guests/build.sh` makes, by the names of their files and of their sources' folders.
const GUESTS: [&str; 6] = ["usb", "python", "exec", "raw-exec", "java", "wasi"];

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
                let name = name.to_uppercase().replace('-', "_");
                println!("cargo::rustc-env=YURT_GUEST_{name}={}", component.display());
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
    script.arg(guests.join("build.sh")).arg(&out).env("YURT_GUESTS_TARGET", target_folder(&out, "guests"));
    forget_the_outer_build(&mut script, |_| false);
    let status = script.status().map_err(|e| format!("cannot run guests/build.sh with sh: {e}"))?;
    if !status.success() {
        return Err("the embedded guests did not build, see above; it takes the Rust target wasm32-unknown-unknown \
                    (rustup target add wasm32-unknown-unknown), or YURT_GUESTS_DIR naming a folder with the guests built elsewhere"
            .into());
    }
    GUESTS.iter().map(|name| looks_like_a_component(&out.join(format!("{name}.wasm")))).collect()
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

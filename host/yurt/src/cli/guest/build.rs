//! `yurt guest build`: a guest's folder → a component, by the tools of its language.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::Value;

use super::component::component;
use super::toolchain::{self, Folder, Language, program};
use crate::cli::term::{Out, Style};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The guest's folder
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// The component to write, instead of FOLDER's name and .wasm in it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let folder = fs::canonicalize(&arguments.folder).with_context(|| arguments.folder.display().to_string())?;
    let folder = Folder::at(&folder)?;
    let output = match &arguments.output {
        Some(output) => std::path::absolute(output)?,
        None => super::component_of(&folder.path)?,
    };
    let mut out = Out::new();
    let start = Instant::now();
    // A plugin may be reading the one that is there: the new one takes its place when it is whole.
    let fresh = output.with_extension("new");
    build(&folder, &fresh).with_context(|| format!("{} was not built", output.display()))?;
    let size = fs::metadata(&fresh)?.len();
    // Whatever the umask is: one that others may write would not be loaded.
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644))?;
    fs::rename(&fresh, &output).with_context(|| output.display().to_string())?;
    let name = out.paint(Style::Strong, &output.display().to_string());
    out.line(&format!("{name}  {} KiB in {:.1} s", size.div_ceil(1024), start.elapsed().as_secs_f64()))?;
    Ok(ExitCode::SUCCESS)
}

fn build(folder: &Folder, output: &Path) -> anyhow::Result<()> {
    let path = folder.path.as_path();
    match folder.language {
        Language::Rust => rust(path, output),
        Language::Python => {
            let tool = program(path, &[".venv/bin"], "componentize-py")
                .ok_or_else(|| folder.language.missing(path, "componentize-py"))?;
            let mut tool = Command::new(tool);
            tool.arg("-d").arg(folder.contract()).args([
                "-w",
                folder.world,
                "componentize",
                "--stub-wasi",
                folder.module,
            ]);
            done(tool.arg("-o").arg(output).current_dir(path))
        }
        Language::JavaScript => {
            let tool = program(path, &["node_modules/.bin"], "componentize-qjs")
                .ok_or_else(|| folder.language.missing(path, "componentize-qjs"))?;
            let mut tool = Command::new(tool);
            tool.arg("-w").arg(folder.contract()).args(["-n", folder.world, "-j"]).arg(format!("{}.js", folder.module));
            // Without --sync the component would want WebAssembly's asynchronous calls, which guests do not have.
            done(tool.args(["--module-root", ".", "--sync", "--stub-wasi", "-o"]).arg(output).current_dir(path))
        }
        Language::Go => {
            let go = program(path, &[], "go").ok_or_else(|| folder.language.missing(path, "go"))?;
            let mut go = Command::new(go);
            go.args(["build", "-trimpath", "-buildmode=c-shared"])
                // The bindings reach into Go's runtime for memory.
                .arg("-ldflags=-checklinkname=0 -s -w")
                .env("GOOS", "wasip1")
                .env("GOARCH", "wasm");
            done(go.arg("-o").arg(output).arg(".").current_dir(path))?;
            let module = component(fs::read(output)?, Some((&folder.contract(), folder.world)))?;
            Ok(fs::write(output, module)?)
        }
        Language::C => {
            let mut zig = toolchain::zig(path)?;
            zig.args(["cc", "--target=wasm32-wasi", "-mexec-model=reactor", "-Os", "-Wall", "-Wextra"])
                // Names stay, for the backtrace of a trap.
                .args(["-Wl,--strip-debug", "-o"])
                .arg(output);
            for sources in [path.to_owned(), path.join("bindings")] {
                zig.args(files(&sources, &["c", "o"])?);
            }
            done(zig.current_dir(path))?;
            Ok(fs::write(output, component(fs::read(output)?, None)?)?)
        }
    }
}

fn rust(folder: &Path, output: &Path) -> anyhow::Result<()> {
    let mut cargo = Command::new(toolchain::cargo(folder)?);
    cargo.args([
        "build",
        "--release",
        "--target",
        "wasm32-unknown-unknown",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let built = cargo.current_dir(folder).stderr(Stdio::inherit()).output().context("cargo")?;
    if !built.status.success() {
        bail!("cargo failed, see above");
    }
    // The last artifact is the package's own.
    let said = String::from_utf8_lossy(&built.stdout);
    let artifacts = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let files = artifacts.filter_map(|message| message.get("filenames")?.as_array().cloned()).flatten();
    let component = files.filter_map(|file| file.as_str().map(str::to_owned)).rfind(|file| file.ends_with(".wasm"));
    let component = component.ok_or_else(|| anyhow!("cargo made no component: is the crate a cdylib?"))?;
    fs::copy(&component, output).with_context(|| component.clone())?;
    Ok(())
}

/// The folder's files with one of these endings, in order.
fn files(folder: &Path, endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| endings.contains(&ending)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Runs a tool; what it says is for whoever builds.
fn done(command: &mut Command) -> anyhow::Result<()> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Our own stdout says what was built and nothing else.
    let status = command.stdout(std::io::stderr()).status().with_context(|| name.clone())?;
    if !status.success() {
        bail!("{name} failed, see above");
    }
    Ok(())
}

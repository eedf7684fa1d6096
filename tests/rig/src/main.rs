//! Fake USB buses in namespaces: the real binary, the real libusb, uevents that the kernel itself broadcasts.
//!
//! `yurt-rig [CASE…]` runs the cases one after the other, each in a process and namespaces of its own: this program starts itself
//! again through `unshare`. See `README.md`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bus;
mod cases;
mod expected;
mod namespace;
mod plugin;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use cases::Case;

/// What marks a process that runs one case within its namespaces.
const INSIDE: &str = "--inside";
/// No case takes a fraction of this, however loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.as_slice() {
        [inside, case, dir] if inside == INSIDE => run_inside(case, Path::new(dir)).map(|()| true),
        [unheard, verb, port] if unheard == bus::UNHEARD => bus::play_unheard(verb, port).map(|()| true),
        names => run_all(names),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

/// Every case that was named, or every case; whether all passed.
fn run_all(names: &[String]) -> anyhow::Result<bool> {
    if let Some(unknown) = names.iter().find(|name| cases::find(name).is_none()) {
        let known: Vec<&str> = cases::ALL.iter().map(|case| case.name).collect();
        bail!("there is no case {unknown:?}: {}", known.join(", "));
    }
    if let Err(why) = namespace::available() {
        println!("yurt-rig: skipped, no namespaces here: {why}");
        return Ok(std::env::var("CI").as_deref() != Ok("true"));
    }
    let dir = workshop()?;
    let (mut passed, mut failed) = (0, 0);
    for case in cases::ALL.iter().filter(|case| names.is_empty() || names.iter().any(|name| name == case.name)) {
        if run_one(case, dir.path())? {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// A directory for all cases: `plugins` with a link per case, so that each has a memory of its own, and `state` with the compiled
/// guests that they share.
fn workshop() -> anyhow::Result<tempfile::TempDir> {
    let binary = binary()?;
    let dir = tempfile::tempdir()?;
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins)?;
    for case in cases::ALL {
        std::os::unix::fs::symlink(&binary, plugins.join(case.name))?;
    }
    Ok(dir)
}

/// The binary under test: `YURT_BIN`, else the one that was built beside this program.
fn binary() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("YURT_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("yurt"),
    };
    std::fs::canonicalize(&path).with_context(|| format!("{}: build it first (tests/rig/run.sh does)", path.display()))
}

/// One line, and what is to be said about a failure below it.
fn run_one(case: &Case, dir: &Path) -> anyhow::Result<bool> {
    let began = Instant::now();
    let outcome = in_namespaces(case.name, dir)?;
    let took = began.elapsed().as_secs_f64();
    let remark = String::from_utf8_lossy(&outcome.stdout);
    let word = if outcome.status.success() { "ok    " } else { "FAILED" };
    println!("{word} {:<22} {took:5.1} s  {}", case.name, case.holds);
    let (stdout, stderr) = (remark.lines(), String::from_utf8_lossy(&outcome.stderr));
    let said: Vec<&str> =
        if outcome.status.success() { stdout.collect() } else { stdout.chain(stderr.lines()).collect() };
    for line in said {
        println!("       {line}");
    }
    if !outcome.status.success() && outcome.status.code().is_none() {
        println!("       ended by {}", outcome.status);
    }
    Ok(outcome.status.success())
}

fn in_namespaces(case: &str, dir: &Path) -> anyhow::Result<Output> {
    let itself = std::env::current_exe()?;
    let child = namespace::command(&itself)
        .args([OsString::from(INSIDE), case.into(), dir.into()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start unshare")?;
    Ok(child.wait_with_output()?)
}

/// One case, alone with its bus. What it has to say beyond "ok" goes to stdout.
fn run_inside(name: &str, dir: &Path) -> anyhow::Result<()> {
    let case = cases::find(name).with_context(|| format!("there is no case {name:?}"))?;
    namespace::cover()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let remark = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, (case.run)(plugin::Setup::new(dir, name)))
            .await
            .unwrap_or_else(|_| bail!("not done within {PATIENCE:?}"))
    });
    // A bus operation that hangs must not keep a failure from being told.
    runtime.shutdown_background();
    for line in remark? {
        println!("{line}");
    }
    Ok(())
}

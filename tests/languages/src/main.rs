//! One policy in five languages: each is built from its folder in `guests/examples`, held against the one corpus there, broken on
//! purpose, and measured; in Rust and Python the new author's walk is walked.
//!
//! `yurt-languages --yurt FILE [--table FILE] [LANGUAGE…]`. Toolchains are those of PATH: `run.sh` provides them.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bindings;
mod drivers;
mod faults;
mod launch;
mod measure;
mod table;
mod walk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// The folders of `guests/examples` that hold the policy, and what people call their languages.
const LANGUAGES: [(&str, &str); 5] =
    [("rust", "Rust"), ("c", "C"), ("javascript", "JavaScript"), ("go", "Go"), ("python", "Python")];

/// One language's figures.
#[derive(Debug)]
struct Row {
    language: &'static str,
    build: Duration,
    figures: measure::Figures,
    launches: launch::Launches,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let (mut yurt, mut page, mut wanted) = (None, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--yurt" => yurt = arguments.next().map(PathBuf::from),
            "--table" => page = arguments.next().map(PathBuf::from),
            language if LANGUAGES.iter().any(|(folder, _)| *folder == language) => wanted.push(argument),
            other => bail!("there is no language {other:?}: {}", LANGUAGES.map(|(folder, _)| folder).join(", ")),
        }
    }
    let yurt = Yurt(fs::canonicalize(yurt.context("--yurt FILE is missing")?)?);
    let examples = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/examples"))?;
    let workshop = tempfile::tempdir()?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (folder, language) in
        LANGUAGES.iter().filter(|(folder, _)| wanted.is_empty() || wanted.iter().any(|one| one == folder))
    {
        println!("\n--- {language}");
        match one(&yurt, &examples, folder, language, workshop.path()) {
            Ok(row) => rows.push(row),
            Err(why) => {
                println!("{why:#}");
                failed.push(*language);
            }
        }
    }
    if !rows.is_empty() {
        println!("\n{}", table::table(&rows));
    }
    if let Some(page) = page.filter(|_| failed.is_empty()) {
        table::put_into(&page, &rows)?;
    }
    match failed.as_slice() {
        [] => println!("all languages hold"),
        failed => println!("failed: {}", failed.join(", ")),
    }
    Ok(failed.is_empty())
}

fn one(yurt: &Yurt, examples: &Path, folder: &str, language: &'static str, workshop: &Path) -> anyhow::Result<Row> {
    let component = workshop.join(format!("{folder}.wasm"));
    let source = examples.join(folder);
    bindings::checked(&source, folder)?;
    // The first build fetches and fills the tools' own caches; an author waits for the second.
    yurt.build(&source, &component)?;
    let build = yurt.build(&source, &component)?;

    let checked = yurt.run("check", &[&component, Path::new("--cases"), &examples.join("corpus")])?;
    let said = String::from_utf8_lossy(&checked.stdout);
    print!("{said}");
    if !checked.status.success() {
        bail!("the corpus does not hold: {}", String::from_utf8_lossy(&checked.stderr));
    }
    asks_for_nothing(yurt, &component, folder)?;
    if ["rust", "python"].contains(&folder) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/authors.md");
        let took = walk::walk(yurt, &page, folder, &workshop.join(format!("walk-{folder}")))?;
        drivers::plans(yurt, folder, &workshop.join(format!("driver-{folder}")))?;
        println!("✓ a new author's walk took {:.1} s", took.as_secs_f64());
    }
    faults::arrive(yurt, &source, folder, &workshop.join(format!("broken-{folder}")))?;
    let launches = launch::launches(&yurt.0, &component)?;
    Ok(Row { language, build, figures: measure::measure(&component)?, launches })
}

/// What its toolchain imports is granted, with nothing behind it where it is not the log; a Rust guest imports nothing of that kind.
fn asks_for_nothing(yurt: &Yurt, component: &Path, folder: &str) -> anyhow::Result<()> {
    let said = yurt.inspect(component)?;
    let imports = said.get("imports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let granted: Vec<&str> = imports.iter().filter_map(|import| import.get("granted")?.as_str()).collect();
    let allowed: &[&str] = if folder == "rust" { &["always"] } else { &["always", "empty"] };
    ensure!(
        said.get("served") == Some(&Value::Bool(true))
            && said.get("grant").is_some_and(Value::is_null)
            && granted.contains(&"always"),
        "it needs a grant or is not served: {said:#}"
    );
    ensure!(granted.iter().all(|granted| allowed.contains(granted)), "it asks for more than it should: {said:#}");
    Ok(())
}

/// The binary under test.
#[derive(Debug)]
struct Yurt(PathBuf);

impl Yurt {
    fn run(&self, verb: &str, arguments: &[&Path]) -> anyhow::Result<Output> {
        let output = Command::new(&self.0).args(["guest", verb]).args(arguments).output();
        output.with_context(|| self.0.display().to_string())
    }

    fn inspect(&self, component: &Path) -> anyhow::Result<Value> {
        let output = self.run("inspect", &[Path::new("--json"), component])?;
        serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn build(&self, folder: &Path, component: &Path) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let built = self.run("build", &[folder, Path::new("-o"), component])?;
        if !built.status.success() {
            bail!("{}", String::from_utf8_lossy(&built.stderr));
        }
        Ok(start.elapsed())
    }
}

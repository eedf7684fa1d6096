//! `yurt guest …`: for authors and operators of guests.

mod answers;
mod answers_driver;
mod bench;
mod build;
mod cases;
mod check;
mod component;
mod inspect;
mod lines;
mod metrics;
mod new;
mod permissions;
mod replay;
mod running;
mod templates;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Subcommand;
use yurt_guest::{Runtime, Source};

use crate::choice;
use crate::cli::demo;
use crate::exchange::Request;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make a component of a guest's folder: Rust, Python, JavaScript, Go or C
    ///
    /// Runs the language's own tools, and says what to install where they are missing.
    Build(build::Arguments),
    /// Hold a component against the contract, Nomad's rules and the golden cases of its folder
    ///
    /// A case is a file `cases/NAME.json` with configuration and facts; beside it `cases/NAME.expected.json` holds the answers. A recording
    /// `cases/NAME.jsonl` is a case as it is. Ends with 1 where something is wrong.
    Check(check::Arguments),
    /// Make a folder with a small working guest, its golden cases, the contract and what its language needs of ours
    New(new::Arguments),
    /// What a component is, what it asks for, what it says of itself, and whether it would be served
    ///
    /// Ends with 1 where it would not be.
    Inspect(inspect::Arguments),
    /// Make the recorded calls of a plugin again, and say what is answered differently
    ///
    /// Asks the guest that was recorded, or another one. Ends with 1 where an answer is different.
    Replay(replay::Arguments),
    /// Measure a component: time in guest and host, memory, bytes and fuel of its calls
    ///
    /// Calls are those of a recording, else those of the golden cases beside the component, else those of the trial that every guest goes
    /// through.
    Bench(bench::Arguments),
    /// What serves in a running plugin, what it takes, and what became of the last candidates
    Status(running::Arguments),
    /// What the guests of running plugins took so far, in the text format of Prometheus
    Metrics(running::Arguments),
    /// Have a running plugin look at its guest and its policy file now, also at what it refused before
    Swap(running::Arguments),
    /// Let serve what waits for approval
    Approve(running::Arguments),
    /// Let serve again what served before
    Rollback(running::Arguments),
}

pub(super) fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Build(arguments) => build::run(arguments),
        Verb::Check(arguments) => check::run(arguments),
        Verb::New(arguments) => new::run(arguments),
        Verb::Inspect(arguments) => inspect::run(arguments),
        Verb::Replay(arguments) => replay::run(arguments),
        Verb::Bench(arguments) => bench::run(arguments),
        Verb::Metrics(arguments) => metrics::run(arguments),
        Verb::Status(arguments) => running::run(arguments, Request::Status),
        Verb::Swap(arguments) => running::run(arguments, Request::Swap),
        Verb::Approve(arguments) => running::run(arguments, Request::Approve),
        Verb::Rollback(arguments) => running::run(arguments, Request::Rollback),
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    choice::patient(demo::cache()).map_err(|why| anyhow!("{why}"))
}

/// A component file, or a built-in guest's name.
fn source(guest: &Path) -> anyhow::Result<Source> {
    if let Some(built_in) = guest.to_str().and_then(|name| choice::built_in(name, false)) {
        return Ok(built_in);
    }
    if !guest.exists() {
        bail!("{}: no such file, and no guest of that name is built in", guest.display());
    }
    Ok(Source::File(std::path::absolute(guest)?))
}

/// What a build of a guest's folder makes: `acme/acme.wasm`.
fn component_of(folder: &Path) -> anyhow::Result<PathBuf> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| anyhow!("{}: a folder with a name is needed", folder.display()))?;
    Ok(folder.join(format!("{name}.wasm")))
}

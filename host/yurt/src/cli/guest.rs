//! `yurt guest …`: for authors and operators of guests.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Subcommand;
use yurt_guest::{Options, Runtime, Source};

use super::term::{Out, Style};
use crate::choice;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// What a component is, what it asks for, what it says of itself, and whether it would be served
    Inspect {
        /// A component file, or the name of a built-in guest
        #[arg(value_name = "FILE|NAME")]
        guest: PathBuf,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(verb: &Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Inspect { guest, json } => inspect(guest, *json),
    }
}

fn source(guest: &Path) -> anyhow::Result<Source> {
    if let Some(built_in) = guest.to_str().and_then(|name| choice::built_in(name, false)) {
        return Ok(built_in);
    }
    if !guest.exists() {
        bail!("{}: no such file, and no guest of that name is built in", guest.display());
    }
    Ok(Source::File(std::path::absolute(guest)?))
}

fn inspect(guest: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = Runtime::new(Options::default()).map_err(|why| anyhow!("{why}"))?;
    let found = runtime.inspect(&source(guest)?).map_err(|why| anyhow!("{why}"))?;
    let mut out = Out::new();
    let _ = (&found, json, &mut out, Style::Good);
    Ok(ExitCode::SUCCESS)
}

//! `yurt guest inspect`: what a component is, before anybody serves it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::json;
use yurt_guest::{Grant, Import, Inspection, Source};

use crate::choice;
use crate::cli::term::{Out, Style};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// A component file, or the name of a built-in guest
    #[arg(value_name = "FILE|NAME")]
    guest: PathBuf,
    /// As one JSON object
    #[arg(long)]
    json: bool,
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

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let source = source(&arguments.guest)?;
    let mut out = Out::new();
    let progress = out.progress("the guest is compiled and asked");
    let runtime = super::runtime()?;
    let mut found = runtime.inspect(&source);
    let verdict = match (found.loaded.take(), &found.refused) {
        (Some(loaded), _) => choice::ready(loaded).map(drop).map_err(|why| why.to_string()),
        (None, Some(why)) => Err(why.to_string()),
        (None, None) => Err("it could not be loaded".to_owned()),
    };
    progress.finish_and_clear();
    if arguments.json {
        out.line(&as_object(&found, &verdict).to_string())?;
    } else {
        show(&mut out, &found, &verdict)?;
    }
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(out: &mut Out, found: &Inspection, verdict: &Result<(), String>) -> anyhow::Result<()> {
    let size = found.size.map(|size| format!("{} KiB", size.div_ceil(1024)));
    let world = found.world.map(|world| format!(", world {world}")).unwrap_or_default();
    let contract = found.contract.as_ref().map(|version| format!("yurt:plugin@{version}{world}"));
    let compiling = found.compiling.map(|span| format!("{} ms", span.as_millis()));
    let about = found.about.as_ref();
    for (name, value) in [
        ("guest", Some(out.paint(Style::Strong, &found.origin))),
        ("name", about.map(|about| format!("{} {}", about.name, about.version))),
        ("about", about.map(|about| about.summary.clone())),
        ("size", size),
        ("sha256", found.digest.clone()),
        ("contract", contract),
        ("compiled in", compiling),
    ] {
        if let Some(value) = value {
            out.line(&format!("{name:<12} {value}"))?;
        }
    }
    for import in &found.imports {
        let style = if import.grant == Grant::Missing { Style::Bad } else { Style::Good };
        out.line(&format!("{:<12} {}  {}", "imports", import.name, out.paint(style, meaning(import))))?;
    }
    for export in &found.exports {
        out.line(&format!("{:<12} {export}", "exports"))?;
    }
    match verdict {
        Ok(()) => out.line(&format!("{:<12} {}", "verdict", out.paint(Style::Good, "it would be served")))?,
        Err(why) => out.line(&format!("{:<12} {}", "verdict", out.paint(Style::Bad, why)))?,
    }
    if let Some(about) = about.filter(|about| !about.config_spec.trim().is_empty()) {
        out.line(&out.paint(Style::Faint, "configuration schema:"))?;
        out.line(about.config_spec.trim_end())?;
    }
    if let Some(driver) = &found.driver {
        out.line(&out.paint(Style::Faint, "schema of a job's config block:"))?;
        out.line(driver.task_spec.trim_end())?;
    }
    Ok(())
}

fn meaning(import: &Import) -> &'static str {
    match import.grant {
        Grant::Log => "granted: lines in the plugin's log, bounded",
        Grant::Types => "granted: types only",
        Grant::Empty => "granted empty: no files, no network, clocks stand still",
        Grant::Missing => "not granted by anything",
    }
}

fn as_object(found: &Inspection, verdict: &Result<(), String>) -> serde_json::Value {
    let imports: Vec<_> = found
        .imports
        .iter()
        .map(|import| json!({ "name": import.name, "granted": import.grant != Grant::Missing, "meaning": meaning(import) }))
        .collect();
    json!({
        "origin": found.origin,
        "size": found.size,
        "sha256": found.digest,
        "contract": found.contract.as_ref().map(ToString::to_string),
        "world": found.world.map(|world| world.to_string()),
        "imports": imports,
        "exports": found.exports,
        "name": found.about.as_ref().map(|about| &about.name),
        "version": found.about.as_ref().map(|about| &about.version),
        "summary": found.about.as_ref().map(|about| &about.summary),
        "config-spec": found.about.as_ref().map(|about| &about.config_spec),
        "task-spec": found.driver.as_ref().map(|driver| &driver.task_spec),
        "compile-milliseconds": found.compiling.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        "served": verdict.is_ok(),
        "refused": verdict.as_ref().err(),
    })
}

//! `yurt guest inspect`: what a component is, before anybody serves it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use yurt_guest::Inspection;

use super::permissions;
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

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let source = super::source(&arguments.guest)?;
    let mut out = Out::new();
    let progress = out.progress("the guest is compiled and asked");
    let runtime = super::runtime()?;
    let mut found = runtime.inspect(&source);
    // The grant that it needs beside the defaults, if it would be served.
    let verdict = match (found.loaded.take(), &found.refused) {
        (Some(loaded), _) => {
            choice::ready(loaded).map(|plugin| permissions::grant(&plugin)).map_err(|why| why.to_string())
        }
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

fn show(out: &mut Out, found: &Inspection, verdict: &Result<Option<String>, String>) -> anyhow::Result<()> {
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
        ("digest", found.digest.as_ref().map(|digest| format!("sha256:{digest}"))),
        ("contract", contract),
        ("compiled in", compiling),
    ] {
        if let Some(value) = value {
            out.line(&format!("{name:<12} {value}"))?;
        }
    }
    for export in &found.exports {
        out.line(&format!("{:<12} {export}", "exports"))?;
    }
    match verdict {
        Ok(_) => out.line(&format!("{:<12} {}", "verdict", out.paint(Style::Good, "it would be served")))?,
        Err(why) => out.line(&format!("{:<12} {}", "verdict", out.paint(Style::Bad, why)))?,
    }
    let asked: Vec<_> = found.imports.iter().map(permissions::of).collect();
    let widest = asked.iter().map(|permission| permission.interface.len()).max().unwrap_or_default();
    if !asked.is_empty() {
        out.line(&out.paint(Style::Faint, "imports, which are its request for permission:"))?;
    }
    for permission in asked {
        let style = if permission.granted == "refused" { Style::Bad } else { Style::Good };
        let granted = out.paint(style, &format!("{:<7}", permission.granted));
        out.line(&format!("{:<widest$}  {granted}  {}", permission.interface, permission.allows))?;
    }
    match verdict {
        Ok(None) => out.line(&out.paint(Style::Faint, "it needs no grant beyond the defaults"))?,
        Ok(Some(grant)) => {
            out.line(
                &out.paint(Style::Faint, "to look at all that it asks for it needs, in the plugin's config block:"),
            )?;
            out.line(grant)?;
        }
        Err(_) => {}
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

fn as_object(found: &Inspection, verdict: &Result<Option<String>, String>) -> serde_json::Value {
    let imports: Vec<_> = found
        .imports
        .iter()
        .map(permissions::of)
        .map(|permission| {
            json!({ "interface": permission.interface, "allows": permission.allows, "granted": permission.granted })
        })
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
        "grant": verdict.as_ref().ok().and_then(Option::as_ref),
        "served": verdict.is_ok(),
        "refused": verdict.as_ref().err(),
    })
}

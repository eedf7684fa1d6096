//! `yurt guest replay`: makes the calls of a recording again and says what is answered differently.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use yurt_guest::{Answer, GuestError, Limits, Question, Runtime, Source, notation};

use super::check::differences;
use crate::choice::{self, Plugin};
use crate::cli::term::{Out, Style};
use crate::exchange::GuestName;
use crate::record::{Recording, Section};

/// Differing calls that are shown, lines of each, and characters of each line.
const SHOWN: usize = 10;
const LINES: usize = 6;
const LINE: usize = 240;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// What a plugin with `record` in its configuration wrote
    #[arg(value_name = "FILE")]
    recording: PathBuf,
    /// Asked instead of the guest that was recorded: a component file, or the name of a built-in guest
    #[arg(long, value_name = "FILE|NAME")]
    guest: Option<PathBuf>,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// What came of making calls again.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) same: usize,
    pub(super) different: Vec<Different>,
    /// By why, and by call.
    pub(super) skipped: BTreeMap<(&'static str, String), usize>,
}

/// A call with another answer.
#[derive(Debug)]
pub(super) struct Different {
    /// In the file.
    pub(super) line: usize,
    pub(super) call: String,
    pub(super) differences: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let recording = Recording::open(&arguments.recording).map_err(|why| anyhow!("{why}"))?;
    let mut out = Out::new();
    let progress = out.progress("the guest is compiled and asked");
    let runtime = super::runtime()?;
    let patient = runtime.limits();
    let mut guests: Vec<(Source, Plugin)> = Vec::new();
    let mut answered_by: Vec<(GuestName, String)> = Vec::new();
    let mut replayed = Replayed::default();
    for section in &recording.sections {
        let source = match &arguments.guest {
            Some(guest) => runtime.read(&super::source(guest)?).map_err(|why| anyhow!("{why}"))?,
            None => recorded(&runtime, &section.header.guest)?,
        };
        let digest = source.digest().unwrap_or_default();
        let at = match guests.iter().position(|(known, _)| known.digest().as_ref() == Some(&digest)) {
            Some(at) => at,
            None => {
                runtime.set_limits(Limits::clone(&patient));
                let loaded = runtime.open(&source).map_err(|why| anyhow!("{why}"))?;
                guests.push((source, choice::ready(loaded).map_err(|why| anyhow!("{why}"))?));
                guests.len() - 1
            }
        };
        let Some((_, plugin)) = guests.get(at) else { continue };
        if !answered_by.iter().any(|(recorded, by)| recorded == &section.header.guest && *by == digest) {
            answered_by.push((section.header.guest.clone(), digest));
        }
        section_of(&runtime, plugin, section, &mut replayed);
    }
    progress.finish_and_clear();
    if arguments.json {
        out.line(&as_object(&recording, &answered_by, &replayed).to_string())?;
    } else {
        show(&mut out, &recording, &answered_by, &replayed)?;
    }
    Ok(if replayed.different.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The guest that was recorded, byte for byte.
fn recorded(runtime: &Runtime, guest: &GuestName) -> anyhow::Result<Source> {
    let built_in = choice::built_in(&guest.origin, false);
    let candidates = [built_in, Some(Source::File(PathBuf::from(&guest.origin)))];
    for source in candidates.into_iter().flatten() {
        if let Ok(read) = runtime.read(&source)
            && read.digest().as_ref() == Some(&guest.digest)
        {
            return Ok(read);
        }
    }
    bail!("guest {guest} was recorded, and {} does not hold it any more: name a component with --guest", guest.origin)
}

/// Makes the calls of one section by the limits of that time.
pub(super) fn section_of(runtime: &Runtime, plugin: &Plugin, section: &Section, replayed: &mut Replayed) {
    runtime.set_limits(section.header.limits());
    for call in &section.calls {
        let mut skip = |why| *replayed.skipped.entry((why, call.call.clone())).or_default() += 1;
        let Some(question) = &call.asked else {
            skip("redacted");
            continue;
        };
        // Nothing that a guest did.
        let failed = call.ended.get("failed");
        if ["busy", "host-panic"].iter().any(|kind| failed.is_some_and(|failed| failed.get(kind).is_some())) {
            skip("a fault of the host's");
            continue;
        }
        let mut differences_found = Vec::new();
        match asked(plugin, question) {
            Some(answer) => differences("", &call.ended, &as_json(answer), &mut differences_found),
            None => differences_found.push("this guest is of another world and has no such call".to_owned()),
        }
        if differences_found.is_empty() {
            replayed.same += 1;
        } else {
            let different = Different { line: call.line, call: call.call.clone(), differences: differences_found };
            replayed.different.push(different);
        }
    }
}

pub(super) fn asked(plugin: &Plugin, question: &Question<'_>) -> Option<Result<Answer<'static>, GuestError>> {
    match plugin {
        Plugin::Device(device) => device.policy.ask(question),
        Plugin::Driver(driver) => driver.logic.ask(question),
    }
}

/// As a recording has it.
fn as_json(answer: Result<Answer<'static>, GuestError>) -> Value {
    match answer {
        Ok(answer) => json!({ "answered": notation::to_json(&answer).unwrap_or_default() }),
        Err(why) => json!({ "failed": { why.cause().kind(): why.cause().to_string() } }),
    }
}

impl Replayed {
    /// `3 plan (redacted)`
    pub(super) fn left_out(&self) -> Vec<String> {
        self.skipped.iter().map(|((why, call), count)| format!("{count} {call} ({why})")).collect()
    }
}

impl Different {
    /// The first few lines, cut.
    pub(super) fn told(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.differences.iter().take(LINES).map(|line| cut(line)).collect();
        if self.differences.len() > LINES {
            lines.push(format!("… and {} more differences", self.differences.len() - LINES));
        }
        lines
    }
}

fn cut(line: &str) -> String {
    let line = notation::visible(line);
    let mut cut: String = line.chars().take(LINE).collect();
    if cut.len() < line.len() {
        cut.push('…');
    }
    cut
}

fn show(
    out: &mut Out,
    recording: &Recording,
    guests: &[(GuestName, String)],
    replayed: &Replayed,
) -> anyhow::Result<()> {
    for (recorded, by) in guests {
        let by = match *by == recorded.digest {
            true => String::new(),
            false => format!(", asked of {} instead", by.get(..12).unwrap_or(by)),
        };
        out.line(&format!("{}{by}", out.paint(Style::Strong, &recorded.to_string())))?;
    }
    for different in replayed.different.iter().take(SHOWN) {
        let place = format!("line {}", different.line);
        out.line(&format!("{} {}  {}", out.paint(Style::Bad, "✗"), different.call, out.paint(Style::Faint, &place)))?;
        for line in different.told() {
            out.line(&format!("    {line}"))?;
        }
    }
    if replayed.different.len() > SHOWN {
        out.line(&format!("… and {} more calls (--json has all)", replayed.different.len() - SHOWN))?;
    }
    if !replayed.skipped.is_empty() {
        out.line(&format!("not asked: {}", replayed.left_out().join(", ")))?;
    }
    if recording.cut {
        out.line("the last line is half a line: its writer was stopped")?;
    }
    let (same, different) = (replayed.same, replayed.different.len());
    let verdict = match different {
        0 => out.paint(Style::Good, &format!("{same} calls, every answer as it was recorded")),
        _ => out.paint(Style::Bad, &format!("{different} of {} calls are answered differently", same + different)),
    };
    out.line(&verdict)?;
    Ok(())
}

fn as_object(recording: &Recording, guests: &[(GuestName, String)], replayed: &Replayed) -> Value {
    let different: Vec<Value> = (replayed.different.iter())
        .map(|one| json!({ "line": one.line, "call": one.call, "differences": one.differences }))
        .collect();
    let skipped: Vec<Value> = (replayed.skipped.iter())
        .map(|((why, call), count)| json!({ "call": call, "count": count, "reason": why }))
        .collect();
    let guests: Vec<Value> =
        guests.iter().map(|(recorded, by)| json!({ "recorded": recorded, "answered-by": by })).collect();
    json!({
        "guests": guests,
        "same": replayed.same,
        "different": different,
        "skipped": skipped,
        "cut": recording.cut,
    })
}

//! `yurt guest check`: everything that can be known of a guest before an agent runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use yurt_guest::usb::Description;
use yurt_guest::{Runtime, Source, World};

use super::cases::{self, Case};
use super::replay::{self, Replayed};
use super::{answers, answers_driver, lines};
use crate::choice::{self, Plugin};
use crate::cli::term::{Out, Style};
use crate::record::Recording;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// A component file, or the folder of a guest that `yurt guest build` built
    #[arg(default_value = ".", value_name = "FILE|FOLDER")]
    guest: PathBuf,
    /// Folder of golden cases instead of `cases` beside the component
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Write down the answers given as those expected
    #[arg(long)]
    accept: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let component = component(&arguments.guest)?;
    let mut out = Out::new();
    let progress = out.progress("the guest is compiled and asked");
    let runtime = super::runtime()?;
    let (served, logged) = lines::of(|| served(&runtime, &component));
    progress.finish_and_clear();
    // What it said before it failed is often the better explanation.
    for line in &logged {
        out.line(&format!("    {line}"))?;
    }
    let (about, world, plugin) = served?;
    let name = out.paint(Style::Strong, &format!("{} {}", about.name, about.version));
    out.line(&format!("{name}  world {world}, imports, schema and trial are in order"))?;

    let beside = component.with_file_name("cases");
    let folder = match &arguments.cases {
        Some(folder) => folder,
        None if beside.is_dir() => &beside,
        None => {
            out.line(&format!("no cases: {} is not there", beside.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut failed = 0usize;
    let cases = cases::read(folder)?;
    for case in &cases.golden {
        let (answers, logged) = lines::of(|| match &plugin {
            Plugin::Device(device) => answers::answers(&device.policy, &device.schema, &case.asked),
            Plugin::Driver(driver) => answers_driver::answers(driver, &case.asked),
        });
        let mut wrong = Vec::new();
        match answers {
            Ok(mut answers) => {
                wrong.append(&mut answers.wrong);
                answers.given.insert("log".into(), json!(logged));
                wrong.extend(held(case, Value::Object(answers.given), arguments.accept)?);
            }
            Err(why) => wrong.extend(logged.into_iter().chain([why])),
        }
        failed += usize::from(!wrong.is_empty());
        show(&mut out, case, &wrong)?;
    }
    for (name, file) in &cases.recorded {
        failed += usize::from(!recorded(&mut out, &runtime, &plugin, name, file)?);
    }
    let all = cases.golden.len() + cases.recorded.len();
    let verdict = match failed {
        0 => out.paint(Style::Good, &format!("all {all} cases hold")),
        _ => out.paint(Style::Bad, &format!("{failed} of {all} cases do not hold")),
    };
    out.line(&verdict)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every call of a recording is answered as it was then, and one at least can be made.
fn recorded(out: &mut Out, runtime: &Runtime, plugin: &Plugin, name: &str, file: &Path) -> anyhow::Result<bool> {
    let recording = Recording::open(file).map_err(|why| anyhow!("{why}"))?;
    let mut replayed = Replayed::default();
    let ((), logged) = lines::of(|| {
        for section in &recording.sections {
            replay::section_of(runtime, plugin, section, &mut replayed);
        }
    });
    let holds = replayed.different.is_empty() && replayed.same > 0;
    let mark = if holds { out.paint(Style::Good, "✓") } else { out.paint(Style::Bad, "✗") };
    let mut says = vec![format!("{} recorded calls", replayed.same + replayed.different.len())];
    says.extend(
        Some(format!("not asked: {}", replayed.left_out().join(", "))).filter(|_| !replayed.skipped.is_empty()),
    );
    out.line(&format!("{mark} {name}  {}", out.paint(Style::Faint, &says.join("; "))))?;
    if !holds {
        for line in &logged {
            out.line(&format!("    {line}"))?;
        }
    }
    for different in &replayed.different {
        for line in different.told() {
            out.line(&format!("    line {}, {}: {line}", different.line, different.call))?;
        }
    }
    Ok(holds)
}

/// Every stage of loading, as before an agent.
fn served(runtime: &Runtime, component: &Path) -> anyhow::Result<(Description, World, Plugin)> {
    let loaded = runtime.open(&Source::File(component.to_owned())).map_err(|why| anyhow!("{why}"))?;
    let (about, world) = (loaded.about().clone(), loaded.world());
    Ok((about, world, choice::ready(loaded).map_err(|why| anyhow!("{why}"))?))
}

/// The file itself, or what a build of that folder makes.
pub(super) fn component(given: &Path) -> anyhow::Result<PathBuf> {
    let given = fs::canonicalize(given).with_context(|| given.display().to_string())?;
    if !given.is_dir() {
        return Ok(given);
    }
    let built = super::component_of(&given)?;
    if !built.exists() {
        bail!("{} is not there: run yurt guest build", built.display());
    }
    Ok(built)
}

/// Differences to what is expected; nothing once that is what was answered.
fn held(case: &Case, given: Value, accept: bool) -> anyhow::Result<Vec<String>> {
    if accept {
        fs::write(&case.expected_file, format!("{given:#}\n"))
            .with_context(|| case.expected_file.display().to_string())?;
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    match &case.expected {
        Some(expected) => differences("", expected, &given, &mut found),
        None => found.push(format!(
            "{} is not there: look at the answers and write them down with --accept:\n{given:#}",
            case.expected_file.display()
        )),
    }
    Ok(found)
}

/// `group.groups.acme/usb/stick.attributes.max_power: expected 500, got 100`
pub(super) fn differences(path: &str, expected: &Value, given: &Value, found: &mut Vec<String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path} · {key}") };
    match (expected, given) {
        (Value::Object(expected), Value::Object(given)) => {
            for (key, value) in expected {
                match given.get(key) {
                    Some(other) => differences(&below(key), value, other, found),
                    None => found.push(format!("{}: expected {value}, got nothing", below(key))),
                }
            }
            for (key, value) in given.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                found.push(format!("{}: expected nothing, got {value}", below(key)));
            }
        }
        (Value::Array(expected), Value::Array(given)) if expected.len() == given.len() => {
            for (at, (value, other)) in expected.iter().zip(given).enumerate() {
                differences(&below(&at.to_string()), value, other, found);
            }
        }
        _ if expected != given => found.push(format!("{path}: expected {expected}, got {given}")),
        _ => {}
    }
}

fn show(out: &mut Out, case: &Case, wrong: &[String]) -> anyhow::Result<()> {
    let mark = if wrong.is_empty() { out.paint(Style::Good, "✓") } else { out.paint(Style::Bad, "✗") };
    out.line(&format!("{mark} {}  {}", case.name, out.paint(Style::Faint, &case.asked.says)))?;
    for problem in wrong {
        out.line(&format!("    {problem}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_its_place_and_both_sides() {
        let mut found = Vec::new();
        let expected = json!({ "group": { "a": [1, 2.0], "b": true }, "log": [] });
        let given = json!({ "group": { "a": [1, 2], "c": "x" }, "log": ["y"] });
        differences("", &expected, &given, &mut found);
        assert_eq!(
            found,
            [
                "group · a · 1: expected 2.0, got 2",
                "group · b: expected true, got nothing",
                "group · c: expected nothing, got \"x\"",
                "log: expected [], got [\"y\"]",
            ]
        );
    }
}

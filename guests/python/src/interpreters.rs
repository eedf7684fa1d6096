//! Which interpreters a node has. Each is asked for its version, and those that the driver chooses among also where they really are: the
//! one behind a version manager's script, but not the one behind a venv's link, which would be another Python.

use yurt_sdk::driver::{Findings, Probe, ProgramOutput, Trouble};

use crate::config::Config;
use crate::paths;

/// Printed by any Python since 2.5, fast: without site packages.
const WHERE: &str = "import sys; print(sys.executable); print('PyPy' if '__pypy__' in sys.builtin_module_names else \
                     getattr(getattr(sys, 'implementation', None), 'name', 'cpython'))";

/// What to look at on the node.
pub(crate) fn probes(config: &Config) -> Vec<Probe> {
    let chosen = config.interpreters();
    let mut probes = Vec::new();
    for name in &chosen {
        probes.push(Probe::run(&version_id(name), &[name, "--version"]));
        probes.push(Probe::run(&where_id(name), &[name, "-E", "-s", "-S", "-c", WHERE]));
    }
    for name in config.others() {
        probes.push(Probe::run(&version_id(&name), &[&name, "--version"]));
    }
    probes
}

fn version_id(name: &str) -> String {
    format!("version:{name}")
}

fn where_id(name: &str) -> String {
    format!("where:{name}")
}

/// An interpreter that works.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Interpreter {
    /// As it was looked for.
    pub(crate) name: String,
    /// `3.11.2`.
    pub(crate) version: String,
    /// `CPython`, `PyPy`.
    pub(crate) implementation: String,
    /// By which it is run.
    pub(crate) path: String,
}

/// What came of looking for one.
#[derive(Debug)]
pub(crate) enum Sight {
    Works(Interpreter),
    /// It is not there, or the operator does not allow the look.
    Missing(String),
    /// It is there but no interpreter: a script of a version manager for a version that is not installed.
    Broken(String),
    /// It could not be run or did not end.
    Failed(String),
}

/// All that were looked for, by name: those that the driver chooses among, then the others.
pub(crate) struct Survey {
    pub(crate) chosen: Vec<(String, Sight)>,
    pub(crate) others: Vec<(String, Sight)>,
}

impl Survey {
    pub(crate) fn of(config: &Config, findings: Findings<'_>) -> Survey {
        let look = |name: &str| (name.to_owned(), sight(name, findings));
        Survey {
            chosen: config.interpreters().into_iter().map(look).collect(),
            others: config.others().iter().map(|name| look(name)).collect(),
        }
    }

    /// The one that jobs get unless they say otherwise: the first that is there. One that is there but hangs is not passed over, or
    /// a job would get another Python on a bad day.
    pub(crate) fn choice(&self) -> Option<(&str, Result<&Interpreter, &str>)> {
        self.chosen.iter().chain(&self.others).find_map(|(name, sight)| match sight {
            Sight::Works(interpreter) => Some((name.as_str(), Ok(interpreter))),
            Sight::Failed(why) => Some((name.as_str(), Err(why.as_str()))),
            Sight::Missing(_) | Sight::Broken(_) => None,
        })
    }

    pub(crate) fn working(&self) -> impl Iterator<Item = &Interpreter> {
        self.chosen.iter().chain(&self.others).filter_map(|(_, sight)| match sight {
            Sight::Works(interpreter) => Some(interpreter),
            _ => None,
        })
    }

    /// Why those that the driver chooses among do not work, one clause each.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.chosen.iter().filter_map(|(name, sight)| Some(format!("{name}: {}", sight.complaint()?))).collect()
    }

    /// Those that are there and do not work, one clause each.
    pub(crate) fn broken(&self) -> Vec<String> {
        let there = self.chosen.iter().chain(&self.others).filter(|(_, sight)| !matches!(sight, Sight::Missing(_)));
        there.filter_map(|(name, sight)| Some(format!("{name}: {}", sight.complaint()?))).collect()
    }
}

impl Sight {
    fn complaint(&self) -> Option<&str> {
        match self {
            Sight::Works(_) => None,
            Sight::Missing(why) | Sight::Broken(why) | Sight::Failed(why) => Some(why),
        }
    }
}

fn sight(name: &str, findings: Findings<'_>) -> Sight {
    let output = match findings.output(&version_id(name)) {
        None => return Sight::Missing("it was not looked for".into()),
        Some(Err(Trouble::Absent(why) | Trouble::Refused(why))) => return Sight::Missing(why.clone()),
        Some(Err(Trouble::Failed(why))) => return Sight::Failed(why.clone()),
        Some(Ok(output)) => output,
    };
    let Some(version) = version(output) else { return Sight::Broken(unreadable(output)) };
    let whereabouts = match findings.output(&where_id(name)) {
        Some(Ok(output)) if output.exit_code == 0 => output.stdout.as_str(),
        _ => "",
    };
    let mut lines = whereabouts.lines();
    let executable = lines.next().map(str::trim).filter(|path| paths::is_absolute(path));
    let implementation = match executable.and(lines.next()).map(str::trim) {
        Some("cpython") => "CPython",
        Some(name) if paths::is_name(name) => name,
        _ if [&output.stdout, &output.stderr].iter().any(|text| text.contains("PyPy")) => "PyPy",
        _ => "CPython",
    };
    Sight::Works(Interpreter {
        name: name.to_owned(),
        version,
        implementation: implementation.to_owned(),
        path: executable.unwrap_or(&output.resolved).to_owned(),
    })
}

/// The version in a banner, `Python 3.11.2`; Python 2 prints it on stderr. Distributors add a `+` to a development version.
fn version(output: &ProgramOutput) -> Option<String> {
    if output.exit_code != 0 {
        return None;
    }
    let mut lines = output.stdout.lines().chain(output.stderr.lines());
    let rest = lines.find_map(|line| line.trim().strip_prefix("Python "))?;
    let version = rest.split_whitespace().next()?.trim_end_matches('+');
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let numbered = version.split('.').take(2).all(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    (version.contains('.') && numbered && version.len() <= 32 && version.chars().all(plain)).then(|| version.to_owned())
}

fn unreadable(output: &ProgramOutput) -> String {
    const SHOWN: usize = 120;
    let said = output.stderr.lines().chain(output.stdout.lines()).map(str::trim).find(|line| !line.is_empty());
    let said = said.map_or_else(
        || "nothing".to_owned(),
        |line| {
            let cut = line.char_indices().nth(SHOWN).and_then(|(at, _)| line.get(..at));
            cut.map_or_else(|| format!("\"{line}\""), |cut| format!("\"{cut}…\""))
        },
    );
    format!("its version cannot be read: {} ended with {} and said {said}", output.resolved, output.exit_code)
}

#[cfg(test)]
#[path = "interpreters_tests.rs"]
mod tests;

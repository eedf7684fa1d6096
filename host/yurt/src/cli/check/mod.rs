//! `yurt check`: a job judged before it runs, by the guests that would plan its tasks.
//!
//! The path is that of a start: a task's `config` block is evaluated by the guest's own schema as an agent does it, then the guest's
//! `check-task` is asked under the operator's configuration. Only what a node knows is missing; the guest is told which values those are,
//! and they pass.

mod drivers;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use yurt_guest::usb::Severity;
use yurt_nomad::config::job::{Job, Problem, Task, Variables};

use self::drivers::{Drivers, Served};
use super::term::Out;
use crate::diagnostics;

/// Most of a file that is read, in bytes: more than Nomad takes.
const FILE_MAX: u64 = 2 << 20;
/// Findings from which on no further task is judged.
const FOUND_MAX: usize = 500;
/// What variables of the environment begin with that give one of the job a value.
const INHERITED: &str = "NOMAD_VAR_";
/// The job could not be judged.
const NOT_CHECKED: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The job's file, in HCL
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// The agent's configuration file: its plugin stanzas say which guests serve, and what the operator allows them
    ///
    /// A file with the keys of a driver's config block alone will do, too. Without it the built-in drivers judge by their defaults.
    #[arg(long, value_name = "FILE")]
    plugin_config: Option<PathBuf>,
    /// A value for a variable of the job, as `nomad job run` takes it; may be repeated
    ///
    /// Variables of the environment that begin with NOMAD_VAR_ count, too; then files, then these.
    #[arg(long, value_name = "NAME=VALUE", value_parser = named)]
    var: Vec<(String, String)>,
    /// A file of values, name = value in HCL; may be repeated
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
    /// One JSON object, with all that was found in `diagnostics`
    #[arg(long)]
    json: bool,
}

/// What became of a job's file.
struct Report {
    /// As it was given.
    file: String,
    text: String,
    /// In the order of the file.
    diagnostics: Vec<Diagnostic>,
    /// Tasks that were judged.
    checked: usize,
    /// So much was found that the rest of the job was not looked at.
    cut: bool,
    /// Tasks by the driver that is none of Yurt's, or not known yet.
    passed_over: BTreeMap<String, usize>,
}

/// Something that is wrong, or odd.
struct Diagnostic {
    severity: Severity,
    at: Range<usize>,
    of: Option<Of>,
    message: String,
    hint: Option<String>,
}

/// Whose it is.
struct Of {
    task: String,
    group: Option<String>,
    driver: String,
    /// Of what a guest says: where in the block.
    path: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut out = Out::new();
    match judged(arguments) {
        Ok(report) => {
            let found = report.diagnostics.iter().any(|one| matches!(one.severity, Severity::Error));
            match arguments.json {
                true => out.line(&show::json(&report).to_string())?,
                false => show::people(&mut out, &report)?,
            }
            Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Err(why) => {
            if arguments.json {
                out.line(&show::not_checked(&arguments.job, &why).to_string())?;
            } else {
                crate::say(&format!("yurt: {why:#}"));
            }
            Ok(ExitCode::from(NOT_CHECKED))
        }
    }
}

fn judged(arguments: &Arguments) -> anyhow::Result<Report> {
    let bytes = read(&arguments.job)?;
    let variables = variables(arguments)?;
    let file = arguments.job.display().to_string();
    let mut report = Report {
        file,
        text: String::new(),
        diagnostics: Vec::new(),
        checked: 0,
        cut: false,
        passed_over: BTreeMap::new(),
    };
    let parsed = match String::from_utf8(bytes) {
        Ok(text) => {
            report.text = text;
            Job::parse(&report.text, &variables)
        }
        Err(why) => {
            let at = why.utf8_error().valid_up_to();
            report.text = String::from_utf8_lossy(why.as_bytes()).into_owned();
            Err(Problem { at: at..at + 1, message: "this is no UTF-8, so it is no job".to_owned(), hint: None })
        }
    };
    let job = match parsed {
        Ok(job) => job,
        Err(problem) => {
            // Said before it is known that the drivers' configuration is no better.
            drivers::readable(arguments.plugin_config.as_deref())?;
            report.diagnostics.push(error(problem, None));
            return Ok(report);
        }
    };
    let wanted: BTreeSet<&str> = job.tasks.iter().filter_map(|task| task.driver.as_deref()).collect();
    let drivers = drivers::serving(&wanted, arguments.plugin_config.as_deref())?;
    report.diagnostics.extend(job.problems.into_iter().map(|problem| error(problem, None)));
    for task in &job.tasks {
        report.cut = report.diagnostics.len() > FOUND_MAX;
        if report.cut {
            break;
        }
        let name = task.driver.as_deref();
        match name.and_then(|name| Some((name, drivers.by_name.get(name)?))) {
            Some((name, served)) => {
                report.checked += 1;
                report.diagnostics.extend(of_task(task, name, served, &report.text)?);
            }
            None => {
                report.diagnostics.extend(name.and_then(|name| misnamed(task, name, &drivers)));
                *report.passed_over.entry(name.unwrap_or("not known yet").to_owned()).or_default() += 1;
            }
        }
    }
    report.diagnostics.sort_by_key(|diagnostic| diagnostic.at.start);
    Ok(report)
}

fn named(given: &str) -> Result<(String, String), String> {
    match given.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// What `nomad job run` would be given here, in its order.
fn variables(arguments: &Arguments) -> anyhow::Result<Variables> {
    let mut variables = Variables::default();
    for (name, value) in std::env::vars_os() {
        if let (Some(name), Some(value)) = (name.to_str().and_then(|name| name.strip_prefix(INHERITED)), value.to_str())
        {
            variables.inherited(name, value);
        }
    }
    for path in &arguments.var_file {
        let file = path.display().to_string();
        let text = String::from_utf8(read(path)?).map_err(|_| anyhow!("{file}: this is no UTF-8"))?;
        variables.file(&text, &file)?;
    }
    for (name, value) in &arguments.var {
        variables.word(name, value);
    }
    Ok(variables)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let named = || file.display().to_string();
    let mut bytes = Vec::new();
    File::open(file).with_context(named)?.take(FILE_MAX).read_to_end(&mut bytes).with_context(named)?;
    Ok(bytes)
}

fn of_task(task: &Task, driver: &str, served: &Served, text: &str) -> anyhow::Result<Vec<Diagnostic>> {
    let of = |path: Option<&str>| Of {
        task: task.name.clone(),
        group: task.group.clone(),
        driver: driver.to_owned(),
        path: path.map(str::to_owned),
    };
    let read = task.read(text, &served.driver.task_schema);
    let mut found: Vec<Diagnostic> =
        read.problems.iter().map(|problem| error(problem.clone(), Some(of(None)))).collect();
    // What is missing or misspelt would be complained about twice.
    if !read.whole {
        return Ok(found);
    }
    let task = read.value.to_string();
    let said = served.driver.logic.check_task(&served.config, &task, &read.unknown).map_err(|why| anyhow!("{why}"))?;
    for finding in said.iter().filter(|finding| !lies_in(&finding.path, &read.unknown)) {
        let (at, exact) = read.place(&finding.path);
        let key = finding.path.rsplit('.').next().unwrap_or_default();
        let told = exact || finding.message.contains(key);
        let message =
            if told { finding.message.clone() } else { diagnostics::located(&finding.path, &finding.message) };
        let (severity, hint) = (finding.severity, finding.hint.clone());
        found.push(Diagnostic { severity, at, of: Some(of(Some(&finding.path))), message, hint });
    }
    Ok(found)
}

/// A guest need not heed what it was told to be unknown.
fn lies_in(path: &str, unknown: &[String]) -> bool {
    let within = |outer: &String| {
        path.strip_prefix(outer.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    unknown.iter().any(within)
}

/// A plugin's file name stands where its driver's should.
fn misnamed(task: &Task, name: &str, drivers: &Drivers) -> Option<Diagnostic> {
    let driver = drivers.by_file.get(name)?;
    Some(Diagnostic {
        severity: Severity::Warning,
        at: task.driver_at.clone(),
        of: None,
        message: format!("{name:?} is the name of a plugin's file, and no driver is called so"),
        hint: Some(format!("the driver in it is called {driver:?}")),
    })
}

fn error(problem: Problem, of: Option<Of>) -> Diagnostic {
    let Problem { at, message, hint } = problem;
    Diagnostic { severity: Severity::Error, at, of, message, hint }
}

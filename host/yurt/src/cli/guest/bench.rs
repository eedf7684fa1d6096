//! `yurt guest bench`: what a guest's calls cost, and its loading.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};
use yurt_guest::{Called, Limits, Observer, Options, Question, Receipt, Runtime, Source};

use super::replay::asked;
use super::running::{size, span};
use super::{answers, answers_driver, cases, check};
use crate::choice::{self, Plugin};
use crate::cli::demo;
use crate::cli::term::{Out, Style};
use crate::record::Recording;

/// Receipts of one call that are kept.
const MOST: usize = 1 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// A component file, the folder of a guest that `yurt guest build` built, or the name of a built-in guest
    #[arg(default_value = ".", value_name = "FILE|FOLDER|NAME")]
    guest: PathBuf,
    /// Makes the calls of a recording
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// How long each call is repeated
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let source = match super::source(&arguments.guest)? {
        Source::File(path) => Source::File(check::component(&path)?),
        built_in => built_in,
    };
    let mut out = Out::new();
    let progress = out.progress("the guest is compiled, asked, and asked again");
    let (cold, cached) = loading(&source)?;
    let runtime = super::runtime()?;
    let heard = Arc::new(Heard::default());
    runtime.observe(Some(Arc::clone(&heard) as Arc<dyn Observer>));
    let plugin = ready(&runtime, &source)?;
    let (what, questions) = questions(arguments, &source, &plugin, &heard)?;
    runtime.observe(None);
    let fuel = fuel(&source, &questions)?;

    let receipts = Arc::new(Receipts::default());
    runtime.observe(Some(Arc::clone(&receipts) as Arc<dyn Observer>));
    let mut figures = Vec::new();
    for (call, questions) in &questions {
        let end = Instant::now() + Duration::from_secs(arguments.seconds);
        // Once each at least, and whole rounds: every question counts the same.
        loop {
            for question in questions {
                drop(asked(&plugin, question));
            }
            if Instant::now() >= end || receipts.len() >= MOST {
                break;
            }
        }
        figures.push(Figures::of(call, receipts.take(), fuel.get(call).copied().unwrap_or_default()));
    }
    progress.finish_and_clear();
    if arguments.json {
        let calls: Vec<Value> = figures.iter().map(Figures::as_object).collect();
        let object = json!({
            "guest": source.origin(),
            "calls-of": what,
            "load-cold-nanoseconds": nanos(cold),
            "load-cached-nanoseconds": nanos(cached),
            "calls": calls,
        });
        out.line(&object.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(&format!("{}  calls of {what}", out.paint(Style::Strong, &source.origin())))?;
    out.line(&format!("loaded in {}, from the cache in {}", span(nanos(cold)), span(nanos(cached))))?;
    out.line(&table(&figures).to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn ready(runtime: &Runtime, source: &Source) -> anyhow::Result<Plugin> {
    let loaded = runtime.open(source).map_err(|why| anyhow!("{why}"))?;
    choice::ready(loaded).map_err(|why| anyhow!("{why}"))
}

/// Until it might serve: compiled, and from the cache.
fn loading(source: &Source) -> anyhow::Result<(Duration, Duration)> {
    let timed = |cache| -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let runtime = choice::patient(cache).map_err(|why| anyhow!("{why}"))?;
        ready(&runtime, source)?;
        Ok(begun.elapsed())
    };
    let cold = timed(None)?;
    timed(demo::cache())?;
    Ok((cold, timed(demo::cache())?))
}

type Questions = BTreeMap<&'static str, Vec<Question<'static>>>;

/// What is asked, and where it is from.
fn questions(
    arguments: &Arguments,
    source: &Source,
    plugin: &Plugin,
    heard: &Heard,
) -> anyhow::Result<(String, Questions)> {
    let tried = heard.take();
    let mut all = Questions::new();
    if let Some(file) = &arguments.recording {
        let recording = Recording::open(file).map_err(|why| anyhow!("{why}"))?;
        for call in recording.sections.into_iter().flat_map(|section| section.calls) {
            if let Some(question) = call.asked.filter(|question| asked(plugin, question).is_some()) {
                all.entry(question.call()).or_default().push(question);
            }
        }
        if all.is_empty() {
            bail!("{}: no call in it can be made again with this guest", file.display());
        }
        return Ok((file.display().to_string(), all));
    }
    let beside = match source {
        Source::File(path) => Some(path.with_file_name("cases")).filter(|folder| folder.is_dir()),
        _ => None,
    };
    let mut from = ("the trial".to_owned(), tried);
    if let Some(folder) = beside {
        // What is wrong with an answer is for `yurt guest check` to say.
        for case in cases::read(&folder)?.golden {
            match plugin {
                Plugin::Device(device) => drop(answers::answers(&device.policy, &device.schema, &case.asked)),
                Plugin::Driver(driver) => drop(answers_driver::answers(driver, &case.asked)),
            }
        }
        let questions = heard.take();
        if !questions.is_empty() {
            from = (folder.display().to_string(), questions);
        }
    }
    let (from, questions) = from;
    for question in questions {
        all.entry(question.call()).or_default().push(question);
    }
    Ok((from, all))
}

/// Units of work by call, the median: of a guest that is compiled with a counter in it.
fn fuel(source: &Source, questions: &Questions) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let runtime = Runtime::new(Options { fuel: true, limits: limits(), ..Options::default() })?;
    let plugin = ready(&runtime, source)?;
    let receipts = Arc::new(Receipts::default());
    runtime.observe(Some(Arc::clone(&receipts) as Arc<dyn Observer>));
    let mut fuel = BTreeMap::new();
    for (call, questions) in questions {
        for question in questions {
            drop(asked(&plugin, question));
        }
        let mut all: Vec<u64> = receipts.take().iter().filter_map(|receipt| receipt.fuel).collect();
        all.sort_unstable();
        fuel.insert(*call, part(&all, 0.5));
    }
    Ok(fuel)
}

/// Counting must not run into deadlines that are meant for guests as they serve.
fn limits() -> Limits {
    let mut limits = Limits::default();
    for row in yurt_guest::limits::TABLE.iter().filter(|row| row.key.ends_with("_deadline")) {
        drop(limits.set(row.key, row.max));
    }
    limits
}

/// Questions of the calls that were made.
#[derive(Default)]
struct Heard(Mutex<Vec<Question<'static>>>);

impl Heard {
    fn take(&self) -> Vec<Question<'static>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Heard {
    fn called(&self, call: Called<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call.question.into_owned());
    }
}

#[derive(Default)]
struct Receipts(Mutex<Vec<Receipt>>);

impl Receipts {
    fn take(&self) -> Vec<Receipt> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Observer for Receipts {
    fn called(&self, call: Called<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call.receipt.clone());
    }
}

/// What one call took. Times in nanoseconds.
struct Figures {
    call: &'static str,
    count: usize,
    failed: usize,
    median: u64,
    p99: u64,
    guest: u64,
    host: u64,
    memory: u64,
    bytes_in: u64,
    bytes_out: u64,
    fuel: u64,
}

impl Figures {
    fn of(call: &'static str, receipts: Vec<Receipt>, fuel: u64) -> Figures {
        let sorted = |of: fn(&Receipt) -> u64| {
            let mut all: Vec<u64> = receipts.iter().map(of).collect();
            all.sort_unstable();
            all
        };
        let time = sorted(|receipt| nanos(receipt.time()));
        let median = |of| part(&sorted(of), 0.5);
        Figures {
            call,
            count: receipts.len(),
            failed: receipts.iter().filter(|receipt| receipt.failed.is_some()).count(),
            median: part(&time, 0.5),
            p99: part(&time, 0.99),
            guest: median(|receipt| nanos(receipt.guest_time)),
            host: median(|receipt| nanos(receipt.host_time)),
            memory: receipts.iter().map(|receipt| receipt.memory).max().unwrap_or_default(),
            bytes_in: median(|receipt| receipt.bytes_in),
            bytes_out: median(|receipt| receipt.bytes_out),
            fuel,
        }
    }

    fn as_object(&self) -> Value {
        json!({
            "call": self.call,
            "count": self.count,
            "failed": self.failed,
            "median-nanoseconds": self.median,
            "p99-nanoseconds": self.p99,
            "guest-nanoseconds": self.guest,
            "host-nanoseconds": self.host,
            "memory": self.memory,
            "bytes-in": self.bytes_in,
            "bytes-out": self.bytes_out,
            "fuel": self.fuel,
        })
    }
}

fn table(figures: &[Figures]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let columns = ["call", "count", "failed", "median", "p99", "guest", "host", "memory", "in", "out", "fuel"];
    table.set_header(columns);
    for of in figures {
        table.add_row([
            of.call.to_owned(),
            of.count.to_string(),
            of.failed.to_string(),
            span(of.median),
            span(of.p99),
            span(of.guest),
            span(of.host),
            size(of.memory),
            size(of.bytes_in),
            size(of.bytes_out),
            of.fuel.to_string(),
        ]);
    }
    table
}

/// The value below which this part of them lies.
fn part(sorted: &[u64], part: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

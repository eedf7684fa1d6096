//! Yurt beside Extism, which runs plugins, too: a call about nothing, and one that hands a KiB back, in batches of both sides in turn.
//!
//! Extism has its own program and lock file (`benches/peers`), as it brings a wasmtime of its own; `benches/run.sh extism` builds it. Yurt makes
//! an instance per call and can do nothing else; Extism keeps one between calls, so both of its ways are measured.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

#[allow(dead_code)]
#[path = "../tests/guests/make.rs"]
mod make;

use std::env;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use make::Guest;
use yurt_guest::usb::Snapshot;
use yurt_guest::{Options, Runtime, Source, Trial, UsbPolicy};

/// Hands back what it was given to remember.
const ECHO: &str = "(func $group (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 268) (local.get 7))
    (i32.store (i32.const 272) (local.get 8))
    (i32.store (i32.const 276) (local.get 9))
    (i32.const 256))";
const TEXT: usize = 1024;
/// Batches of each side.
const ROUNDS: usize = 200;
const BATCH: Duration = Duration::from_millis(5);

fn main() {
    let Some(program) = env::var_os("YURT_BENCH_EXTISM") else {
        println!("YURT_BENCH_EXTISM is not set: benches/run.sh extism builds Extism's side");
        return;
    };
    let mut extism = Extism::start(Command::new(program));
    let runtime = Runtime::new(Options::default()).unwrap();
    let policy = policy(&runtime);
    let facts = Snapshot { number: 2, devices: Vec::new(), trouble: Vec::new() };
    let text = "x".repeat(TEXT);
    let answer = policy.group("{}", &facts, Some(&text)).unwrap().unwrap();
    assert_eq!(answer.memory.as_deref(), Some(text.as_str()), "the echo is what was asked");

    println!("| | Yurt | Extism, an instance per call | Extism, one instance |\n|---|--:|--:|--:|");
    let mut empty = || drop(black_box(policy.check_config("{}").unwrap()));
    row("empty call", &mut empty, &mut extism, ["fresh-empty", "empty"]);
    let mut echo = || drop(black_box(policy.group("{}", &facts, Some(&text)).unwrap()));
    row("echo of 1 KiB", &mut echo, &mut extism, ["fresh-echo", "echo"]);
    println!("Medians of {ROUNDS} batches, and theirs as multiples of ours.");
}

fn policy(runtime: &Runtime) -> UsbPolicy {
    let source = Source::Embedded { name: "echo", bytes: Guest::new(ECHO).component().leak() };
    runtime.open(&source).unwrap().activate(&Trial::default()).unwrap()
}

fn row(name: &str, ours: &mut dyn FnMut(), extism: &mut Extism, theirs: [&str; 2]) {
    let batch = |one: Duration| u32::try_from(BATCH.as_nanos() / one.as_nanos().max(1)).unwrap_or(1).max(1);
    let mut timed = |times: u32| {
        let start = Instant::now();
        (0..times).for_each(|_| ours());
        start.elapsed()
    };
    // A first batch of each finds how many calls a batch is.
    let our_calls = batch(timed(100) / 100);
    let their_calls = theirs.map(|what| batch(extism.time(what, 100) / 100));
    let mut all: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        all[0].push(timed(our_calls) / our_calls);
        for (at, what) in theirs.iter().enumerate() {
            all[at + 1].push(extism.time(what, their_calls[at]) / their_calls[at]);
        }
    }
    let [ours, fresh, kept] = all.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    });
    println!("| {name} | {ours:.2} µs | {fresh:.2} µs ({:.1} ×) | {kept:.2} µs ({:.2} ×) |", fresh / ours, kept / ours);
}

struct Extism {
    process: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Extism {
    fn start(mut program: Command) -> Extism {
        let mut process = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Extism's side starts");
        let (asked, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Extism { process, asked, answers: BufReader::new(answers) }
    }

    /// How long so many calls take there.
    fn time(&mut self, what: &str, times: u32) -> Duration {
        writeln!(self.asked, "{what} {times}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        Duration::from_nanos(line.trim().parse().expect("nanoseconds"))
    }
}

impl Drop for Extism {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

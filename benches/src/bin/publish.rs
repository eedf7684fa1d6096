//! `benches/run.sh publish`: for how long an exchange of guests holds up whoever makes a call just then.
//!
//! Taking the present turn is the first thing that a call does, and the only one that a publication can make wait. Threads take it as fast as they
//! can while another publishes; what counts are the takes that saw a new turn first, since they met the publication. A take that the
//! kernel interrupted says nothing of it, so quantiles are told beside the greatest.

#![allow(missing_docs, dead_code, clippy::print_stdout)]

#[path = "../../../host/yurt/src/exchange/turn.rs"]
mod turn;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use yurt_benches::{load_average, processors};

use turn::{Budget, Turns};

/// As often, and this long apart: real ones are seconds apart.
const PUBLICATIONS: u64 = 5_000;
const APART: Duration = Duration::from_micros(200);
/// What a publication may hold up a call for.
const GOAL: Duration = Duration::from_micros(1);

fn main() {
    let (turns, _undone) = Turns::new(0_u64);
    let (turns, over) = (Arc::new(turns), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (1..processors().max(2))
        .map(|_| {
            let (turns, over) = (Arc::clone(&turns), Arc::clone(&over));
            thread::spawn(move || read(&turns, &over))
        })
        .collect();
    let mut published = Vec::new();
    for number in 1..=PUBLICATIONS {
        let next = Arc::new(number);
        let budget = Budget { errors: 1, within: Duration::from_secs(600) };
        let start = Instant::now();
        assert!(turns.publish(number, next, Some(budget)), "nobody else publishes");
        published.push(start.elapsed());
        let end = Instant::now() + APART;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }
    over.store(true, Relaxed);
    let (mut plain, mut first) = (Vec::new(), Vec::new());
    for reader in readers {
        let (mut theirs, mut theirs_first) = reader.join().unwrap_or_default();
        plain.append(&mut theirs);
        first.append(&mut theirs_first);
    }
    println!("{PUBLICATIONS} publications, load {}; median, 99 %, greatest:", load_average());
    row("taking the present turn", &mut plain);
    let held = row("the first take of a new turn", &mut first);
    row("publishing", &mut published);
    println!(
        "goal: half of those that meet a publication wait {GOAL:?} at most: {}",
        if held <= GOAL { "met" } else { "no" }
    );
}

/// How long takes took: a sample of all, and those that saw a new turn first.
fn read(turns: &Turns<u64>, over: &AtomicBool) -> (Vec<Duration>, Vec<Duration>) {
    let (mut plain, mut first) = (Vec::new(), Vec::new());
    let (mut last, mut count) = (1, 0_u64);
    while !over.load(Relaxed) {
        let start = Instant::now();
        let now = turns.now();
        let took = start.elapsed();
        count += 1;
        if now.number != last {
            last = now.number;
            first.push(took);
        } else if count.is_multiple_of(64) {
            plain.push(took);
        }
    }
    (plain, first)
}

fn row(what: &str, all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    let at = |hundredths: usize| all.get((all.len() * hundredths / 100).min(all.len().saturating_sub(1))).copied();
    let [median, most, greatest] = [50, 99, 100].map(|hundredths| at(hundredths).unwrap_or_default());
    println!("{what:<30} {median:>10.1?} {most:>10.1?} {greatest:>10.1?}   ({} times)", all.len());
    median
}

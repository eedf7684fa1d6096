//! A process that calls guests for long stays as it is. Alone in its process, so that no other test's memory is counted.
//!
//! `YURT_CALLS`: how many calls; `just steady` makes a million of them.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

use yurt_guest::{Limits, Options, Runtime, Source, Trial, UsbPolicy, usb};

#[allow(dead_code)]
#[path = "guests/make.rs"]
mod make;

use make::Guest;

#[test]
fn many_calls_good_and_bad_leave_memory_descriptors_and_threads_as_they_were() {
    let calls = std::env::var("YURT_CALLS").map_or(10_000, |calls| calls.parse().unwrap());
    let limits = Limits { group_deadline: Duration::from_secs(5), ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).unwrap();
    let guests: Vec<UsbPolicy> = ["trap", "grow", "grow-table", "recurse", "huge-text", "bad-variant", "flood-log"]
        .map(|name| Guest::hostile(name).later())
        .into_iter()
        .chain([Guest::quiet()])
        .map(|guest| runtime.open(&Source::Embedded { name: "test", bytes: guest.component().leak() }).unwrap())
        .map(|loaded| loaded.activate(&Trial::default()).unwrap())
        .collect();
    let facts = usb::Snapshot { number: 2, devices: Vec::new(), trouble: Vec::new() };
    let round = |calls: usize| {
        let failed = (0..calls).filter(|call| guests[call % guests.len()].group("{}", &facts, None).is_err()).count();
        assert_eq!(failed, calls / 8 * 6);
    };
    let impatient = Limits { group_deadline: Duration::from_millis(5), ..Limits::default() };
    let spinning = Guest::hostile("spin").later().component();
    let spinning = runtime.open(&Source::Embedded { name: "test", bytes: spinning.leak() }).unwrap();
    let spinning = spinning.activate(&Trial::default()).unwrap();
    // A deadline is a matter of milliseconds, so there are not many of them.
    let round = |calls: usize| {
        for part in 0..4 {
            round(calls / 32 * 8);
            let patient = Limits::clone(&runtime.limits());
            runtime.set_limits(impatient.clone());
            for _ in 0..=calls / 20_000 {
                assert!(spinning.group("{}", &facts, None).is_err(), "part {part}");
            }
            runtime.set_limits(patient);
        }
    };
    round(3200);
    let before = (resident(), count("fd"), count("task"));
    let start = Instant::now();
    round(calls);
    let after = (resident(), count("fd"), count("task"));
    println!("{calls} calls in {:?}; kB resident, descriptors, threads: {before:?} -> {after:?}", start.elapsed());
    assert!(after.0 < before.0 + 2048, "resident memory grew from {} to {} kB", before.0, after.0);
    assert_eq!((before.1, before.2), (after.1, after.2));
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn count(what: &str) -> usize {
    fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

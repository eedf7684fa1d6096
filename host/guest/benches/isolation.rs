//! What a call costs that does nothing, beside bare wasmtime; and what a guest that spins costs: how late it is ended, and what others
//! notice of it.

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

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use make::Guest;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store};
use yurt_guest::usb::Snapshot;
use yurt_guest::{Cause, Limits, Options, Runtime, Source, Trial, UsbPolicy, engine_settings};

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({ path: "../../wit/0.1.0", world: "usb-plugin" });
}

use bindings::UsbPluginPre;
use bindings::yurt::plugin::log;

/// Pairs of batches, and how long a batch is.
const ROUNDS: usize = 200;
const BATCH: Duration = Duration::from_millis(4);
/// Guests that are let run into their deadline.
const RUNAWAYS: usize = 200;
const DEADLINE: Duration = Duration::from_millis(20);
/// Rounds with and without a spinning guest in turn, and calls in each.
const TURNS: usize = 40;
const CALLS: usize = 1000;

fn main() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {}", load.trim());
    empty_call();
    runaway();
    beside_a_spinning_guest();
}

fn policy(runtime: &Runtime, guest: &Guest) -> UsbPolicy {
    let source = Source::Embedded { name: "bench", bytes: guest.component().leak() };
    runtime.open(&source).unwrap().activate(&Trial::default()).unwrap()
}

fn nothing() -> Snapshot {
    Snapshot { number: 2, devices: Vec::new(), trouble: Vec::new() }
}

struct Nothing;

impl log::Host for Nothing {
    fn write(&mut self, _level: log::Level, _message: String) {}
}

fn empty_call() {
    let runtime = Runtime::new(Options::default()).unwrap();
    let ours = policy(&runtime, &Guest::quiet());
    let engine = Engine::new(&engine_settings()).unwrap();
    let mut linker = Linker::new(&engine);
    log::add_to_linker::<Nothing, HasSelf<Nothing>>(&mut linker, |state| state).unwrap();
    let component = Component::new(&engine, Guest::quiet().component()).unwrap();
    let pre = UsbPluginPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();

    let mut yurt = || drop(black_box(ours.check_config("{}").unwrap()));
    let mut bare = || {
        let mut store = Store::new(&engine, Nothing);
        store.set_epoch_deadline(u64::MAX / 2);
        let guest = pre.instantiate(&mut store).unwrap();
        drop(black_box(guest.yurt_plugin_usb_policy().call_check_config(&mut store, &"{}".to_owned()).unwrap()));
    };
    let pairs: Vec<[f64; 2]> = (0..ROUNDS).map(|_| [batch(&mut yurt), batch(&mut bare)]).collect();
    let middle = |at: usize| median(pairs.iter().map(|pair| pair[at]).collect());
    let more = median(pairs.iter().map(|pair| pair[0] - pair[1]).collect());
    println!("empty call: Yurt {:.2} µs, bare {:.2} µs; {more:.2} µs more, goal ≤ 2", middle(0), middle(1));
}

/// Microseconds of one call.
fn batch(call: &mut impl FnMut()) -> f64 {
    let (start, mut calls) = (Instant::now(), 0_u32);
    while start.elapsed() < BATCH {
        (0..16).for_each(|_| call());
        calls += 16;
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn runaway() {
    let limits = Limits { group_deadline: DEADLINE, ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).unwrap();
    let spins = policy(&runtime, &Guest::hostile("spin").later());
    let late = (0..RUNAWAYS).map(|_| {
        let start = Instant::now();
        let why = spins.group("{}", &nothing(), None).unwrap_err();
        assert!(matches!(why.cause(), Cause::Deadline { .. }), "{why}");
        (start.elapsed() - DEADLINE).as_secs_f64() * 1e3
    });
    let mut late: Vec<f64> = late.collect();
    late.sort_by(f64::total_cmp);
    println!(
        "a guest that spins is ended {:.2} ms after its deadline (99 of 100 within {:.2} ms), goal ≤ 2",
        late[RUNAWAYS / 2],
        late[RUNAWAYS * 99 / 100]
    );
}

fn beside_a_spinning_guest() {
    let limits = Limits { group_deadline: Duration::from_secs(10), ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).unwrap();
    let good = policy(&runtime, &Guest::quiet());
    let spins = policy(&runtime, &Guest::hostile("spin").later());
    let mut times: [Vec<f64>; 2] = Default::default();
    let measure = |times: &mut Vec<f64>| {
        times.extend((0..CALLS).map(|_| {
            let start = Instant::now();
            drop(black_box(good.group("{}", &nothing(), None).unwrap()));
            start.elapsed().as_secs_f64() * 1e6
        }));
    };
    let short = Limits { group_deadline: Duration::from_millis(60), ..Limits::default() };
    for _ in 0..TURNS {
        measure(&mut times[0]);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            runtime.set_limits(short.clone());
            scope.spawn(|| {
                assert!(spins.group("{}", &nothing(), None).is_err());
                done.store(true, Ordering::SeqCst);
            });
            thread::sleep(Duration::from_millis(5));
            measure(&mut times[1]);
            assert!(!done.load(Ordering::SeqCst), "it ended too early to tell");
        });
    }
    let [alone, beside] = times.map(|mut all| {
        all.sort_by(f64::total_cmp);
        [all[all.len() / 2], all[all.len() * 99 / 100]]
    });
    println!(
        "calls of another guest: median {:.2} µs, 99 of 100 within {:.2} µs; while one spins {:.2} and {:.2} µs ({:+.1} % at 99 of 100, goal < 10 %)",
        alone[0],
        alone[1],
        beside[0],
        beside[1],
        (beside[1] / alone[1] - 1.0) * 100.0
    );
}

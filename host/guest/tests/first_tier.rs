//! Guests that serve by Winch's code until Cranelift's is there.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "guests/make.rs"]
mod make;

use std::path::Path;
use std::time::{Duration, Instant};

use make::Guest;
use yurt_guest::usb::Snapshot;
use yurt_guest::{Cause, FirstTier, Limits, Options, Runtime, Source, Trial, UsbPolicy};

/// Large enough that the first tier matters, whatever else it does.
fn large(guest: Guest) -> Vec<u8> {
    let data = format!("(data (i32.const 1048576) \"{}\")", "x".repeat(1 << 20));
    guest.pages(40).and(&Guest::new(&data)).component()
}

fn runtime(cache: Option<&Path>) -> Runtime {
    let cache_dir = cache.map(Path::to_owned);
    Runtime::new(Options { first_tier: FirstTier::Winch, cache_dir, ..Options::default() }).unwrap()
}

fn served(runtime: &Runtime, component: &[u8]) -> UsbPolicy {
    let source = Source::Embedded { name: "test", bytes: component.to_vec().leak() };
    runtime.open(&source).unwrap().activate(&Trial::default()).unwrap()
}

fn becomes(policy: &UsbPolicy, translator: &str) {
    let start = Instant::now();
    while policy.translator() != translator {
        assert!(start.elapsed() < Duration::from_secs(120), "still by {}", policy.translator());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn entries(cache: &Path) -> usize {
    std::fs::read_dir(cache).unwrap().count()
}

#[test]
fn a_large_guest_serves_by_winch_and_then_by_cranelift() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let component = large(Guest::slow_to_compile());
    let policy = served(&runtime(Some(&cache)), &component);
    assert_eq!(policy.translator(), "winch");
    assert_eq!(policy.clone().check_config("{}").unwrap(), []);
    becomes(&policy, "cranelift");
    assert_eq!(policy.clone().check_config("{}").unwrap(), []);
    // What it served by first is not kept; later launches begin with the better code.
    let start = Instant::now();
    while entries(&cache) != 1 {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(served(&runtime(Some(&cache)), &component).translator(), "cranelift");
}

#[test]
fn a_launch_before_cranelift_is_ready_takes_winch_s_code_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::Embedded { name: "test", bytes: large(Guest::slow_to_compile()).leak() };
    // Opened and not activated: nobody asks for better.
    runtime(Some(dir.path())).open(&source).unwrap();
    assert_eq!(entries(dir.path()), 1);
    let again = runtime(Some(dir.path())).inspect(&source);
    assert_eq!(again.loaded.unwrap().activate(&Trial::default()).unwrap().translator(), "winch");
}

#[test]
fn a_small_guest_and_one_beyond_winch_wait_for_cranelift() {
    let runtime = runtime(None);
    assert_eq!(served(&runtime, &Guest::quiet().component()).translator(), "cranelift");
    let tail_call =
        Guest::new("(func $tail (result i32) (return_call $other)) (func $other (result i32) (i32.const 1))");
    assert_eq!(served(&runtime, &large(tail_call)).translator(), "cranelift");
}

#[test]
fn limits_hold_in_winch_s_code_too() {
    let limits = Limits { group_deadline: Duration::from_millis(60), ..Limits::default() };
    for name in ["spin", "recurse", "grow-table"] {
        // It misbehaves only after its trial, before Cranelift can be ready: compiling takes seconds.
        let guest = Guest::hostile(name).later().and(&Guest::slow_to_compile());
        let runtime = runtime(None);
        runtime.set_limits(limits.clone());
        let policy = served(&runtime, &large(guest));
        let facts = Snapshot { number: 2, devices: Vec::new(), trouble: Vec::new() };
        assert_eq!(policy.translator(), "winch");
        let why = policy.group("{}", &facts, None).unwrap_err();
        let expected = match name {
            "spin" => matches!(why.cause(), Cause::Deadline { .. }),
            "grow-table" => matches!(why.cause(), Cause::Memory { .. }),
            _ => matches!(why.cause(), Cause::Trap { .. }),
        };
        assert!(expected, "{name}: {why}");
        assert_eq!(policy.check_config("{}").unwrap(), [], "{name}");
    }
}

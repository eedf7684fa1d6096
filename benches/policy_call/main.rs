//! What Yurt's limits, deadlines and checks cost: calls of the default policy through [`UsbPolicy`] beside the same calls on bare
//! wasmtime, and loading beside bare loading.
//!
//! Criterion's figures come first. It measures one side after the other, so what a busy machine does to one side it does not do to the
//! other; the ratio that counts is taken afterwards, from short batches of both sides in turn.

#![allow(missing_docs, unreachable_pub, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]
// The same facts in two families of generated types.
#![allow(clippy::duplicate_mod)]

mod bare;
mod ours;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use criterion::{BatchSize, Criterion};
use serde_json::json;
use wasmtime::component::Component;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result};
use yurt_benches::load_average;
use yurt_guest::{Options, Runtime, Source, Trial, UsbPolicy, engine_settings};

use bare::Bare;

/// The pair that the devices have; the rest is what the schema makes of nothing.
const CONFIG: &str = r#"{"fingerprint_period":"10s","target_vendor_id":4292,"target_product_id":60000,"rule":[]}"#;
const DEVICES: [usize; 2] = [8, 127];
/// What a call may cost, as a multiple of the bare one.
const GOAL: f64 = 1.15;
/// Pairs of batches for the ratio, and how long a batch is.
const ROUNDS: usize = 200;
const BATCH: Duration = Duration::from_millis(8);

fn main() -> Result<()> {
    let file = component()?;
    let bytes = fs::read(&file).with_context(|| format!("{}: run guests/build.sh", file.display()))?;
    println!("{} ({} kB), load {}", file.display(), bytes.len() >> 10, load_average());
    let bytes: &'static [u8] = bytes.leak();
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    loading(&mut criterion, bytes)?;

    let runtime = Runtime::new(Options::default())?;
    let policy = load(&runtime, bytes);
    let engine = Engine::new(&engine_settings())?;
    let bare = Bare::new(&engine, &Component::new(&engine, bytes)?)?;
    calls(&mut criterion, &policy, &bare);
    criterion.final_summary();

    let ratios = DEVICES.map(|devices| ratio(&policy, &bare, devices));
    let tails = DEVICES.map(|devices| tail(&policy, devices));
    let [rate, share] = two_threads(&policy, &bare);
    if let Some(file) = env::var_os("YURT_BENCH_JSON") {
        fs::write(file, json!({ "ratios": ratios, "goal": GOAL, "tails": tails, "two_threads_calls_per_s": rate, "two_threads_share": share }).to_string())?;
    }
    Ok(())
}

/// The component that the binary embeds, built by `guests/build.sh`.
fn component() -> Result<PathBuf> {
    let folder = env::var_os("YURT_GUESTS_DIR").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/target/components"));
    std::path::absolute(folder.join("usb.wasm")).context("no current directory")
}

fn load(runtime: &Runtime, bytes: &'static [u8]) -> UsbPolicy {
    let loaded = runtime.open(&Source::Embedded { name: "usb", bytes }).expect("the guest opens");
    loaded.activate(&Trial { config: CONFIG }).expect("the trial passes")
}

/// From nothing to a guest that may be called, as every launch of a plugin does it.
fn loading(criterion: &mut Criterion, bytes: &'static [u8]) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let options = |dir: &Path| Options { cache_dir: Some(dir.into()), ..Options::default() };
    let compiled = cache.path().join("bare.cwasm");
    let engine = || Engine::new(&engine_settings()).expect("an engine");
    fs::write(&compiled, Component::new(&engine(), bytes)?.serialize()?)?;
    load(&Runtime::new(options(&cache.path().join("warm")))?, bytes);

    let mut group = criterion.benchmark_group("load");
    group.bench_function("runtime only", |b| {
        b.iter_with_large_drop(|| Runtime::new(Options::default()).expect("a runtime"))
    });
    group.bench_function("cached, Yurt", |b| {
        b.iter_with_large_drop(|| {
            let runtime = Runtime::new(options(&cache.path().join("warm"))).expect("a runtime");
            load(&runtime, bytes)
        });
    });
    group.bench_function("cached, bare", |b| {
        b.iter_with_large_drop(|| {
            let engine = engine();
            #[allow(unsafe_code)]
            // SAFETY: written above by the same version, in a directory that is ours.
            let component = unsafe { Component::deserialize_file(&engine, &compiled) }.expect("the component");
            Bare::new(&engine, &component).expect("it links")
        });
    });
    group.sample_size(10);
    group.bench_function("first, Yurt", |b| {
        b.iter_batched(
            || tempfile::tempdir().expect("a directory"),
            |dir| (load(&Runtime::new(options(&dir.path().join("cold"))).expect("a runtime"), bytes), dir),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("first, bare", |b| {
        b.iter_with_large_drop(|| {
            let engine = engine();
            Bare::new(&engine, &Component::new(&engine, bytes).expect("it compiles")).expect("it links")
        });
    });
    group.finish();
    Ok(())
}

fn calls(criterion: &mut Criterion, policy: &UsbPolicy, bare: &Bare) {
    for devices in DEVICES {
        let (ours, theirs) = (ours::facts::snapshot(devices), bare::facts::snapshot(devices));
        let offer = policy.group(CONFIG, &ours, None).expect("a call").expect("an offer");
        let same = bare.group(CONFIG, &theirs).expect("a call").expect("an offer");
        assert!(offer.groups.iter().map(|group| group.instances.len()).sum::<usize>() == devices, "{offer:?}");
        assert_eq!(format!("{offer:?}"), format!("{same:?}"), "both sides do the same work");

        let mut group = criterion.benchmark_group(format!("group of {devices}"));
        group.bench_function("Yurt", |b| b.iter_with_large_drop(|| policy.group(CONFIG, black_box(&ours), None)));
        group.bench_function("bare", |b| b.iter_with_large_drop(|| bare.group(CONFIG, black_box(&theirs))));
        group.finish();
    }
}

/// Medians over batches of both sides in turn. A batch that was disturbed disturbs one ratio of two hundred.
fn ratio(policy: &UsbPolicy, bare: &Bare, devices: usize) -> serde_json::Value {
    let (ours, theirs) = (ours::facts::snapshot(devices), bare::facts::snapshot(devices));
    let mut yurt = || drop(black_box(policy.group(CONFIG, &ours, None)));
    let mut bare = || drop(black_box(bare.group(CONFIG, &theirs)));
    let pairs: Vec<[f64; 2]> = (0..ROUNDS)
        .map(|round| {
            // Who goes first has what the other left in the caches.
            if round % 2 == 0 {
                let yurt = batch(&mut yurt);
                [yurt, batch(&mut bare)]
            } else {
                let bare = batch(&mut bare);
                [batch(&mut yurt), bare]
            }
        })
        .collect();
    let all = |figure: &dyn Fn(&[f64; 2]) -> f64| yurt_benches::quartiles(pairs.iter().map(figure).collect());
    let (yurt, bare) = (all(&|[yurt, _]| yurt * 1e6), all(&|[_, bare]| bare * 1e6));
    let [low, ratio, high] = all(&|[yurt, bare]| yurt / bare);
    println!(
        "group of {devices}: Yurt {:.1} µs, bare {:.1} µs, ratio {ratio:.3} (quartiles {low:.3}–{high:.3}), goal ≤ {GOAL}: {}; load {}",
        yurt[1],
        bare[1],
        if ratio <= GOAL { "met" } else { "NOT MET" },
        load_average(),
    );
    json!({
        "devices": devices,
        "yurt_us": yurt,
        "bare_us": bare,
        "ratio": [low, ratio, high],
        "met": ratio <= GOAL,
    })
}

/// Seconds of one call, averaged over as many as a batch has room for.
fn batch(call: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut calls = 0;
    loop {
        call();
        calls += 1;
        let took = start.elapsed();
        if took >= BATCH {
            return took.as_secs_f64() / f64::from(calls);
        }
    }
}

/// Calls a second on two threads, and how much of bare wasmtime's that is: whether calls get in each other's way.
fn two_threads(policy: &UsbPolicy, bare: &Bare) -> [f64; 2] {
    const TURNS: usize = 20;
    let (facts, theirs) = (ours::facts::snapshot(8), bare::facts::snapshot(8));
    let pairs: Vec<[f64; 2]> = (0..TURNS)
        .map(|_| {
            let yurt = on_two_threads(&|| drop(black_box(policy.group(CONFIG, &facts, None))));
            [yurt, on_two_threads(&|| drop(black_box(bare.group(CONFIG, &theirs))))]
        })
        .collect();
    let [_, rate, _] = yurt_benches::quartiles(pairs.iter().map(|[yurt, _]| *yurt).collect());
    let [low, share, high] = yurt_benches::quartiles(pairs.iter().map(|[yurt, bare]| yurt / bare).collect());
    println!(
        "group of 8 on two threads: {rate:.0} calls/s, {share:.3} of bare wasmtime's (quartiles {low:.3}–{high:.3}), goal ≥ 0.95"
    );
    [rate, share]
}

fn on_two_threads(call: &(dyn Fn() + Sync)) -> f64 {
    let calls = || {
        let (start, mut calls) = (Instant::now(), 0_u32);
        while start.elapsed() < Duration::from_millis(250) {
            call();
            calls += 1;
        }
        f64::from(calls) / start.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(calls));
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

/// How far the slowest call in a hundred is from the middle one.
fn tail(policy: &UsbPolicy, devices: usize) -> f64 {
    let facts = ours::facts::snapshot(devices);
    let mut times: Vec<f64> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            drop(black_box(policy.group(CONFIG, &facts, None)));
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (median, tail) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        "group of {devices}: median {median:.1} µs, 99 of 100 within {tail:.1} µs: {:.2} ×, goal ≤ 3",
        tail / median
    );
    tail / median
}

//! Many exchanges under load: nothing fails, nothing is mixed, nothing grows.
//!
//! `YURT_SWAPS` says how many; a handful unless told.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use yurt_conformance::process::PATIENCE;
use yurt_nomad::client::Device;

use crate::agents::{ids, until};
use crate::guests::{acme, file};
use crate::make::Guest;
use crate::swap::{Served, replace, served, version, version_with};

/// Memory that the plugin may have more of in the end than after the first exchanges, KiB: an allocator's own affairs.
const GROWTH: u64 = 4096;

#[tokio::test]
async fn nothing_fails_is_mixed_or_grows_while_guests_are_exchanged_under_load() {
    let swaps: u64 = std::env::var("YURT_SWAPS").map_or(20, |text| text.parse().expect("YURT_SWAPS: a number"));
    let [alpha, beta] = ["alpha", "beta"].map(|name| version(name).component());
    let broken = [
        // Of a candidate's stages: the file, the trial, the shadow run.
        alpha[..alpha.len() / 2].to_vec(),
        Guest::hostile("trap").component(),
        version_with("beta", "(if (i32.gt_u (local.get 4) (i32.const 2)) (then (unreachable)))", "").component(),
    ];
    let mut served = served(acme(&alpha), "yurt {\n settle = \"20ms\"\n log_level = \"error\"\n}").await;
    let pid = served.process.pid();
    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> =
        (0..4).map(|_| tokio::spawn(reserve(served.device.clone(), Arc::clone(&over), Arc::clone(&calls)))).collect();

    let (mut first, mut present) = (0, "alpha");
    let began = Instant::now();
    for swap in 0..swaps {
        if swap % 10 == 9 {
            let which = usize::try_from(swap / 10).unwrap() % broken.len();
            let before = served.refusals();
            replace(&file(&served.place), &broken[which]);
            served.refused_after(before).await;
            continue;
        }
        present = if present == "alpha" { "beta" } else { "alpha" };
        replace(&file(&served.place), if present == "alpha" { &alpha } else { &beta });
        // The stream never ends, and every message is of one guest alone.
        let groups = until(&mut served.offers, |groups| groups.iter().any(|group| group.name == present)).await;
        assert_eq!((groups.len(), ids(&groups).len()), (1, 2), "{groups:#?}");
        if swap == swaps.min(100) / 2 {
            first = resident(pid);
        }
    }
    over.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let last = resident(pid);
    println!(
        "{swaps} exchanges in {:?} under {} reservations; memory {first} KiB, then {last} KiB; {} descriptors, {} threads",
        began.elapsed(),
        calls.load(Relaxed),
        entries(pid, "fd"),
        entries(pid, "task")
    );
    assert!(last < first + GROWTH, "{first} KiB became {last} KiB");
    assert!(calls.load(Relaxed) > swaps);
    let Served { place, .. } = served;
    drop(place);
}

/// Until it is over. An answer is of one guest: a policy refuses what another one offered.
async fn reserve(mut device: Device, over: Arc<AtomicBool>, calls: Arc<AtomicU64>) {
    while !over.load(Relaxed) {
        let answer = tokio::time::timeout(PATIENCE, device.reserve(vec!["thing-1".into()])).await.expect("an answer");
        let envs = answer.unwrap_or_else(|why| panic!("a call failed: {why}")).envs;
        assert!(["alpha", "beta"].contains(&envs["YURT_V"].as_str()), "{envs:?}");
        calls.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn entries(pid: u32, what: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

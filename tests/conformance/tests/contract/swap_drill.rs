//! Many exchanges under load: nothing fails, nothing is mixed, nothing grows.
//!
//! `YURT_SWAPS` says how many; a handful unless told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use yurt_conformance::process::{PATIENCE, Uses};
use yurt_nomad::client::Device;

use crate::agents::{ids, until};
use crate::guests::{acme, file};
use crate::make::Guest;
use crate::swap::{Served, replace, served, version, version_with};

/// Memory that the plugin may have more of in the end than once it was warm, KiB: an allocator's own affairs.
const GROWTH: u64 = 4096;
/// Descriptors and threads that it may have more of: a call and a compiler that are just under way.
const UNDER_WAY: usize = 8;

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

    let (mut warm, mut present, mut slowest) = (None, "alpha", Duration::ZERO);
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
        let saved = Instant::now();
        // The stream never ends, and every message is of one guest alone.
        let groups = until(&mut served.offers, |groups| groups.iter().any(|group| group.name == present)).await;
        assert_eq!((groups.len(), ids(&groups).len()), (1, 2), "{groups:#?}");
        slowest = slowest.max(saved.elapsed());
        if swap == swaps.min(200) / 2 {
            warm = Some(Uses::of(pid));
        }
    }
    over.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let (warm, last) = (warm.unwrap(), Uses::of(pid));
    println!(
        "{swaps} exchanges in {:?} (slowest {slowest:?}) under {} reservations: {warm:?}, then {last:?}",
        began.elapsed(),
        calls.load(Relaxed)
    );
    assert!(last.kib < warm.kib + GROWTH, "{warm:?} became {last:?}");
    assert!(last.descriptors < warm.descriptors + UNDER_WAY, "{warm:?} became {last:?}");
    assert!(last.threads < warm.threads + UNDER_WAY, "{warm:?} became {last:?}");
    assert!(calls.load(Relaxed) > swaps);

    // One that passed its trial, and traps when it is asked for both things: within one call, which does not fail.
    let traps = version_with("beta", "", "(if (i32.gt_u (local.get 14) (i32.const 1)) (then (unreachable)))");
    if present == "beta" {
        replace(&file(&served.place), &alpha);
        until(&mut served.offers, |groups| groups.iter().any(|group| group.name == "alpha")).await;
    }
    replace(&file(&served.place), &traps.component());
    until(&mut served.offers, |groups| groups.iter().any(|group| group.name == "beta")).await;
    let both = served.device.reserve(vec!["thing-1".into(), "thing-2".into()]).await.unwrap();
    assert_eq!(both.envs["YURT_V"], "alpha");
    until(&mut served.offers, |groups| groups.iter().any(|group| group.name == "alpha")).await;
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

//! Many unplugs and replugs: each is told, ids and reservations hold, a mounted directory follows, nothing grows.
//!
//! `YURT_REPLUGS` says how many; a hundred unless told.

use std::time::Instant;

use yurt_conformance::place::Place;
use yurt_conformance::process::Uses;
use yurt_usb::sim::models;

use crate::agents::{ids, serving, until};
use crate::directory::may_mount;

/// Memory that the plugin may have more of in the end than once it was warm, KiB: an allocator's own affairs.
const GROWTH: u64 = 4096;
const PORTS: [&str; 3] = ["1-1", "1-2", "1-3"];

#[tokio::test]
async fn nothing_is_missed_and_nothing_grows_while_devices_come_and_go() {
    let cycles: usize = std::env::var("YURT_REPLUGS").map_or(100, |text| text.parse().expect("YURT_REPLUGS: a number"));
    let place = Place::new();
    let bus = place.bus();
    let model = |port: &str| models::memory_stick().with_serial(format!("S{}", port.replace('-', "")));
    for port in PORTS {
        bus.plug(port, &model(port)).unwrap();
    }
    let mounts = may_mount();
    let expose = if mounts { "both" } else { "devices" };
    let config = format!(
        "rule {{\n expose = {expose:?}\n unhealthy_if = [\"flapping\"]\n}}\nyurt {{\n settle = \"0s\"\n log_level = \"error\"\n}}"
    );
    let mut launched = serving(&place, &config).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-S11", "sn-S12", "sn-S13"]).await;
    for id in ["sn-S11", "sn-S12", "sn-S13"] {
        let reservation = launched.device.reserve(vec![id.to_owned()]).await.unwrap();
        assert_eq!(reservation.mounts.len(), usize::from(mounts));
    }
    let pid = launched.plugin.pid();
    let (mut warm, began) = (None, Instant::now());
    for cycle in 0..cycles {
        let at = cycle % PORTS.len();
        let (port, id) = (PORTS[at], format!("sn-S{}", PORTS[at].replace('-', "")));
        bus.unplug(port).unwrap();
        until(&mut offers, |groups| !ids(groups).contains(&id.as_str())).await;
        bus.plug(port, &model(port)).unwrap();
        until(&mut offers, |groups| ids(groups).contains(&id.as_str())).await;
        if cycle == cycles.min(1000) / 2 {
            warm = Some(Uses::of(pid));
        }
    }
    let (warm, last) = (warm.unwrap(), Uses::of(pid));
    println!("{cycles} replugs in {:?}: {warm:?}, then {last:?}", began.elapsed());
    assert!(last.kib < warm.kib + GROWTH, "{warm:?} became {last:?}");
    assert!(last.descriptors <= warm.descriptors + 2 && last.threads <= warm.threads + 2, "{warm:?} became {last:?}");
}

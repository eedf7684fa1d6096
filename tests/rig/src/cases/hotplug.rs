//! Devices come and go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use yurt_nomad::device::Instance;
use yurt_usb::sim::models;

use super::Remarks;
use crate::bus::{TheBus, stick};
use crate::expected::{At, adapters, at, health, sticks};
use crate::plugin::{CONFIG, Message, Setup, text};

pub(super) async fn plug(setup: Setup) -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    let mut plugin = setup.start(CONFIG).await?;
    plugin.begins_empty().await?;

    bus.plug("1-2", models::cp2102()).await?;
    plugin.says(&[adapters(&[at("sn-0001", "1-2", "0001")])]).await?;
    plugin.is_quiet().await?;

    bus.plug("1-4", stick("5B1C07A2")).await?;
    plugin.says(&[sticks(&[at("sn-5B1C07A2", "1-4", "5B1C07A2")]), adapters(&[at("sn-0001", "1-2", "0001")])]).await?;
    plugin.is_quiet().await?;
    plugin.end().await?;
    Ok(Vec::new())
}

pub(super) async fn unplug(setup: Setup) -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    bus.plug("1-3", stick("A1")).await?;
    let mut plugin = setup.start(CONFIG).await?;
    let offered = [sticks(&[at("sn-A1", "1-3", "A1")])];
    plugin.begins_with(&offered).await?;

    for port in ["1-3", "1-5", "1-3"] {
        if port != "1-3" {
            bus.plug(port, stick("A1")).await?;
            plugin.says(&[sticks(&[at("sn-A1", port, "A1")])]).await?;
        }
        bus.unplug(port).await?;
        plugin.says(&[]).await?;
        plugin.is_quiet().await?;
        if port != "1-3" {
            bus.plug("1-3", stick("A1")).await?;
            plugin.says(&offered).await?;
        }
    }
    plugin.end().await?;
    Ok(Vec::new())
}

pub(super) async fn hub(setup: Setup) -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    bus.plug("1-1", models::hub(4)).await?;
    for port in 1..=4 {
        bus.plug(&format!("1-1.{port}"), stick(&format!("S{port}"))).await?;
    }
    bus.plug("1-2", models::cp2102()).await?;
    let mut plugin = setup.start(CONFIG).await?;
    let four: Vec<At> =
        (1..=4).map(|port| at(&format!("sn-S{port}"), &format!("1-1.{port}"), &format!("S{port}"))).collect();
    let adapter = adapters(&[at("sn-0001", "1-2", "0001")]);
    plugin.begins_with(&[sticks(&four), adapter.clone()]).await?;

    // The kernel tells of one device after the other, deepest first; what is gone is no longer offered, waited for or not.
    bus.unplug("1-1").await?;
    let messages = plugin.until_quiet().await?;
    let mut before: BTreeSet<String> = four.iter().map(|at| at.id.clone()).chain(["sn-0001".to_owned()]).collect();
    for message in &messages {
        let now = ids(message);
        ensure!(now.is_subset(&before) && now != before, "{before:?} became {now:?}");
        before = now;
    }
    let last = messages.last().context("nothing was said of it")?;
    ensure!(last.groups == [adapter], "{}", text(&last.groups));
    plugin.end().await?;
    Ok(vec![format!("four sticks behind one hub left in {} messages", messages.len())])
}

/// A loose contact. What comes and goes faster than anything settles is not worth a word; where this machine makes a pause in the
/// middle there may be one, about what was there in that pause. The last word is about the last device.
pub(super) async fn flicker(setup: Setup) -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    let mut plugin = setup.start(CONFIG).await?;
    plugin.begins_empty().await?;

    let took = bus
        .run(|bus| {
            let began = Instant::now();
            bus.set_pause(Duration::ZERO);
            for _ in 0..200 {
                bus.plug("1-2", &models::cp2102())?;
                bus.unplug("1-2")?;
            }
            bus.plug("1-2", &stick("LAST"))?;
            Ok(began.elapsed())
        })
        .await?;
    let messages = plugin.until_quiet().await?;
    let (last, between) = messages.split_last().context("nothing was said of it")?;
    ensure!(last.groups == [sticks(&[at("sn-LAST", "1-2", "LAST")])], "{}", text(&last.groups));
    for message in between {
        ensure!(ids(message).iter().all(|id| id == "sn-0001"), "{}", text(&message.groups));
    }
    plugin.end().await?;
    Ok(vec![format!("200 plugs and unplugs in {took:.0?}, {} messages in between", between.len())])
}

/// Two full buses, switched on. In the middle there may be messages, each with all of the one before; the last has everything.
pub(super) async fn burst(setup: Setup) -> Remarks {
    const EACH: usize = 100;
    let bus = TheBus::with_root_hub().await?;
    let mut plugin = setup.start(CONFIG).await?;
    plugin.begins_empty().await?;

    let ports: Vec<String> = (0..2 * EACH).map(|n| port(1 + n / EACH, n % EACH)).collect();
    let serial = |port: &String| format!("N{}", port.replace(['-', '.'], "x"));
    let plugged = ports.clone();
    let (took, last_event) = bus
        .run(move |bus| {
            let began = Instant::now();
            bus.set_pause(Duration::ZERO);
            for number in 1..=2 {
                if number > 1 {
                    bus.plug(&format!("usb{number}"), &models::root_hub(15))?;
                }
                for at in 1..=7 {
                    bus.plug(&format!("{number}-{at}"), &models::hub(16))?;
                }
            }
            for port in &plugged {
                bus.plug(port, &models::cp2102().with_serial(serial(port)))?;
            }
            Ok((began.elapsed(), Instant::now()))
        })
        .await?;
    let messages = plugin.until_quiet().await?;
    let log = plugin.log();
    let mut before = BTreeSet::new();
    for message in &messages {
        let now = ids(message);
        let lost = before.difference(&now).count();
        ensure!(lost == 0, "{lost} of {} devices are gone that never left; the log says\n{log}", before.len());
        before = now;
    }
    let expected: BTreeSet<String> = ports.iter().map(|port| format!("sn-{}", serial(port))).collect();
    ensure!(before == expected, "{} devices in the end; the log says\n{log}", before.len());
    if let Some(last) = messages.last() {
        let unlike = instances(last).find(|instance| instance.health != health());
        ensure!(unlike.is_none(), "{unlike:?}");
    }
    ensure!(!log.contains("not offered"), "{log}");
    plugin.end().await?;
    let after = messages.last().map(|last| last.at.duration_since(last_event)).unwrap_or_default();
    Ok(vec![format!(
        "200 devices behind 14 hubs in {took:.0?}, told in {} messages, the last {after:.0?} after the last event",
        messages.len()
    )])
}

fn instances(message: &Message) -> impl Iterator<Item = &Instance> {
    message.groups.iter().flat_map(|group| &group.instances)
}

fn ids(message: &Message) -> BTreeSet<String> {
    instances(message).map(|instance| instance.id.clone()).collect()
}

/// Fifteen behind each of seven hubs.
fn port(bus: usize, number: usize) -> String {
    format!("{bus}-{}.{}", 1 + number / 15, 1 + number % 15)
}

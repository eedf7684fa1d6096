//! Figures. Each is printed; a case fails where a figure is far off its goal, since machines differ and have other things to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use yurt_usb::facts::{Presence, Snapshot};
use yurt_usb::sim::models;
use yurt_usb::{Reader, Roots, Settings, Watcher, scan};

use super::Remarks;
use crate::bus::{TheBus, stick};
use crate::expected::{at, sticks};
use crate::plugin::{CONFIG, SETTLE, Setup};

/// Plugs that are timed.
const PLUGS: usize = 48;
/// From the kernel's first event to the message, less the settle time.
const LATENCY_GOAL: Duration = Duration::from_millis(50);
/// Root hub included.
const DEVICES: usize = 127;
const FULL_GOAL: Duration = Duration::from_millis(60);
const ONE_GOAL: Duration = Duration::from_millis(2);
/// A figure this many times its goal is a fault, not a slow machine.
const FAR_OFF: u32 = 5;
/// For what comes at once or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn latency(setup: Setup) -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    for port in 5..=12 {
        bus.plug(&format!("1-{port}"), models::cp2102().with_serial(format!("P{port}"))).await?;
    }
    let mut plugin = setup.start(CONFIG).await?;
    let mut groups = loop {
        let groups = plugin.next().await?.groups;
        if !groups.is_empty() {
            break groups;
        }
    };
    groups.insert(0, sticks(&[at("sn-LL03", "1-2", "LL03")]));

    // As the kernel does it, and as if a driver never finished: then nothing but quiet says that the device has settled.
    let (mut bound, mut quiet) = (Vec::new(), Vec::new());
    for round in 0..PLUGS {
        let bind = round % 2 == 0;
        let told = bus.plug_and_bind("1-2", stick("LL03"), bind).await?;
        let message = plugin.says(&groups).await?;
        if bind {
            bound.push(message.at.duration_since(told.first));
        } else {
            quiet.push(message.at.duration_since(told.last).saturating_sub(SETTLE));
        }
        bus.unplug("1-2").await?;
        plugin.says(groups.get(1..).unwrap_or_default()).await?;
    }
    plugin.end().await?;
    let (bound, quiet) = (Spread::of(bound), Spread::of(quiet));
    let remarks = vec![
        format!("all drivers bound: {bound} from the first event on; goal {:?} + {LATENCY_GOAL:?}", SETTLE),
        format!("one never binds: {quiet} beyond the settle time of {SETTLE:?}; goal {LATENCY_GOAL:?}; {}", profile()),
    ];
    let beyond = bound.median.saturating_sub(SETTLE).max(quiet.median);
    ensure!(beyond <= LATENCY_GOAL * FAR_OFF, "{}", remarks.join("\n"));
    Ok(remarks)
}

/// The reader and the watcher themselves, without the plugin around them.
pub(super) async fn snapshots() -> Remarks {
    let bus = TheBus::with_root_hub().await?;
    let free = fill(&bus).await?;
    let full = tokio::task::spawn_blocking(|| {
        let mut times = Vec::new();
        for _ in 0..40 {
            let began = Instant::now();
            let snapshot = scan(&Roots::system());
            times.push(began.elapsed());
            ensure!(snapshot.devices.len() == DEVICES, "{} devices", snapshot.devices.len());
        }
        Ok(Spread::of(times))
    })
    .await??;

    let reader = Reader::new(Roots::system());
    ensure!(reader.full().0.len() == DEVICES, "another number of devices");
    let key = free.clone();
    let branch = tokio::task::spawn_blocking(move || {
        let mut times = Vec::new();
        for _ in 0..40 {
            let began = Instant::now();
            ensure!(reader.one(&key).is_some(), "{key} is gone");
            times.push(began.elapsed());
        }
        Ok(Spread::of(times))
    })
    .await??;
    let told = after_one_event(&bus, free).await?;
    let remarks = vec![
        format!("{DEVICES} devices read: {full}; goal {FULL_GOAL:?}"),
        format!("the branch of one event read: {branch}; goal {ONE_GOAL:?}"),
        format!(
            "from such an event to the new snapshot: {told}, the wait for the end of its burst included; {}",
            profile()
        ),
    ];
    ensure!(full.median <= FULL_GOAL * FAR_OFF && branch.median <= ONE_GOAL * FAR_OFF, "{}", remarks.join("\n"));
    Ok(remarks)
}

/// The authorisation changes, and the kernel speaks of that device: how long until a snapshot says so.
async fn after_one_event(bus: &TheBus, port: String) -> anyhow::Result<Spread> {
    let watcher = Watcher::start(Roots::system(), Settings::default());
    let mut snapshots = watcher.snapshots();
    let all_there = |snapshot: &Arc<Snapshot>| {
        let there = snapshot.devices.iter().filter(|device| device.life.presence == Presence::Present);
        there.count() == DEVICES
    };
    tokio::time::timeout(PATIENCE, snapshots.wait_for(all_there)).await.context("they never settle")??;
    let mut times = Vec::new();
    for round in 0..40 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let authorised = round % 2 == 1;
        let at = port.clone();
        let sent = bus
            .run(move |bus| {
                let path = bus.devpath(&at).unwrap_or_default();
                bus.set_attribute(&at, "authorized", if authorised { "1" } else { "0" })?;
                let sent = Instant::now();
                bus.send("change", &path, "usb", "DEVTYPE=usb_device")?;
                Ok(sent)
            })
            .await?;
        let has_it = |snapshot: &Arc<Snapshot>| {
            let device = snapshot.devices.iter().find(|device| device.key == port);
            device.is_some_and(|device| device.access.authorised == authorised)
        };
        tokio::time::timeout(PATIENCE, snapshots.wait_for(has_it))
            .await
            .context("no snapshot tells of the event")??;
        times.push(sent.elapsed());
    }
    Ok(Spread::of(times))
}

/// Every address of a bus: a root hub, eight hubs, sticks, adapters, keys and cameras behind them. Returns the last port.
async fn fill(bus: &TheBus) -> anyhow::Result<String> {
    bus.run(|bus| {
        bus.set_pause(Duration::ZERO);
        let mut plugged = 1;
        let mut last = String::new();
        for hub in 1..=8 {
            bus.plug(&format!("1-{hub}"), &models::hub(15))?;
            plugged += 1;
            for port in 1..=15 {
                if plugged == DEVICES {
                    break;
                }
                last = format!("1-{hub}.{port}");
                let model = match port % 4 {
                    0 => models::webcam(),
                    1 => stick(&format!("S{hub}x{port}")),
                    2 => models::yubikey(),
                    _ => models::cp2102().with_serial(format!("A{hub}x{port}")),
                };
                bus.plug(&last, &model)?;
                plugged += 1;
            }
        }
        Ok(last)
    })
    .await
}

fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug build" } else { "release build" }
}

/// Median and extremes.
struct Spread {
    median: Duration,
    least: Duration,
    most: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Spread {
        times.sort();
        let pick = |at: usize| times.get(at).copied().unwrap_or_default();
        Spread { median: pick(times.len() / 2), least: pick(0), most: pick(times.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {:.1?} ({:.1?}–{:.1?})", self.median, self.least, self.most)
    }
}

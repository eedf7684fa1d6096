//! The watcher against a simulated bus: files and datagrams in a directory, no privileges.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests count as no tests

use std::{
    fs,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::sync::watch::Receiver;
use yurt_usb::{
    Events, Roots, Settings, Watcher,
    facts::{Device, Presence, SerialQuality, Snapshot},
    sim::{Bus, models},
};

/// Far above anything that a loaded machine needs, far below a test's patience.
const LONG: Duration = Duration::from_secs(20);

struct Rig {
    dir: tempfile::TempDir,
    bus: Bus,
    watcher: Watcher,
    snapshots: Receiver<Arc<Snapshot>>,
}

fn settings(settle: u64, settle_max: u64, grace: u64) -> Settings {
    Settings {
        settle: Duration::from_millis(settle),
        settle_max: Duration::from_millis(settle_max),
        grace: Duration::from_millis(grace),
    }
}

impl Rig {
    /// A bus with a root hub of 15 ports, watched and looked at once.
    fn new(settings: Settings) -> Self {
        Self::with(settings, |_| {})
    }

    fn with(settings: Settings, before: impl FnOnce(&Bus)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::simulated(dir.path());
        let bus = Bus::create(&roots).unwrap();
        bus.set_pause(Duration::from_millis(1));
        bus.plug("usb1", &models::root_hub(15)).unwrap();
        before(&bus);
        let watcher = Watcher::start(roots, settings);
        let snapshots = watcher.snapshots();
        let rig = Self { dir, bus, watcher, snapshots };
        rig.wait(|snapshot| snapshot.number == 1);
        rig
    }

    /// The first snapshot from now on of which something holds.
    fn wait(&self, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        wait(&self.snapshots, holds)
    }

    fn now(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Lets everything settle that can.
    fn rest(&self) -> Arc<Snapshot> {
        loop {
            let before = self.now().number;
            sleep(Duration::from_millis(400));
            if self.now().number == before {
                return self.now();
            }
        }
    }
}

fn wait(snapshots: &Receiver<Arc<Snapshot>>, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let begin = Instant::now();
    loop {
        let snapshot = snapshots.borrow().clone();
        if holds(&snapshot) {
            return snapshot;
        }
        assert!(begin.elapsed() < LONG, "still waiting at {snapshot:#?}");
        sleep(Duration::from_millis(1));
    }
}

fn find<'a>(snapshot: &'a Snapshot, key: &str) -> Option<&'a Arc<Device>> {
    snapshot.devices.iter().find(|device| device.key == key)
}

fn has(snapshot: &Snapshot, key: &str, presence: Presence) -> bool {
    find(snapshot, key).is_some_and(|device| device.life.presence == presence)
}

fn keys(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.devices.iter().map(|device| device.key.as_str()).collect()
}

fn nodes(snapshot: &Snapshot, key: &str) -> Vec<String> {
    find(snapshot, key).unwrap().nodes.iter().map(|node| node.path.clone()).collect()
}

#[test]
fn a_plug_is_told_once_it_has_settled() {
    let rig = Rig::new(settings(100, 3000, 0));
    rig.bus.plug("1-1", &models::cp2102()).unwrap();
    let plugged = rig.wait(|snapshot| snapshot.number == 2);
    assert!(has(&plugged, "1-1", Presence::Present));
    assert_eq!(nodes(&plugged, "1-1"), ["/dev/bus/usb/001/002", "/dev/ttyUSB0"]);
    assert_eq!(find(&plugged, "1-1").unwrap().interfaces[0].driver.as_deref(), Some("cp210x"));
    assert_eq!(rig.rest().number, 2, "one snapshot for the six events of a plug, and none for the looks after it");
}

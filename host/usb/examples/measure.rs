//! How long a look takes and how soon a change is told, at a full bus of 127 devices.
//!
//! `cargo run --release -p yurt-usb --example measure`: a simulated bus in a temporary directory, no privileges. Each figure is
//! the median of many, with the worst beside it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, sync::watch::Receiver};
use yurt_usb::{
    Reader, Roots, Settings, Watcher,
    facts::{Presence, Snapshot},
    sim::{Bus, models},
};

const SETTLE: Duration = Duration::from_millis(250);

fn main() {
    let dir = scratch();
    let roots = Roots::simulated(dir.path());
    let bus = Bus::create(&roots).unwrap();
    bus.set_pause(Duration::ZERO);
    let keys = fill(&bus);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

    let reader = Reader::new(roots.clone());
    println!("{} devices, {} of them with a terminal", reader.full().0.len(), keys.len());
    show("full look", &times(50, || drop(reader.full())));
    show("one device", &times(200, || drop(reader.one(&keys[50]))));
    show(&format!("counters of {}", keys.len()), &times(50, || drop(reader.counters(&keys))));

    let watcher = Watcher::start(roots, Settings { settle: SETTLE, ..Settings::default() });
    let mut snapshots = watcher.snapshots();
    until(&runtime, &mut snapshots, |snapshot| snapshot.number > 0);
    let rescans = times(50, || {
        let number = snapshots.borrow().number;
        watcher.rescan();
        until(&runtime, &mut snapshots, |snapshot| snapshot.number > number);
    });
    show("rescan to snapshot", &rescans);

    let (mut removals, mut plugs, mut late) = (Vec::new(), Vec::new(), Vec::new());
    let port = keys.last().unwrap();
    let there = |snapshot: &Snapshot, presence| {
        snapshot.devices.iter().any(|device| device.key == *port && device.life.presence == presence)
    };
    bus.set_pause(Duration::from_millis(5));
    for round in 0..20 {
        bus.unplug(port).unwrap();
        until(&runtime, &mut snapshots, |snapshot| !there(snapshot, Presence::Present));
        let begin = Instant::now();
        bus.add(port, &models::cp2102()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        bus.configure(port).unwrap();
        bus.bind(port, 0).unwrap();
        // Every other driver takes its time: then quiet alone has to tell.
        if round % 2 == 0 {
            bus.bound(port).unwrap();
        }
        until(&runtime, &mut snapshots, |snapshot| there(snapshot, Presence::Present));
        plugs.push(begin.elapsed().saturating_sub(SETTLE));

        // One event: a driver lets go.
        let path = bus.devpath(port).unwrap();
        bus.set_attribute(port, "authorized", "0").unwrap();
        let begin = Instant::now();
        bus.send("unbind", &format!("{path}/{port}:1.0"), "usb", "DEVTYPE=usb_interface").unwrap();
        let told = |snapshot: &Snapshot| snapshot.devices.iter().any(|d| d.key == *port && !d.access.authorised);
        until(&runtime, &mut snapshots, told);
        late.push(begin.elapsed());
        // One event: it is gone. Its files stay, so that nothing but the watcher is measured.
        let begin = Instant::now();
        bus.send("remove", &path, "usb", "DEVTYPE=usb_device").unwrap();
        until(&runtime, &mut snapshots, |snapshot| !there(snapshot, Presence::Present));
        removals.push(begin.elapsed());
    }
    show("removal to snapshot", &removals);
    show("late event to snapshot (waits 15 ms for more)", &late);
    show("plug to snapshot, beyond the settle time of 250 ms", &plugs);
}

/// In memory where there is such a place, as sysfs is: a disk's journal would be most of what is waited for.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Root hub, 18 hubs, 108 adapters.
fn fill(bus: &Bus) -> Vec<String> {
    bus.plug("usb1", &models::root_hub(20)).unwrap();
    let mut keys = Vec::new();
    for hub in 1..=18 {
        bus.plug(&format!("1-{hub}"), &models::hub(7)).unwrap();
        for port in 1..=6 {
            let key = format!("1-{hub}.{port}");
            bus.plug(&key, &models::cp2102().with_serial(key.clone())).unwrap();
            keys.push(key);
        }
    }
    keys
}

fn until(runtime: &Runtime, snapshots: &mut Receiver<Arc<Snapshot>>, holds: impl Fn(&Snapshot) -> bool) {
    runtime.block_on(async {
        while !holds(&snapshots.borrow_and_update()) {
            snapshots.changed().await.unwrap();
        }
    });
}

fn times(rounds: u32, mut what: impl FnMut()) -> Vec<Duration> {
    let time = |()| {
        let begin = Instant::now();
        what();
        begin.elapsed()
    };
    std::iter::repeat_n((), rounds as usize).map(time).collect()
}

fn show(what: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("{what:52} median {:8.3} ms   worst {:8.3} ms", ms(times[times.len() / 2]), ms(times[times.len() - 1]));
}

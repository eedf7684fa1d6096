//! What a watcher costs while nothing happens, and what it leaves behind. Alone in its process: it counts threads.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests count as no tests

use std::{
    collections::BTreeMap,
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use yurt_usb::{
    Roots, Settings, Watcher,
    sim::{Bus, models},
};

/// Voluntary context switches of the watcher's threads, by name and number: each is a wake-up that ended in sleep.
fn wakeups() -> BTreeMap<(String, String), u64> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    tasks
        .filter_map(|task| {
            let status = fs::read_to_string(task.join("status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let name = field("Name:")?.to_owned();
            let ours = name.starts_with("usb-") || name.starts_with("libusb");
            let switches = field("voluntary_ctxt_switches:")?.parse().ok()?;
            ours.then(|| ((name, task.file_name().unwrap().to_string_lossy().into_owned()), switches))
        })
        .collect()
}

/// In memory where there is such a place, as sysfs is: a disk's journal would be most of what is waited for.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn a_watcher_sleeps_while_nothing_happens_and_leaves_no_thread_behind() {
    let dir = scratch();
    let roots = Roots::simulated(dir.path());
    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    bus.plug("1-1", &models::cp2102()).unwrap();
    let settings =
        Settings { settle: Duration::from_millis(20), settle_max: Duration::from_millis(200), ..Settings::default() };
    let watcher = Watcher::start(roots.clone(), settings);
    let mut snapshots = watcher.snapshots();
    // Past the looks that come after a change.
    sleep(Duration::from_millis(800));
    assert_eq!(snapshots.borrow_and_update().number, 1);

    let before = wakeups();
    sleep(Duration::from_millis(1500));
    let after = wakeups();
    assert_eq!(before.len(), 2, "{before:?}");
    let woken: u64 = after.iter().map(|(thread, n)| n - before[thread]).sum();
    assert!(woken <= 2, "{woken} wake-ups in 1.5 idle seconds: {before:?} {after:?}");

    let begin = Instant::now();
    drop(watcher);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(wakeups(), BTreeMap::new());
    assert!(snapshots.has_changed().is_err(), "its channel is closed");

    // Again and again, with libusb where there is any, in the middle of whatever it does.
    for pause in [0, 1, 5, 20] {
        for roots in [roots.clone(), Roots::system()] {
            let watcher = Watcher::start(roots, Settings::default());
            sleep(Duration::from_millis(pause));
            drop(watcher);
            assert_eq!(wakeups(), BTreeMap::new());
        }
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 20, "{open} files are still open");
}

//! The watcher against a simulated bus: files and datagrams in a directory, no privileges.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // helpers of tests count as no tests

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixDatagram,
    },
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::sync::watch::Receiver;
use yurt_usb::{
    Events, Past, Roots, Settings, Watcher,
    facts::{Device, Presence, SerialQuality, Snapshot},
    sim::{Bus, Model, models},
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
        let dir = scratch();
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

    fn roots(&self) -> Roots {
        Roots::simulated(self.dir.path())
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

/// In memory where there is such a place, as sysfs is: a disk's journal would be most of what is waited for.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
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
    find(snapshot, key).map(|device| device.nodes.iter().map(|node| node.path.clone()).collect()).unwrap_or_default()
}

#[test]
fn a_plug_is_told_once_it_has_settled() {
    let rig = Rig::new(settings(2000, 6000, 0));
    rig.bus.plug("1-1", &models::cp2102()).unwrap();
    let plugged = rig.wait(|snapshot| snapshot.number == 2);
    assert!(has(&plugged, "1-1", Presence::Present));
    assert_eq!(nodes(&plugged, "1-1"), ["/dev/bus/usb/001/002", "/dev/ttyUSB0"]);
    assert_eq!(find(&plugged, "1-1").unwrap().interfaces[0].driver.as_deref(), Some("cp210x"));
    assert_eq!(rig.rest().number, 2, "one snapshot for the six events of a plug, and none for the looks after it");
}

#[test]
fn the_first_snapshot_has_all_that_is_there() {
    let rig = Rig::with(settings(5000, 9000, 0), |bus| {
        bus.plug("1-1", &models::hub(4)).unwrap();
        bus.plug("1-1.2", &models::memory_stick()).unwrap();
    });
    let first = rig.now();
    assert_eq!((keys(&first), first.trouble.len()), (vec!["1-1", "1-1.2", "usb1"], 0));
    assert!(first.devices.iter().all(|device| device.life.presence == Presence::Present));
    assert!(first.devices.iter().all(|device| (device.life.generation, device.life.replugs) == (1, 0)));
}

#[test]
fn an_unplug_is_told_at_once_and_with_all_that_hung_there() {
    let rig = Rig::with(settings(9000, 9000, 0), |bus| {
        bus.plug("1-1", &models::hub(4)).unwrap();
        bus.plug("1-1.2", &models::cp2102()).unwrap();
        bus.plug("1-2", &models::yubikey()).unwrap();
    });
    let begin = Instant::now();
    rig.bus.unplug("1-1").unwrap();
    let left = rig.wait(|snapshot| snapshot.devices.len() == 2);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(keys(&left), ["1-2", "usb1"]);
}

#[test]
fn a_burst_of_plugs_and_unplugs_ends_in_what_is_there() {
    let rig = Rig::new(settings(50, 500, 0));
    rig.bus.set_pause(Duration::ZERO);
    for round in 0..100 {
        rig.bus.plug("1-1", &models::cp2102().with_serial(format!("{round}"))).unwrap();
        rig.bus.plug("1-2", &models::memory_stick()).unwrap();
        rig.bus.unplug("1-1").unwrap();
        if round < 99 {
            rig.bus.unplug("1-2").unwrap();
        }
    }
    rig.wait(|snapshot| snapshot.devices.len() == 2 && nodes(snapshot, "1-2").len() == 3);
    let rest = rig.rest();
    assert_eq!((keys(&rest), rest.trouble.len()), (vec!["1-2", "usb1"], 0));
}

#[test]
fn a_bus_that_comes_later_is_found_by_its_first_event() {
    let dir = scratch();
    let roots = Roots::simulated(dir.path());
    let watcher = Watcher::start(roots.clone(), settings(20, 500, 0));
    let snapshots = watcher.snapshots();
    let empty = wait(&snapshots, |snapshot| snapshot.number == 1);
    assert!(empty.devices.is_empty() && empty.trouble[0].contains("no USB"), "{:?}", empty.trouble);

    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    bus.plug("1-1", &models::cp2102()).unwrap();
    wait(&snapshots, |snapshot| {
        snapshot.trouble.is_empty() && has(snapshot, "1-1", Presence::Present) && nodes(snapshot, "1-1").len() == 2
    });
}

#[test]
fn a_bus_that_comes_without_a_word_is_found_by_looking_again() {
    let dir = scratch();
    let roots = Roots::simulated(dir.path());
    let watcher = Watcher::start(roots.clone(), settings(20, 500, 0));
    let snapshots = watcher.snapshots();
    wait(&snapshots, |snapshot| snapshot.number == 1);
    let mute = mute(&roots);
    mute.plug("usb1", &models::root_hub(4)).unwrap();
    wait(&snapshots, |snapshot| snapshot.trouble.is_empty() && has(snapshot, "usb1", Presence::Present));
}

/// A bus at the same place whose events nobody hears.
fn mute(roots: &Roots) -> Bus {
    let nobody = roots.sys.join("nobody.sock");
    Bus::create(&Roots { events: Events::Socket(nobody), ..roots.clone() }).unwrap()
}

/// A watched bus that never says a word.
fn mute_rig(settings: Settings, before: impl FnOnce(&Bus)) -> Rig {
    let dir = scratch();
    let roots = Roots::simulated(dir.path());
    let bus = mute(&roots);
    bus.plug("usb1", &models::root_hub(15)).unwrap();
    before(&bus);
    let watcher = Watcher::start(roots, settings);
    let snapshots = watcher.snapshots();
    wait(&snapshots, |snapshot| snapshot.number == 1);
    Rig { dir, bus, watcher, snapshots }
}

#[test]
fn a_swap_at_equal_count_is_noticed_even_if_its_events_were_lost() {
    for other in [models::yubikey(), models::cp2102().with_serial("other"), models::cp2102()] {
        let rig = mute_rig(settings(50, 500, 0), |bus| bus.plug("1-1", &models::cp2102()).unwrap());
        let before = find(&rig.now(), "1-1").unwrap().clone();
        rig.bus.unplug("1-1").unwrap();
        rig.bus.plug("1-1", &other).unwrap();
        rig.watcher.rescan();
        let after = rig.wait(|snapshot| {
            find(snapshot, "1-1").is_some_and(|device| {
                device.life.presence == Presence::Present && device.life.generation > before.life.generation
            })
        });
        let after = find(&after, "1-1").unwrap();
        assert_eq!(after.product_id, other.product_id);
        // The same device again is a replug, another one has a predecessor.
        let same =
            (after.vendor_id, after.product_id, &after.serial) == (before.vendor_id, before.product_id, &before.serial);
        assert_eq!((after.life.replugs, after.life.before.len()), if same { (1, 0) } else { (0, 1) });
    }
}

#[test]
fn lost_events_are_noticed_by_the_next_one_that_arrives() {
    let rig = Rig::with(settings(50, 100, 0), |bus| bus.plug("1-1", &models::cp2102()).unwrap());
    rig.bus.send("change", "/devices/platform/other", "platform", "").unwrap();
    rig.rest();
    // Another name for the socket while the kernel, as it were, has no room.
    let roots = rig.roots();
    let Events::Socket(socket) = &roots.events else { unreachable!() };
    let aside = socket.with_extension("aside");
    fs::rename(socket, &aside).unwrap();
    rig.bus.unplug("1-1").unwrap();
    fs::rename(&aside, socket).unwrap();
    assert!(has(&rig.rest(), "1-1", Presence::Present));
    rig.bus.send("change", "/devices/platform/other", "platform", "").unwrap();
    rig.wait(|snapshot| keys(snapshot) == ["usb1"]);
}

#[test]
fn serials_that_two_devices_had_at_once_are_never_unique_again() {
    let stick = models::memory_stick().with_serial("A7");
    let rig = Rig::with(settings(20, 500, 0), |bus| bus.plug("1-1", &stick).unwrap());
    let quality = |snapshot: &Snapshot, key: &str| find(snapshot, key).unwrap().serial_quality;
    assert_eq!(quality(&rig.now(), "1-1"), SerialQuality::Unique);
    rig.bus.plug("1-2", &stick).unwrap();
    let both = rig.wait(|snapshot| has(snapshot, "1-2", Presence::Present));
    assert_eq!((quality(&both, "1-1"), quality(&both, "1-2")), (SerialQuality::Shared, SerialQuality::Shared));
    rig.bus.unplug("1-2").unwrap();
    let one = rig.wait(|snapshot| find(snapshot, "1-2").is_none());
    assert_eq!(quality(&one, "1-1"), SerialQuality::Shared);
}

#[test]
fn a_device_without_strings_or_configuration_is_told_as_it_is() {
    let rig = Rig::new(settings(50, 500, 0));
    rig.bus.plug("1-3", &Model { manufacturer: None, product: None, serial: None, ..models::cp2102() }).unwrap();
    let plain = rig.wait(|snapshot| has(snapshot, "1-3", Presence::Present));
    let plain = find(&plain, "1-3").unwrap();
    assert!(plain.manufacturer.is_none() && plain.product.is_none() && plain.serial.is_none());
    assert_eq!(plain.serial_quality, SerialQuality::Absent);

    rig.bus.add("1-4", &models::yubikey()).unwrap();
    let bare = rig.wait(|snapshot| has(snapshot, "1-4", Presence::Present));
    assert!(find(&bare, "1-4").unwrap().configuration.is_none());
}

#[test]
fn a_node_that_comes_late_is_told_when_it_comes() {
    let rig = Rig::new(settings(50, 500, 0));
    rig.bus.add("1-1", &models::memory_stick()).unwrap();
    rig.bus.configure("1-1").unwrap();
    rig.bus.bound("1-1").unwrap();
    let early = rig.wait(|snapshot| has(snapshot, "1-1", Presence::Present));
    assert_eq!(nodes(&early, "1-1").len(), 1);
    let early = rig.rest();
    rig.bus.bind("1-1", 0).unwrap();
    let late = rig.wait(|snapshot| nodes(snapshot, "1-1").ends_with(&["/dev/sda".into(), "/dev/sda1".into()]));
    assert_eq!(find(&late, "1-1").unwrap().life.generation, find(&early, "1-1").unwrap().life.generation);
}

#[test]
fn a_device_that_loses_its_authorisation_is_told() {
    let rig = Rig::with(settings(50, 500, 0), |bus| bus.plug("1-1", &models::cp2102()).unwrap());
    rig.bus.set_attribute("1-1", "authorized", "0").unwrap();
    let interface = format!("{}/1-1:1.0", rig.bus.devpath("1-1").unwrap());
    rig.bus.send("unbind", &interface, "usb", "DEVTYPE=usb_interface").unwrap();
    let told = rig.wait(|snapshot| !find(snapshot, "1-1").unwrap().access.authorised);
    assert_eq!(told.number, 2);
    // No event says so when it comes back without a driver.
    rig.bus.set_attribute("1-1", "authorized", "1").unwrap();
    rig.watcher.rescan();
    rig.wait(|snapshot| find(snapshot, "1-1").unwrap().access.authorised);
}

#[test]
fn what_udev_does_afterwards_is_seen_without_an_event() {
    let rig = Rig::new(settings(2000, 4000, 0));
    rig.bus.plug("1-1", &models::cp2102()).unwrap();
    let plugged = rig.wait(|snapshot| has(snapshot, "1-1", Presence::Present));
    assert!(find(&plugged, "1-1").unwrap().nodes[1].links.is_empty());
    let names = rig.roots().dev.join("serial/by-id");
    fs::create_dir_all(&names).unwrap();
    symlink("../../ttyUSB0", names.join("cp")).unwrap();
    fs::create_dir_all(rig.roots().udev).unwrap();
    fs::write(rig.roots().udev.join("c188:0"), "S:serial/by-id/cp\n").unwrap();
    rig.wait(|snapshot| find(snapshot, "1-1").unwrap().nodes[1].links == ["/dev/serial/by-id/cp"]);
}

#[test]
fn an_unplugged_device_stays_absent_for_its_grace() {
    let rig = Rig::with(settings(20, 500, 600_000), |bus| bus.plug("1-1", &models::cp2102()).unwrap());
    let before = find(&rig.now(), "1-1").unwrap().life.clone();
    rig.bus.unplug("1-1").unwrap();
    let absent = rig.wait(|snapshot| has(snapshot, "1-1", Presence::Absent));
    assert!(find(&absent, "1-1").unwrap().life.generation > before.generation);

    // Back in time: the same again.
    rig.bus.plug("1-1", &models::cp2102()).unwrap();
    let back = rig.wait(|snapshot| has(snapshot, "1-1", Presence::Present));
    let life = &find(&back, "1-1").unwrap().life;
    assert_eq!((life.replugs, life.before.len()), (1, 0));

    // Another one ends its absence.
    rig.bus.unplug("1-1").unwrap();
    rig.bus.plug("1-1", &models::yubikey()).unwrap();
    let other = rig
        .wait(|snapshot| has(snapshot, "1-1", Presence::Present) && find(snapshot, "1-1").unwrap().vendor_id == 0x1050);
    assert_eq!(find(&other, "1-1").unwrap().life.before[0].vendor_id, 0x10c4);

    // A shorter grace counts for what is absent already.
    rig.bus.unplug("1-1").unwrap();
    rig.wait(|snapshot| has(snapshot, "1-1", Presence::Absent));
    rig.watcher.configure(settings(20, 500, 0));
    rig.wait(|snapshot| keys(snapshot) == ["usb1"]);
}

#[test]
fn a_port_remembers_who_was_there() {
    let rig = Rig::new(settings(10, 500, 0));
    let mut generations = Vec::new();
    let devices = [
        models::cp2102(),
        models::yubikey(),
        models::memory_stick(),
        models::webcam(),
        models::network(),
        models::cp2102(),
    ];
    for model in &devices {
        rig.bus.plug("1-1", model).unwrap();
        let there = rig.wait(|snapshot| has(snapshot, "1-1", Presence::Present));
        generations.push(find(&there, "1-1").unwrap().life.generation);
        rig.bus.unplug("1-1").unwrap();
        rig.wait(|snapshot| find(snapshot, "1-1").is_none());
    }
    assert!(generations.is_sorted_by(|a, b| a + 1 < *b), "{generations:?}");
    rig.bus.plug("1-1", &devices[0]).unwrap();
    let last = rig.wait(|snapshot| has(snapshot, "1-1", Presence::Present));
    let life = &find(&last, "1-1").unwrap().life;
    let before: Vec<u16> = life.before.iter().map(|former| former.product_id).collect();
    let expected: Vec<u16> = [4, 3, 2, 1].map(|n: usize| devices[n].product_id).into();
    assert_eq!((before, life.replugs), (expected, 2));
}

#[test]
fn a_device_is_known_again_at_another_port_by_its_serial() {
    let stick = models::memory_stick().with_serial("B31F");
    let rig = Rig::with(settings(20, 500, 600_000), |bus| bus.plug("1-1", &stick).unwrap());
    rig.bus.unplug("1-1").unwrap();
    rig.wait(|snapshot| has(snapshot, "1-1", Presence::Absent));
    rig.bus.plug("1-2", &stick).unwrap();
    let moved = rig.wait(|snapshot| has(snapshot, "1-2", Presence::Present));
    assert_eq!(keys(&moved), ["1-2", "usb1"], "it cannot be absent and here");
    let there = find(&moved, "1-2").unwrap();
    assert_eq!((there.life.replugs, there.serial_quality), (1, SerialQuality::Unique));
}

#[test]
fn a_device_that_is_settling_is_marked_so_in_snapshots_of_other_causes() {
    let rig = Rig::new(settings(60_000, 60_000, 0));
    rig.bus.add("1-1", &models::cp2102()).unwrap();
    sleep(Duration::from_millis(100));
    assert_eq!(rig.now().number, 1, "nothing has settled");
    rig.watcher.rescan();
    let looked = rig.wait(|snapshot| snapshot.number == 2);
    assert!(has(&looked, "1-1", Presence::Settling));
    let generation = find(&looked, "1-1").unwrap().life.generation;
    rig.bus.configure("1-1").unwrap();
    rig.bus.bind("1-1", 0).unwrap();
    rig.bus.bound("1-1").unwrap();
    let there = rig.wait(|snapshot| has(snapshot, "1-1", Presence::Present));
    assert_eq!((there.number, find(&there, "1-1").unwrap().life.generation), (3, generation));
    assert_eq!(nodes(&there, "1-1").len(), 2);
}

#[test]
fn a_device_that_never_gets_quiet_is_told_all_the_same() {
    let rig = Rig::new(settings(600, 1200, 0));
    rig.bus.add("1-1", &models::cp2102()).unwrap();
    let begin = Instant::now();
    while !has(&rig.now(), "1-1", Presence::Present) {
        let path = rig.bus.devpath("1-1").unwrap();
        rig.bus.send("change", &path, "usb", "DEVTYPE=usb_device").unwrap();
        sleep(Duration::from_millis(20));
        assert!(begin.elapsed() < LONG);
    }
    assert!(begin.elapsed() >= Duration::from_millis(1200), "{:?}", begin.elapsed());
}

#[test]
fn a_look_that_was_asked_for_later_comes_then_and_the_last_word_counts() {
    let rig = Rig::new(settings(20, 500, 0));
    let first = rig.rest().number;
    let asked = Instant::now();
    rig.watcher.look_again_in(Duration::from_secs(3600));
    rig.watcher.look_again_in(Duration::from_millis(300));
    rig.wait(|snapshot| snapshot.number == first + 1);
    assert!(asked.elapsed() >= Duration::from_millis(300), "{:?}", asked.elapsed());
}

#[test]
fn a_rescan_publishes_though_only_time_has_passed() {
    let rig = Rig::new(settings(20, 500, 0));
    let first = find(&rig.now(), "usb1").unwrap().life.clone();
    sleep(Duration::from_millis(30));
    rig.watcher.rescan();
    let second = rig.wait(|snapshot| snapshot.number == 2);
    let second = &find(&second, "usb1").unwrap().life;
    assert!(second.for_milliseconds >= first.for_milliseconds + 30);
    assert_eq!(second.generation, first.generation);
    rig.watcher.rescan();
    rig.wait(|snapshot| snapshot.number == 3);
}

#[test]
fn a_flood_of_nonsense_hides_nothing() {
    let rig = Rig::new(settings(50, 500, 0));
    let Events::Socket(path) = rig.roots().events else { unreachable!() };
    let junk = UnixDatagram::unbound().unwrap();
    junk.set_nonblocking(true).unwrap();
    let over = Instant::now() + Duration::from_millis(1500);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u32;
            let huge = vec![b'A'; 60_000];
            while Instant::now() < over {
                round += 1;
                let [bus, a, b, c] = round.to_le_bytes().map(|byte| byte % 200 + 1);
                let _ = junk.send_to(b"\xff\xfe\0\0", &path);
                let _ = junk.send_to(&huge, &path);
                let _ = junk.send_to(b"add@/devices/../../../etc/1-1\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0", &path);
                let made_up = format!("add@/devices/x/{bus}-{a}.{b}.{c}\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0");
                let _ = junk.send_to(made_up.as_bytes(), &path);
                let _ = junk.send_to(b"remove@/devices/x/usb77\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0SEQNUM=1\0", &path);
            }
        });
        rig.bus.plug("1-2", &models::cp2102()).unwrap();
        // Its own events may be among those that the flood drove out.
        while Instant::now() < over && !has(&rig.now(), "1-2", Presence::Present) {
            rig.watcher.rescan();
            sleep(Duration::from_millis(50));
        }
    });
    rig.watcher.rescan();
    rig.wait(|snapshot| has(snapshot, "1-2", Presence::Present) && snapshot.devices.len() == 2);
}

#[test]
fn the_socket_is_ours_alone_and_a_stale_one_is_replaced() {
    let dir = scratch();
    let roots = Roots::simulated(dir.path());
    let Events::Socket(path) = roots.events.clone() else { unreachable!() };
    drop(UnixDatagram::bind(&path).unwrap());
    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    let watcher = Watcher::start(roots, settings(20, 500, 0));
    let first = wait(&watcher.snapshots(), |snapshot| snapshot.number == 1);
    assert!(first.trouble.is_empty(), "{:?}", first.trouble);
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    bus.plug("1-1", &models::cp2102()).unwrap();
    wait(&watcher.snapshots(), |snapshot| has(snapshot, "1-1", Presence::Present));
    drop(watcher);
    assert!(!path.exists());
}

#[test]
fn without_events_the_bus_is_looked_at_and_the_reason_is_told() {
    let dir = scratch();
    let roots = Roots::simulated(dir.path());
    let Events::Socket(path) = roots.events.clone() else { unreachable!() };
    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    fs::write(&path, "somebody's file").unwrap();
    let watcher = Watcher::start(roots, settings(20, 500, 0));
    let first = wait(&watcher.snapshots(), |snapshot| snapshot.number == 1);
    assert_eq!((keys(&first), first.trouble.len()), (vec!["usb1"], 1));
    assert!(first.trouble[0].contains("cannot be heard"), "{:?}", first.trouble);
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's file");
    fs::remove_file(&path).unwrap();
    wait(&watcher.snapshots(), |snapshot| snapshot.trouble.is_empty());
    bus.plug("1-1", &models::cp2102()).unwrap();
    wait(&watcher.snapshots(), |snapshot| has(snapshot, "1-1", Presence::Present));
}

#[test]
fn counters_are_those_of_the_devices_that_are_there() {
    let rig = Rig::with(settings(20, 500, 0), |bus| {
        bus.plug("1-1", &models::cp2102()).unwrap();
        bus.plug("1-3", &models::network()).unwrap();
    });
    let roots = Roots::simulated(rig.dir.path());
    let cards = roots.sys.join("bus/usb/devices/1-3/1-3:1.0/net");
    let card = fs::read_dir(cards).unwrap().next().unwrap().unwrap().path();
    fs::create_dir(card.join("statistics")).unwrap();
    fs::write(card.join("statistics/rx_bytes"), "1000\n").unwrap();
    let sets = rig.watcher.counters(&["1-1".into(), "1-2".into(), "1-3".into()]);
    let has = |at: usize, name: &str| sets[at].counters.iter().any(|counter| counter.name == name);
    assert_eq!(sets.iter().map(|set| set.key.as_str()).collect::<Vec<_>>(), ["1-1", "1-3"]);
    assert!(has(0, "urbs") && !has(0, "net.received") && has(1, "urbs") && has(1, "net.received"), "{sets:?}");
}

#[test]
fn files_of_counters_stay_open_as_long_as_their_device_does() {
    let rig = Rig::with(settings(20, 500, 0), |bus| {
        bus.plug("1-1", &models::cp2102()).unwrap();
    });
    let directory = Roots::simulated(rig.dir.path()).sys.join("bus/usb/devices/1-1");
    let open = || {
        let own = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        own.filter(|path| path.starts_with(fs::canonicalize(rig.dir.path()).unwrap())).count()
    };
    let asked = || rig.watcher.counters(&["1-1".into()]);
    let total = |name: &str| {
        let sets = asked();
        sets[0].counters.iter().find(|counter| counter.name == name).map(|counter| counter.total)
    };
    let before = open();
    fs::write(directory.join("urbnum"), "7\n").unwrap();
    assert_eq!(total("urbs"), Some(7.0));
    let kept = open();
    assert!(kept > before, "{kept} and {before}");
    fs::write(directory.join("urbnum"), "8\n").unwrap();
    assert_eq!((total("urbs"), open()), (Some(8.0), kept));
    // The next device at the port has files of the same names.
    rig.bus.unplug("1-1").unwrap();
    rig.wait(|snapshot| find(snapshot, "1-1").is_none());
    assert_eq!((asked().len(), open()), (0, before));
    rig.bus.plug("1-1", &models::cp2102()).unwrap();
    rig.wait(|snapshot| has(snapshot, "1-1", Presence::Present));
    fs::write(directory.join("urbnum"), "1\n").unwrap();
    assert_eq!(total("urbs"), Some(1.0));
}

/// Stands in for the machine's own bus: whatever this machine has, or has not.
#[test]
fn this_machine_can_be_watched() {
    let watcher = Watcher::start(Roots::system(), Settings::default());
    let first = wait(&watcher.snapshots(), |snapshot| snapshot.number == 1);
    assert_eq!(first.devices.is_empty(), yurt_usb::scan(&Roots::system()).devices.is_empty());
    watcher.rescan();
    wait(&watcher.snapshots(), |snapshot| snapshot.number > 1);
}

#[test]
fn a_watcher_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Watcher>();
}

/// What the next watcher is told, once there is anything.
fn kept(watcher: &Watcher) -> String {
    let begin = Instant::now();
    loop {
        if let Some(past) = watcher.past() {
            return past;
        }
        assert!(begin.elapsed() < LONG, "nothing to remember");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_next_watcher_goes_on_where_the_last_one_was() {
    let rig = Rig::with(settings(20, 500, 0), |bus| {
        for port in ["1-1", "1-2", "1-3"] {
            bus.plug(port, &models::memory_stick().with_serial(format!("S{port}"))).unwrap();
        }
    });
    let life = |snapshot: &Snapshot, key: &str| find(snapshot, key).unwrap().life.clone();
    rig.bus.unplug("1-1").unwrap();
    rig.wait(|snapshot| find(snapshot, "1-1").is_none());
    rig.bus.plug("1-1", &models::memory_stick().with_serial("S1-1")).unwrap();
    let before = rig.wait(|snapshot| has(snapshot, "1-1", Presence::Present));
    let past = kept(&rig.watcher);
    assert_eq!(rig.watcher.past(), None);
    let Rig { dir, bus, watcher, .. } = rig;
    drop(watcher);

    // One stays, one is pulled and comes back, one gives way to another.
    bus.unplug("1-2").unwrap();
    bus.plug("1-2", &models::memory_stick().with_serial("S1-2")).unwrap();
    bus.unplug("1-3").unwrap();
    bus.plug("1-3", &models::cp2102()).unwrap();
    let past = Past::parse(&past).unwrap();
    let watcher = Watcher::start_after(past, Roots::simulated(dir.path()), settings(20, 500, 0));
    let now = wait(&watcher.snapshots(), |snapshot| {
        ["1-1", "1-2", "1-3"].iter().all(|key| has(snapshot, key, Presence::Present))
    });
    let (was, is) = (life(&before, "1-1"), life(&now, "1-1"));
    assert_eq!((is.generation, is.replugs), (was.generation, was.replugs));
    assert_eq!(was.replugs, 1);
    let (was, is) = (life(&before, "1-2"), life(&now, "1-2"));
    assert!(is.generation > was.generation);
    assert_eq!((is.replugs, is.before.len()), (1, 0));
    let (was, is) = (life(&before, "1-3"), life(&now, "1-3"));
    assert!(is.generation > was.generation);
    assert_eq!((is.replugs, is.before[0].serial.as_deref()), (0, Some("S1-3")));
    kept(&watcher);
}

#[test]
fn a_past_that_cannot_be_read_is_said_and_none_of_another_boot_is_taken_for_now() {
    for (text, words) in [
        ("", "EOF"),
        ("{\"version\":1", "EOF"),
        ("[]", "expected"),
        (r#"{"version":2,"boot":"","floor":0,"ports":{},"plugs":[],"shared":[],"present":{}}"#, "version 2"),
        (r#"{"version":1,"boot":"","floor":0,"ports":{},"plugs":[],"shared":[],"present":{},"more":1}"#, "more"),
    ] {
        let why = Past::parse(text).unwrap_err();
        assert!(why.contains(words), "{text}: {why}");
    }
    let rig = Rig::with(settings(20, 500, 0), |bus| drop(bus.plug("1-1", &models::memory_stick())));
    let before = rig.wait(|snapshot| has(snapshot, "1-1", Presence::Present));
    let text = kept(&rig.watcher).replacen("\"boot\":\"\"", "\"boot\":\"another\"", 1);
    let past = Past::parse(&text).unwrap();
    let watcher = Watcher::start_after(past, rig.roots(), settings(20, 500, 0));
    let now = wait(&watcher.snapshots(), |snapshot| has(snapshot, "1-1", Presence::Present));
    let generation = |snapshot: &Snapshot| find(snapshot, "1-1").unwrap().life.generation;
    assert!(generation(&now) > generation(&before));
}

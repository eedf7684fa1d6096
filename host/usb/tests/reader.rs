//! The reader against trees that look like sysfs, written file by file as the kernel lays them out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)] // helpers of tests count as no tests

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use yurt_usb::{
    Reader, Roots,
    facts::{Device, NodeKind, PowerState, Removable, SerialQuality, Snapshot, Speed},
    scan,
};

const CONTROLLER: &str = "devices/pci0000:00/0000:00:14.0";

struct Tree(tempfile::TempDir);

impl Tree {
    /// A controller with the root hubs of both its buses.
    fn new() -> Self {
        // In memory where there is such a place, as sysfs is.
        let tree = Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap());
        tree.file(&format!("sys/{CONTROLLER}/numa_node"), "1\n");
        tree.device("usb1", "480", &device_descriptor(0x0200, 0x1d6b, 0x0002, 9));
        tree.device("usb2", "5000", &device_descriptor(0x0300, 0x1d6b, 0x0003, 9));
        tree
    }

    fn roots(&self) -> Roots {
        Roots::simulated(self.0.path())
    }

    fn scan(&self) -> Snapshot {
        scan(&self.roots())
    }

    fn get(&self, key: &str) -> Device {
        self.scan().devices.iter().find(|d| d.key == key).map(|d| (**d).clone()).unwrap()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// Real directory of a device: hubs within hubs.
    fn real(key: &str) -> String {
        if key.starts_with("usb") {
            return format!("{CONTROLLER}/{key}");
        }
        let (bus, ports) = key.split_once('-').unwrap();
        let mut path = format!("{CONTROLLER}/usb{bus}");
        let mut name = format!("{bus}-");
        for (i, port) in ports.split('.').enumerate() {
            name = if i == 0 { format!("{name}{port}") } else { format!("{name}.{port}") };
            path = format!("{path}/{name}");
        }
        path
    }

    /// A configured device without interface directories; its address is the number of those before it.
    fn device(&self, key: &str, speed: &str, descriptors: &[u8]) -> String {
        let bus = key.trim_start_matches("usb").split('-').next().unwrap().to_owned();
        let links = self.path("sys/bus/usb/devices");
        let address = fs::read_dir(&links).map_or(0, Iterator::count) % 127 + 1;
        let real = Self::real(key);
        let name = format!("bus/usb/{:03}/{address:03}", bus.parse::<u8>().unwrap());
        for (file, content) in [
            ("descriptors", descriptors),
            ("speed", format!("{speed}\n").as_bytes()),
            ("devnum", format!("{address}\n").as_bytes()),
            ("bConfigurationValue", b"1\n"),
            ("authorized", b"1\n"),
            ("removable", b"removable\n"),
            ("urbnum", b"42\n"),
            ("quirks", b"0x0\n"),
            ("ltm_capable", b"no\n"),
            ("avoid_reset_quirk", b"0\n"),
            ("power/runtime_status", b"active\n"),
            ("power/autosuspend_delay_ms", b"2000\n"),
            ("power/active_duration", b"700\n"),
            ("power/connected_duration", b"1000\n"),
            ("uevent", format!("MAJOR=189\nMINOR={}\nDEVNAME={name}\nDEVTYPE=usb_device\n", address - 1).as_bytes()),
        ] {
            self.file(&format!("sys/{real}/{file}"), content);
        }
        self.file(&format!("dev/{name}"), "");
        self.link(&format!("sys/bus/usb/devices/{key}"), &format!("../../../{real}"));
        real
    }

    fn interface(&self, key: &str, number: u8, driver: Option<&str>) -> String {
        let path = format!("{}/{key}:1.{number}", Self::real(key));
        self.file(&format!("sys/{path}/bAlternateSetting"), " 0\n");
        self.file(&format!("sys/{path}/power/control"), "auto\n");
        self.link(&format!("sys/bus/usb/devices/{key}:1.{number}"), &format!("../../../{path}"));
        if let Some(driver) = driver {
            self.link(&format!("sys/{path}/driver"), &format!("../../../../bus/usb/drivers/{driver}"));
        }
        path
    }

    /// A node of a driver, `below` an interface's directory.
    fn node(&self, below: &str, subsystem: &str, name: &str, numbers: (u32, u32)) -> String {
        let (major, minor) = numbers;
        self.file(&format!("sys/{below}/dev"), format!("{major}:{minor}\n"));
        self.file(&format!("sys/{below}/uevent"), format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\n"));
        self.link(&format!("sys/{below}/subsystem"), &format!("../../../../class/{subsystem}"));
        self.file(&format!("dev/{name}"), "");
        format!("/dev/{name}")
    }
}

fn device_descriptor(release: u16, vendor: u16, product: u16, class: u8) -> Vec<u8> {
    let [u, v, p] = [release, vendor, product].map(u16::to_le_bytes);
    vec![18, 1, u[0], u[1], class, 0, 0, 64, v[0], v[1], p[0], p[1], 0x00, 0x01, 1, 2, 3, 1]
}

fn configuration(power: u8, attributes: u8, rest: &[&[u8]]) -> Vec<u8> {
    [&[9, 2, 0, 0, 1, 1, 0, attributes, power][..], &rest.concat()].concat()
}

fn interface(number: u8, alternate: u8, class: u8, name: u8) -> [u8; 9] {
    [9, 4, number, alternate, 1, class, 0, 0, name]
}

fn endpoint(address: u8, kind: u8, size: u16) -> [u8; 7] {
    let [low, high] = size.to_le_bytes();
    [7, 5, address, kind, low, high, 4]
}

fn simple(vendor: u16, product: u16, class: u8) -> Vec<u8> {
    [
        device_descriptor(0x0200, vendor, product, 0),
        configuration(50, 0x80, &[&interface(0, 0, class, 0), &endpoint(0x81, 3, 8)]),
    ]
    .concat()
}

#[test]
fn a_serial_bridge_behind_a_hub_has_its_whole_record() {
    let tree = Tree::new();
    tree.device("1-1", "480", &device_descriptor(0x0200, 0x05e3, 0x0608, 9));
    let blob = [
        device_descriptor(0x0110, 0x10c4, 0xea60, 0),
        configuration(50, 0xa0, &[&interface(0, 0, 0xff, 2), &endpoint(0x81, 2, 64), &endpoint(0x01, 2, 64)]),
    ]
    .concat();
    let real = tree.device("1-1.4", "12", &blob);
    tree.file(&format!("sys/{real}/manufacturer"), "Silicon Labs\n");
    tree.file(&format!("sys/{real}/serial"), "0001\n");
    let interface = tree.interface("1-1.4", 0, Some("cp210x"));
    tree.file(&format!("sys/{interface}/interface"), "CP2102 Bridge\n");
    let tty = tree.node(&format!("{interface}/ttyUSB0/tty/ttyUSB0"), "tty", "ttyUSB0", (188, 0));
    tree.file("udev/c188:0", "S:serial/by-id/cp\nS:serial/by-id/taken-by-another\nS:../../etc/passwd\nE:X=1\n");
    tree.link("dev/serial/by-id/cp", "../../ttyUSB0");
    tree.link("dev/serial/by-id/taken-by-another", "../../bus/usb/001/001");

    let device = tree.get("1-1.4");
    assert_eq!(device.parent.as_deref(), Some("1-1"));
    assert_eq!(
        (device.vendor_id, device.product_id, device.usb_release, device.device_release),
        (0x10c4, 0xea60, 0x0110, 0x0100)
    );
    assert_eq!(
        (device.vendor_name.as_deref(), device.product_name.as_deref()),
        (Some("Silicon Labs"), Some("CP210x UART Bridge"))
    );
    assert_eq!(device.manufacturer.as_ref().map(|l| (l.text.as_str(), l.cleaned)), Some(("Silicon Labs", false)));
    assert_eq!((device.product.as_ref(), device.serial_quality), (None, SerialQuality::Unique));
    assert_eq!((device.place.bus, device.place.ports.as_slice()), (1, &[1, 4][..]));
    assert_eq!((device.place.controller.as_deref(), device.place.numa_node), (Some("0000:00:14.0"), Some(1)));
    assert_eq!(device.place.removable, Removable::Removable);
    assert_eq!((device.link.speed, device.link.mbit, device.link.degraded), (Speed::Full, 12, false));
    let configuration = device.configuration.unwrap();
    assert_eq!((configuration.value, configuration.max_milliamps), (1, 100));
    assert!(!configuration.self_powered && configuration.remote_wakeup);
    assert_eq!((device.power.state, device.power.autosuspend_milliseconds), (PowerState::Active, Some(2000)));
    assert!(device.access.authorised && device.access.openable && !device.access.over_current);
    let [interface] = device.interfaces.as_slice() else { panic!("{:?}", device.interfaces) };
    assert_eq!((interface.driver.as_deref(), interface.name.as_deref()), (Some("cp210x"), Some("CP2102 Bridge")));
    assert_eq!(interface.endpoints.iter().map(|e| e.address).collect::<Vec<_>>(), [0x01, 0x81]);
    let [usbfs, node] = device.nodes.as_slice() else { panic!("{:?}", device.nodes) };
    assert_eq!(
        (usbfs.path.as_str(), usbfs.major, usbfs.of_interface),
        (format!("/dev/bus/usb/001/{:03}", device.place.address).as_str(), 189, None)
    );
    assert_eq!(
        (&node.path, node.subsystem.as_str(), node.major, node.minor, node.of_interface),
        (&tty, "tty", 188, 0, Some(0))
    );
    assert_eq!(node.links, ["/dev/serial/by-id/cp"]);
    assert!(tree.scan().trouble.is_empty());
    assert!(device.extra.is_empty());
    let hub = tree.get("1-1");
    assert!(hub.is_hub && hub.nodes.len() == 1 && hub.parent.as_deref() == Some("usb1"));
}

#[test]
fn composites_have_functions_current_alternates_and_nodes_in_order() {
    let tree = Tree::new();
    let blob = [
        device_descriptor(0x0200, 0x046d, 0x0825, 0xef),
        configuration(
            250,
            0xc0,
            &[
                &[8, 11, 0, 2, 14, 3, 0, 0],
                &interface(0, 0, 14, 0),
                &endpoint(0x87, 3, 16),
                &interface(1, 0, 14, 0),
                &interface(1, 2, 14, 0),
                &endpoint(0x81, 1, 0x0b84),
                &interface(2, 0, 3, 0),
            ],
        ),
    ]
    .concat();
    tree.device("1-2", "480", &blob);
    let video = tree.interface("1-2", 0, Some("uvcvideo"));
    let streaming = tree.interface("1-2", 1, Some("uvcvideo"));
    tree.file(&format!("sys/{streaming}/bAlternateSetting"), " 2\n");
    let hid = tree.interface("1-2", 2, Some("usbhid"));
    tree.node(&format!("{video}/video4linux/video10"), "video4linux", "video10", (81, 10));
    tree.node(&format!("{video}/video4linux/video2"), "video4linux", "video2", (81, 2));
    tree.node(&format!("{video}/media0"), "media", "media0", (240, 0));
    tree.node(&format!("{hid}/0003:046D:0825.0001/hidraw/hidraw3"), "hidraw", "hidraw3", (241, 3));
    tree.node(&format!("{hid}/0003:046D:0825.0001/input/input5/event7"), "input", "input/event7", (13, 71));

    let device = tree.get("1-2");
    let interfaces: Vec<_> = device.interfaces.iter().map(|i| (i.number, i.alternate, i.function)).collect();
    assert_eq!(interfaces, [(0, 0, Some(0)), (1, 2, Some(0)), (2, 0, None)]);
    assert_eq!(device.interfaces[1].endpoints[0].max_packet, 0x0384);
    assert_eq!(device.configuration.unwrap().max_milliamps, 500);
    let nodes: Vec<_> = device.nodes.iter().skip(1).map(|n| (n.of_interface, n.path.as_str(), n.position)).collect();
    assert_eq!(
        nodes,
        [
            (Some(0), "/dev/media0", 0),
            (Some(0), "/dev/video2", 0),
            (Some(0), "/dev/video10", 1),
            (Some(2), "/dev/hidraw3", 0),
            (Some(2), "/dev/input/event7", 0),
        ]
    );
}

#[test]
fn a_mounted_partition_makes_its_disk_in_use() {
    let tree = Tree::new();
    tree.device("1-3", "480", &simple(0x12f7, 0x1e23, 8));
    let interface = tree.interface("1-3", 0, Some("usb-storage"));
    let disk = format!("{interface}/host6/target6:0:0/6:0:0:0/block/sda");
    tree.node(&disk, "block", "sda", (8, 0));
    tree.node(&format!("{disk}/sda1"), "block", "sda1", (8, 1));
    tree.node(&format!("{disk}/sda2"), "block", "sda2", (8, 2));
    let used = |tree: &Tree| tree.get("1-3").nodes.iter().skip(1).map(|n| (n.kind, n.in_use)).collect::<Vec<_>>();
    let block = NodeKind::Block;
    assert_eq!(used(&tree), [(block, false), (block, false), (block, false)]);

    tree.file("proc/self/mountinfo", "36 35 8:1 / /mnt rw,noatime master:1 - ext4 /dev/sda1 rw\n");
    assert_eq!(used(&tree), [(block, true), (block, true), (block, false)]);

    tree.file("proc/self/mountinfo", "36 35 0:41 / /mnt rw - btrfs /dev/sda2 rw\n");
    assert_eq!(used(&tree), [(block, true), (block, false), (block, true)]);

    tree.file("proc/self/mountinfo", "");
    tree.file("proc/swaps", "Filename Type Size Used Priority\n/dev/sda1 partition 1 0 -2\n");
    assert_eq!(used(&tree), [(block, true), (block, true), (block, false)]);

    tree.file("proc/swaps", "");
    fs::create_dir_all(tree.path(&format!("sys/{disk}/sda2/holders/dm-0"))).unwrap();
    assert_eq!(used(&tree), [(block, true), (block, false), (block, true)]);
}

#[test]
fn superspeed_counts_power_in_eights_and_a_fallback_is_degraded() {
    let tree = Tree::new();
    let blob = |release| {
        [device_descriptor(release, 0x0bda, 0x8153, 0), configuration(36, 0xa0, &[&interface(0, 0, 2, 0)])].concat()
    };
    tree.device("2-1", "5000", &blob(0x0300));
    let fast = tree.get("2-1");
    assert_eq!((fast.link.speed, fast.link.capable, fast.link.degraded), (Speed::Super, Speed::Super, false));
    assert_eq!(fast.configuration.unwrap().max_milliamps, 288);

    // The same at a port whose USB 2 side took over: the object store says what it could.
    let slow = tree.device("1-1", "480", &blob(0x0210));
    tree.file(&format!("sys/{slow}/bos_descriptors"), [5, 15, 15, 0, 1, 10, 16, 3, 0, 0x0e, 0, 1, 10, 0, 0]);
    assert_eq!((tree.get("1-1").link.capable, tree.get("1-1").link.degraded), (Speed::Super, false));
    let port = format!("{CONTROLLER}/usb1/1-0:1.0/usb1-port1");
    tree.file(&format!("sys/{port}/over_current_count"), "0\n");
    tree.link(&format!("sys/{slow}/port"), "../1-0:1.0/usb1-port1");
    tree.link(&format!("sys/{port}/peer"), "../../../usb2/2-0:1.0/usb2-port1");
    assert!(tree.get("1-1").link.degraded);
    assert_eq!(tree.get("1-1").configuration.unwrap().max_milliamps, 72);

    tree.file(&format!("sys/{port}/over_current_count"), "2\n");
    assert!(tree.get("1-1").access.over_current);
}

#[test]
fn a_network_adapter_has_its_interface_and_counts_its_bytes() {
    let tree = Tree::new();
    tree.device("1-1", "480", &simple(0x0bda, 0x8152, 2));
    let net = format!("{}/net/enx001", tree.interface("1-1", 0, Some("r8152")));
    tree.file(&format!("sys/{net}/address"), "00:E0:4C:68:00:01\n");
    tree.file(&format!("sys/{net}/statistics/rx_bytes"), "1000\n");
    tree.file(&format!("sys/{net}/statistics/tx_bytes"), "2000\n");
    tree.link(&format!("sys/{net}/subsystem"), "../../../../class/net");
    let network = tree.get("1-1").network;
    assert_eq!(
        network.iter().map(|n| (n.name.as_str(), n.mac.as_str(), n.of_interface)).collect::<Vec<_>>(),
        [("enx001", "00:e0:4c:68:00:01", 0)]
    );

    let sets = Reader::new(tree.roots()).counters(&["1-1".into(), "9-9".into(), "../../etc".into()]);
    assert_eq!(sets.len(), 1);
    let counters: Vec<_> = sets[0].counters.iter().map(|c| (c.name.as_str(), c.total, c.unit.as_str())).collect();
    assert_eq!(
        counters,
        [
            ("net.received", 1000.0, "bytes"),
            ("net.sent", 2000.0, "bytes"),
            ("power.active", 700.0, "ms"),
            ("power.connected", 1000.0, "ms"),
            ("power.suspended", 300.0, "ms"),
            ("urbs", 42.0, "urbs"),
        ]
    );
}

#[test]
fn unconfigured_and_unauthorised_devices_are_listed_as_such() {
    let tree = Tree::new();
    let real = tree.device("1-1", "480", &simple(0x1050, 0x0120, 3));
    tree.file(&format!("sys/{real}/bConfigurationValue"), "");
    tree.file(&format!("sys/{real}/authorized"), "0\n");
    let device = tree.get("1-1");
    assert_eq!((device.configuration, device.configurations, device.interfaces.len()), (None, 1, 0));
    assert!(!device.access.authorised);
}

#[test]
fn hostile_strings_arrive_clean() {
    let tree = Tree::new();
    let real = tree.device("1-1", "480", &simple(0x1234, 0x5678, 3));
    tree.file(&format!("sys/{real}/manufacturer"), "a\x1b[2J\nb\"; rm -rf $x\n");
    tree.file(&format!("sys/{real}/product"), [b"\xff".as_slice(), &[b'p'; 4095]].concat());
    tree.file(&format!("sys/{real}/serial"), "00000000\n");
    let device = tree.get("1-1");
    let manufacturer = device.manufacturer.unwrap();
    assert_eq!((manufacturer.text.as_str(), manufacturer.cleaned), ("a[2J b\"; rm -rf $x", true));
    assert_eq!(device.product.unwrap().text.chars().count(), 126);
    assert_eq!(device.serial_quality, SerialQuality::Placeholder);
}

#[test]
fn equal_serials_are_shared_among_equal_products_only() {
    let tree = Tree::new();
    for (key, product) in [("1-1", 1), ("1-2", 1), ("1-3", 2)] {
        let real = tree.device(key, "480", &simple(0x1234, product, 3));
        tree.file(&format!("sys/{real}/serial"), "A7\n");
    }
    assert_eq!(tree.get("1-1").serial_quality, SerialQuality::Shared);
    assert_eq!(tree.get("1-2").serial_quality, SerialQuality::Shared);
    assert_eq!(tree.get("1-3").serial_quality, SerialQuality::Unique);
    fs::remove_file(tree.path("sys/bus/usb/devices/1-2")).unwrap();
    assert_eq!(tree.get("1-1").serial_quality, SerialQuality::Unique);
}

#[test]
fn half_written_and_cut_devices_tell_what_is_known() {
    let tree = Tree::new();
    // Announced, no interface directory yet.
    tree.device("1-1", "480", &simple(0x1050, 0x0120, 3));
    let device = tree.get("1-1");
    assert_eq!(device.interfaces.iter().map(|i| (i.number, i.driver.as_deref())).collect::<Vec<_>>(), [(0, None)]);

    // Descriptors cut behind the device's own, the interface made all the same.
    let real = tree.device("1-2", "480", &device_descriptor(0x0200, 0x1050, 0x0120, 0));
    tree.file(&format!("sys/{real}/bMaxPower"), "90mA\n");
    tree.file(&format!("sys/{real}/bmAttributes"), "c0\n");
    let interface = tree.interface("1-2", 0, Some("usbhid"));
    tree.file(&format!("sys/{interface}/bInterfaceClass"), "03\n");
    let device = tree.get("1-2");
    assert_eq!((device.interfaces[0].codes.base, device.interfaces[0].endpoints.len()), (3, 0));
    assert_eq!((device.configuration.unwrap().max_milliamps, device.configuration.unwrap().self_powered), (90, true));

    // No blob at all: the attributes.
    let real = tree.device("1-3", "480", b"");
    tree.file(&format!("sys/{real}/idVendor"), "1050\n");
    tree.file(&format!("sys/{real}/idProduct"), "0407\n");
    tree.file(&format!("sys/{real}/version"), " 2.10\n");
    assert_eq!((tree.get("1-3").product_id, tree.get("1-3").usb_release), (0x0407, 0x0210));

    // Nothing but a directory; a link to nowhere; a link out of the tree; a pipe for a file.
    fs::create_dir_all(tree.path("sys/devices/empty")).unwrap();
    tree.link("sys/bus/usb/devices/1-4", "../../../devices/empty");
    tree.link("sys/bus/usb/devices/1-5", "../../../devices/gone");
    tree.link("sys/bus/usb/devices/1-6", "/");
    tree.link("sys/bus/usb/devices/1-7", "../../../../../../../../../../tmp");
    let real = tree.device("1-8", "480", &simple(0x1050, 0x0120, 3));
    let pipe = tree.path(&format!("sys/{real}/serial"));
    mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let snapshot = tree.scan();
    let keys: Vec<_> = snapshot.devices.iter().map(|d| d.key.as_str()).collect();
    assert_eq!(keys, ["1-1", "1-2", "1-3", "1-8", "usb1", "usb2"]);
}

#[test]
fn every_missing_file_is_survived() {
    let tree = Tree::new();
    let real = tree.device("1-1", "480", &simple(0x1050, 0x0120, 3));
    let interface = tree.interface("1-1", 0, Some("usbhid"));
    tree.node(&format!("{interface}/0003:1050:0120.0001/hidraw/hidraw0"), "hidraw", "hidraw0", (240, 0));
    let files = files_below(&tree.path(&format!("sys/{real}")));
    assert!(files.len() > 15);
    for file in files {
        let away = tree.path("away");
        fs::rename(&file, &away).unwrap();
        let found = Reader::new(tree.roots()).one("1-1").is_some();
        assert_eq!(found, !file.ends_with("descriptors"), "{}", file.display());
        fs::rename(&away, &file).unwrap();
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() && !path.is_symlink() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn a_node_that_is_not_there_is_not_listed() {
    let tree = Tree::new();
    tree.device("1-1", "480", &simple(0x1050, 0x0120, 3));
    fs::remove_dir_all(tree.path("dev")).unwrap();
    let snapshot = tree.scan();
    assert!(snapshot.devices.iter().all(|d| d.nodes.is_empty() && !d.access.openable));
    assert_eq!(snapshot.trouble.len(), 1, "{:?}", snapshot.trouble);
}

#[test]
fn no_bus_is_an_empty_snapshot_that_says_why() {
    let empty = tempfile::tempdir().unwrap();
    for make in [None, Some("sys")] {
        if let Some(name) = make {
            fs::create_dir(empty.path().join(name)).unwrap();
        }
        let snapshot = scan(&Roots::simulated(empty.path()));
        assert!(snapshot.devices.is_empty());
        assert!(snapshot.trouble[0].contains("no USB"), "{:?}", snapshot.trouble);
    }
    assert_eq!(Reader::new(Roots::simulated(empty.path())).one("1-1"), None);
}

#[test]
fn one_device_reads_the_same_as_all_do() {
    let tree = Tree::new();
    tree.device("1-1", "480", &simple(0x1050, 0x0120, 3));
    let reader = Reader::new(tree.roots());
    assert_eq!(reader.one("1-1"), Some(tree.get("1-1")));
    assert_eq!(reader.one("1-2"), None);
    assert_eq!(reader.one("../usb/devices/1-1"), None);
}

/// Debug build on a machine that others use too: the bounds are those of the product, the figures are printed.
#[test]
fn a_full_bus_is_read_in_time() {
    let tree = Tree::new();
    let mut keys = vec![];
    for hub in 1..=18 {
        tree.device(&format!("1-{hub}"), "480", &device_descriptor(0x0200, 0x05e3, 0x0608, 9));
        for port in 1..=6 {
            keys.push(format!("1-{hub}.{port}"));
        }
    }
    keys.truncate(127 - 2 - 18);
    for (n, key) in (0u32..).zip(&keys) {
        let real = tree.device(key, "12", &simple(0x10c4, 0xea60, 0xff));
        for name in ["manufacturer", "product", "serial"] {
            tree.file(&format!("sys/{real}/{name}"), format!("{name} {n}\n"));
        }
        let tty = format!("{}/ttyUSB{n}/tty/ttyUSB{n}", tree.interface(key, 0, Some("cp210x")));
        tree.node(&tty, "tty", &format!("ttyUSB{n}"), (188, n));
    }
    let reader = Reader::new(tree.roots());
    let best = |look: &dyn Fn()| {
        let time = || {
            let start = Instant::now();
            look();
            start.elapsed()
        };
        (0..25).map(|_| time()).min().unwrap()
    };
    assert_eq!(reader.full().0.len(), 127);
    let full = best(&|| drop(reader.full()));
    let one = best(&|| drop(reader.one("1-3.3")));
    let counters = best(&|| drop(reader.counters(&keys)));
    println!("127 devices: {full:?}; one: {one:?}; counters of {}: {counters:?}", keys.len());
    assert!(full < Duration::from_millis(60), "{full:?}");
    assert!(one < Duration::from_millis(2), "{one:?}");
}

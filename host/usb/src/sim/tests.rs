use std::{fs, os::unix::net::UnixDatagram};

use super::*;
use crate::{roots::Events, uevent::Uevent};

fn bus(dir: &Path) -> (Roots, UnixDatagram, Bus) {
    let roots = Roots::simulated(dir);
    let Events::Socket(path) = &roots.events else { unreachable!() };
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let bus = Bus::create(&roots).unwrap();
    (roots, socket, bus)
}

fn heard(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 8192];
    let mut lines = Vec::new();
    let mut last = 0;
    while let Ok(length) = socket.recv(&mut buffer) {
        let event = Uevent::parse(&buffer[..length]).unwrap();
        let number = event.sequence.unwrap();
        assert!(number > last, "sequence numbers rise");
        last = number;
        lines.push(format!("{:?} {} {}", event.action, event.subsystem, event.devpath.rsplit('/').next().unwrap()));
    }
    lines
}

#[test]
fn a_plug_and_an_unplug_are_told_in_the_kernels_order() {
    let dir = tempfile::tempdir().unwrap();
    let (_, socket, bus) = bus(dir.path());
    bus.plug("usb1", &models::root_hub(8)).unwrap();
    heard(&socket);
    bus.plug("1-1", &models::cp2102()).unwrap();
    assert_eq!(
        heard(&socket),
        [
            "Add usb 1-1",
            "Add usb 1-1:1.0",
            "Add usb-serial ttyUSB0",
            "Add tty ttyUSB0",
            "Bind usb 1-1:1.0",
            "Bind usb 1-1"
        ]
    );
    bus.unplug("1-1").unwrap();
    assert_eq!(
        heard(&socket),
        [
            "Remove tty ttyUSB0",
            "Remove usb-serial ttyUSB0",
            "Unbind usb 1-1:1.0",
            "Remove usb 1-1:1.0",
            "Unbind usb 1-1",
            "Remove usb 1-1"
        ]
    );
}

#[test]
fn the_tree_of_a_hub_with_an_adapter_and_a_stick_is_what_the_kernel_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (roots, _socket, bus) = bus(dir.path());
    bus.plug("usb1", &models::root_hub(8)).unwrap();
    bus.plug("1-1", &models::hub(4)).unwrap();
    bus.plug("1-1.2", &models::cp2102()).unwrap();
    bus.plug("1-1.4", &models::memory_stick()).unwrap();
    let devices = roots.sys.join("bus/usb/devices");
    let read = |file: &str| fs::read_to_string(devices.join(file)).unwrap();
    assert_eq!(read("1-1.4/idVendor"), "12f7\n");
    assert_eq!(read("1-1.2/bMaxPower"), "100mA\n");
    assert_eq!(read("1-1.2/version"), " 1.10\n");
    assert_eq!(read("1-1.2/dev"), "189:2\n");
    assert_eq!(fs::read(devices.join("1-1.4/descriptors")).unwrap().len(), 18 + 9 + 9 + 2 * 7);
    assert_eq!(read("1-1.2:1.0/ttyUSB0/tty/ttyUSB0/dev"), "188:0\n");
    assert_eq!(read("1-1.4:1.0/host0/target0:0:0/0:0:0:0/block/sda/sda1/partition"), "1\n");
    assert!(devices.join("1-1.2:1.0/driver").canonicalize().unwrap().ends_with("bus/usb/drivers/cp210x"));
    assert_eq!(read("usb1/../numa_node"), "-1\n");
    assert!(roots.dev.join("sda1").exists() && roots.dev.join("bus/usb/001/004").exists());

    bus.unplug("1-1").unwrap();
    let mut left: Vec<_> = fs::read_dir(&devices).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["1-0:1.0", "usb1"]);
    assert!(!roots.dev.join("sda1").exists() && !roots.dev.join("ttyUSB0").exists());
}

#[test]
fn a_half_done_plug_has_no_configuration_and_no_interface() {
    let dir = tempfile::tempdir().unwrap();
    let (roots, _socket, bus) = bus(dir.path());
    bus.plug("usb1", &models::root_hub(8)).unwrap();
    bus.add("1-4", &models::yubikey()).unwrap();
    let device = roots.sys.join("bus/usb/devices/1-4");
    assert_eq!(fs::read_to_string(device.join("bConfigurationValue")).unwrap(), "");
    assert!(!device.join("1-4:1.0").exists());
    bus.configure("1-4").unwrap();
    assert_eq!(fs::read_to_string(device.join("bConfigurationValue")).unwrap(), "1\n");
    assert!(device.join("1-4:1.2").exists() && !device.join("1-4:1.0/driver").exists());
    assert!(bus.add("1-4", &models::hub(4)).is_err());
}

#[test]
fn two_adapters_get_two_terminals_and_a_freed_number_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (roots, _socket, bus) = bus(dir.path());
    bus.plug("usb1", &models::root_hub(8)).unwrap();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::cp2102()).unwrap();
    assert!(roots.dev.join("ttyUSB1").exists());
    bus.unplug("1-1").unwrap();
    bus.plug("1-3", &models::cp2102()).unwrap();
    assert!(roots.sys.join("bus/usb/devices/1-3/1-3:1.0/ttyUSB0").exists());
}

#[test]
fn a_reader_that_sleeps_loses_events_and_sees_it_by_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let (_, socket, bus) = bus(dir.path());
    let mut buffer = [0; 8192];
    let mut number = || {
        let length = socket.recv(&mut buffer).ok()?;
        Uevent::parse(&buffer[..length])?.sequence
    };
    for _ in 0..5000 {
        bus.send("change", "/devices/usb1", "usb", "").unwrap();
    }
    let mut last = 0;
    while let Some(next) = number() {
        last = next;
    }
    assert!((1..5000).contains(&last));
    bus.send("change", "/devices/usb1", "usb", "").unwrap();
    assert_eq!(number(), Some(5001));
}

#[test]
fn the_reader_sees_the_simulated_devices_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (roots, _socket, bus) = bus(dir.path());
    bus.plug("usb1", &models::root_hub(8)).unwrap();
    bus.plug("1-1", &models::hub(4)).unwrap();
    bus.plug("1-1.2", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::memory_stick()).unwrap();
    bus.plug("1-3", &models::network()).unwrap();
    bus.plug("1-4", &models::yubikey()).unwrap();
    bus.add("1-5", &models::webcam()).unwrap();
    let snapshot = crate::scan(&roots);
    assert_eq!(snapshot.trouble, [""; 0]);
    let device = |key: &str| snapshot.devices.iter().find(|device| device.key == key).unwrap();
    let nodes = |key: &str| device(key).nodes.iter().map(|node| node.path.as_str()).collect::<Vec<_>>();
    assert_eq!(snapshot.devices.len(), 7);
    assert_eq!(nodes("1-1.2"), ["/dev/bus/usb/001/003", "/dev/ttyUSB0"]);
    assert_eq!(nodes("1-2"), ["/dev/bus/usb/001/004", "/dev/sda", "/dev/sda1"]);
    assert_eq!(nodes("1-4"), ["/dev/bus/usb/001/006", "/dev/hidraw0", "/dev/hidraw1"]);
    assert_eq!(device("1-3").network[0].name, "usb0");
    assert_eq!(device("1-1.2").interfaces[0].driver.as_deref(), Some("cp210x"));
    assert_eq!(device("1-1.2").parent.as_deref(), Some("1-1"));
    assert_eq!(device("1-2").place.controller.as_deref(), Some("0000:00:14.0"));
    assert!(device("1-5").configuration.is_none() && device("1-5").interfaces.is_empty());
}

#[test]
fn another_process_can_pull_what_this_one_plugged() {
    let dir = tempfile::tempdir().unwrap();
    let (roots, socket, first) = bus(dir.path());
    first.plug("usb1", &models::root_hub(8)).unwrap();
    first.plug("1-1", &models::cp2102()).unwrap();
    first.plug("1-2", &models::cp2102()).unwrap();
    heard(&socket);
    drop(first);

    let second = Bus::create(&roots).unwrap();
    for (port, model) in [("usb1", models::root_hub(8)), ("1-2", models::cp2102())] {
        second.adopt(port, &model).unwrap();
    }
    assert!(second.adopt("1-3", &models::cp2102()).is_err());
    second.unplug("1-2").unwrap();
    assert!(!roots.dev.join("ttyUSB1").exists() && roots.dev.join("ttyUSB0").exists());
    assert!(!roots.sys.join("bus/usb/devices/1-2").exists());
    second.plug("1-2", &models::no_strings()).unwrap();
    let number = fs::read_to_string(roots.sys.join("bus/usb/devices/1-2/devnum")).unwrap();
    assert_eq!(number.trim(), "4", "addresses count up");
}

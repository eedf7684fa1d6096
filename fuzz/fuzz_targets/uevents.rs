//! Datagrams of the uevent socket: what is taken names a device as the bus does or none, and reads the same when the
//! simulated bus sends it.
#![no_main]

use std::os::unix::net::UnixDatagram;

use libfuzzer_sys::fuzz_target;
use yurt_fuzz::simulated;
use yurt_usb::sim::Bus;
use yurt_usb::uevent::{Action, Uevent, is_device_key};

struct Wire {
    bus: Bus,
    watcher: UnixDatagram,
}

impl Wire {
    fn new() -> Wire {
        let (roots, socket) = simulated::roots("uevents");
        let watcher = UnixDatagram::bind(socket).expect("a socket for events");
        watcher.set_nonblocking(true).expect("a socket that does not wait");
        Wire { bus: Bus::create(&roots).expect("an empty bus"), watcher }
    }

    fn carry(&self, event: &Uevent) -> Option<Uevent> {
        let devtype = if event.devtype.is_empty() { String::new() } else { format!("DEVTYPE={}", event.devtype) };
        self.bus.send(word(event.action), &event.devpath, &event.subsystem, &devtype).expect("an event is sent");
        let mut datagram = vec![0; 64 * 1024];
        let length = self.watcher.recv(&mut datagram).expect("the event arrives");
        Uevent::parse(&datagram[..length])
    }
}

thread_local!(static WIRE: Wire = Wire::new());

fuzz_target!(|bytes: &[u8]| {
    let Some(event) = Uevent::parse(bytes) else { return };
    assert!(event.devpath.starts_with('/') && !event.devpath.contains('\0'));
    if let Some(key) = event.device_key() {
        assert!(is_device_key(key) && event.devpath.split('/').any(|name| name == key));
        assert!(is_the_kernels(key), "{key:?} is no name that the kernel gives");
    }

    // In the simulator's form: DEVPATH stands beside the head, SUBSYSTEM before DEVTYPE, one line each, SEQNUM last.
    if ![&event.subsystem, &event.devtype].iter().any(|field| field.contains(['\n', '\r'])) {
        let carried = WIRE.with(|wire| wire.carry(&event)).expect("the simulator's events are events");
        assert!(carried.sequence.is_some());
        assert_eq!(Uevent { sequence: event.sequence, ..carried }, event);
    }
});

fn word(action: Action) -> &'static str {
    match action {
        Action::Add => "add",
        Action::Remove => "remove",
        Action::Bind => "bind",
        Action::Unbind => "unbind",
        Action::Change => "change",
    }
}

/// `usb1`, `1-4.2`: bus and ports from 1, within a byte, written in one way only.
fn is_the_kernels(key: &str) -> bool {
    let number = |text: &str| text.parse::<u8>().is_ok_and(|n| n > 0 && n.to_string() == text);
    match key.strip_prefix("usb") {
        Some(bus) => number(bus),
        None => key.split_once('-').is_some_and(|(bus, ports)| number(bus) && ports.split('.').all(number)),
    }
}

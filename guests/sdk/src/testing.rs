//! A test double: facts from a builder, the policy called as the host calls it (configuration and memory as text), log lines kept.
//!
//! Nothing of it ends up in a component: what a component does not call is not linked.

pub mod driver;

use std::cell::RefCell;

use crate::bindings::exports::yurt::plugin::usb_policy::{self as wit, Guest};
use crate::facts::{
    Access, ClassCodes, Configuration, CounterSet, Label, Life, Link, Node, NodeKind, Place, Power, PowerState,
    Presence, Removable, SerialQuality, Snapshot, Speed, UsbDevice, UsbInterface,
};
use crate::log::Level;
use crate::offer::{GroupName, Instance, InstanceStats, Reservation};
use crate::{Adapter, Diagnostic, UsbPolicy};

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

#[cfg_attr(target_arch = "wasm32", allow(dead_code))]
pub(crate) fn keep(level: Level, message: &str) {
    LINES.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

/// What this thread logged since it was last asked.
pub fn logged() -> Vec<(Level, String)> {
    LINES.take()
}

/// `check-config` as the host calls it.
pub fn check_config<P: UsbPolicy>(config: &str) -> Vec<Diagnostic> {
    Adapter::<P>::check_config(config.into())
}

/// `group` as the host calls it, without memory.
pub fn group<P: UsbPolicy>(config: &str, facts: &Snapshot) -> Result<wit::Offer, String> {
    Adapter::<P>::group(config.into(), facts.clone(), None)
}

/// `group` as the host calls it, with what the call before returned as memory.
pub fn group_again<P: UsbPolicy>(config: &str, facts: &Snapshot, memory: Option<String>) -> Result<wit::Offer, String> {
    Adapter::<P>::group(config.into(), facts.clone(), memory)
}

/// `reserve` as the host calls it.
pub fn reserve<P: UsbPolicy>(
    config: &str,
    facts: &Snapshot,
    group: &GroupName,
    reserved: &[Instance],
) -> Result<Reservation, String> {
    Adapter::<P>::reserve(config.into(), facts.clone(), group.clone(), reserved.to_vec())
}

/// `stats` as the host calls it.
pub fn stats<P: UsbPolicy>(
    config: &str,
    counters: &[CounterSet],
    offered: &[Instance],
) -> Result<Vec<InstanceStats>, String> {
    Adapter::<P>::stats(config.into(), counters.to_vec(), offered.to_vec())
}

/// All devices of a moment, ordered by key.
pub fn snapshot(devices: impl IntoIterator<Item = Device>) -> Snapshot {
    let mut devices: Vec<UsbDevice> = devices.into_iter().map(|device| device.0).collect();
    devices.sort_by(|a, b| a.key.cmp(&b.key));
    Snapshot { number: 1, devices, trouble: Vec::new() }
}

/// A device under construction: present, authorised, configured, with its usbfs node, at high speed, without strings or interfaces.
#[derive(Debug, Clone)]
pub struct Device(pub UsbDevice);

impl Device {
    /// At a port named as the kernel does, `1-1.4`.
    pub fn new(key: &str, vendor_id: u16, product_id: u16) -> Self {
        let (bus, path) = key.split_once('-').unwrap_or((key.trim_start_matches("usb"), ""));
        let ports: Vec<u8> = path.split('.').filter_map(|port| port.parse().ok()).collect();
        let bus: u8 = bus.parse().unwrap_or(1);
        let address = ports.iter().fold(1u8, |sum, port| sum.wrapping_mul(7).wrapping_add(*port)) % 127;
        let parent = match key.rsplit_once('.') {
            Some((parent, _)) => Some(parent.to_owned()),
            None if path.is_empty() => None,
            None => Some(format!("usb{bus}")),
        };
        Self(UsbDevice {
            key: key.into(),
            parent,
            vendor_id,
            product_id,
            device_release: 0x0100,
            usb_release: 0x0200,
            manufacturer: None,
            product: None,
            serial: None,
            serial_quality: SerialQuality::Absent,
            vendor_name: None,
            product_name: None,
            codes: ClassCodes { base: 0, sub: 0, protocol: 0 },
            is_hub: false,
            place: Place {
                bus,
                address,
                ports,
                controller: Some("0000:00:14.0".into()),
                numa_node: None,
                removable: Removable::Unknown,
            },
            link: Link { speed: Speed::High, mbit: 480, capable: Speed::High, degraded: false },
            configuration: Some(Configuration {
                value: 1,
                self_powered: false,
                remote_wakeup: false,
                max_milliamps: 100,
            }),
            configurations: 1,
            interfaces: Vec::new(),
            nodes: vec![Node {
                path: format!("/dev/bus/usb/{bus:03}/{address:03}"),
                kind: NodeKind::Character,
                major: 189,
                minor: u32::from(bus.saturating_sub(1)) * 128 + u32::from(address.saturating_sub(1)),
                subsystem: "usb_device".into(),
                of_interface: None,
                position: 0,
                links: Vec::new(),
                uid: 0,
                gid: 0,
                mode: 0o664,
                in_use: false,
            }],
            network: Vec::new(),
            access: Access { authorised: true, openable: true, over_current: false },
            power: Power { state: PowerState::Active, autosuspend_milliseconds: Some(2000) },
            life: Life {
                presence: Presence::Present,
                for_milliseconds: 60_000,
                generation: 1,
                replugs: 0,
                before: Vec::new(),
            },
            extra: Vec::new(),
        })
    }

    /// With the descriptor's strings; an empty one is absent.
    pub fn strings(mut self, manufacturer: &str, product: &str) -> Self {
        self.0.manufacturer = label(manufacturer);
        self.0.product = label(product);
        self
    }

    /// With the names of usb.ids; an empty one is unknown.
    pub fn names(mut self, vendor: &str, product: &str) -> Self {
        self.0.vendor_name = label(vendor).map(|label| label.text);
        self.0.product_name = label(product).map(|label| label.text);
        self
    }

    /// With a serial number of this quality.
    pub fn serial(mut self, serial: &str, quality: SerialQuality) -> Self {
        self.0.serial = label(serial);
        self.0.serial_quality = quality;
        self
    }

    /// With class codes in the device descriptor; 9 makes it a hub.
    pub fn class(mut self, base: u8, sub: u8, protocol: u8) -> Self {
        self.0.codes = ClassCodes { base, sub, protocol };
        self.0.is_hub = base == 9;
        self
    }

    /// With one more interface; an empty driver is none.
    pub fn interface(mut self, base: u8, sub: u8, protocol: u8, driver: &str) -> Self {
        let number = u8::try_from(self.0.interfaces.len()).unwrap_or(u8::MAX);
        self.0.interfaces.push(UsbInterface {
            number,
            alternate: 0,
            codes: ClassCodes { base, sub, protocol },
            name: None,
            function: None,
            driver: (!driver.is_empty()).then(|| driver.to_owned()),
            endpoints: Vec::new(),
        });
        self
    }

    /// With one more node, of interface 0.
    pub fn node(mut self, subsystem: &str, path: &str) -> Self {
        let position = self.0.nodes.iter().filter(|node| node.subsystem == subsystem).count();
        self.0.nodes.push(Node {
            path: path.into(),
            kind: if subsystem == "block" { NodeKind::Block } else { NodeKind::Character },
            major: 188,
            minor: 0,
            subsystem: subsystem.into(),
            of_interface: Some(0),
            position: u32::try_from(position).unwrap_or(0),
            links: Vec::new(),
            uid: 0,
            gid: 20,
            mode: 0o660,
            in_use: false,
        });
        self
    }

    /// With any change that has no method of its own.
    pub fn with(mut self, change: impl FnOnce(&mut UsbDevice)) -> Self {
        change(&mut self.0);
        self
    }
}

fn label(text: &str) -> Option<Label> {
    (!text.is_empty()).then(|| Label { text: text.into(), cleaned: false })
}

//! A USB policy and made-up devices.

use crate::error::GuestError;
use crate::policy::UsbPolicy;
use crate::usb::{
    Access, ClassCodes, Configuration, Counter, CounterSet, Endpoint, Label, Life, Link, Node, NodeKind, Place, Power,
    PowerState, Presence, Removable, SerialQuality, Snapshot, Speed, Transfer, UsbDevice, UsbInterface,
};

/// What a USB policy is tried with.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// The configuration: JSON text, every key of the guest's schema present, as it is where the operator wrote nothing.
    pub config: &'a str,
}

impl Default for Trial<'_> {
    /// An empty object: for guests without a schema.
    fn default() -> Self {
        Trial { config: "{}" }
    }
}

/// Fails where a call fails. What the guest decides about devices that do not exist is its own business.
pub(crate) fn run(policy: &UsbPolicy, trial: &Trial<'_>) -> Result<(), GuestError> {
    let facts = snapshot();
    policy.check_config(trial.config)?;
    let offer = match policy.group(trial.config, &facts, None)? {
        Ok(offer) => offer,
        Err(why) => {
            tracing::debug!(guest = %policy.guest.callee.identity, "the trial was answered with an error of the guest's own: {why}");
            return Ok(());
        }
    };
    if let Some(memory) = &offer.memory {
        drop(policy.group(trial.config, &facts, Some(memory))?);
    }
    let Some(group) = offer.groups.iter().find(|group| !group.instances.is_empty()) else { return Ok(()) };
    drop(policy.reserve(trial.config, &facts, &group.name, group.instances.get(..1).unwrap_or_default())?);
    drop(policy.stats(trial.config, &counters(&facts), &group.instances)?);
    Ok(())
}

/// A root hub with a serial adapter on it.
pub(crate) fn snapshot() -> Snapshot {
    let hub = device("usb1", None, (0x1d6b, 0x0002), 9);
    let mut adapter = device("1-1", Some("usb1"), (0x10c4, 0xea60), 0);
    adapter.product = Some(Label { text: "Trial Serial Adapter".into(), cleaned: false });
    adapter.serial = Some(Label { text: "0001".into(), cleaned: false });
    adapter.serial_quality = SerialQuality::Unique;
    adapter.interfaces = vec![UsbInterface {
        number: 0,
        alternate: 0,
        codes: ClassCodes { base: 255, sub: 0, protocol: 0 },
        name: None,
        function: None,
        driver: Some("cp210x".into()),
        endpoints: vec![Endpoint { address: 0x81, transfer: Transfer::Bulk, max_packet: 64, interval: 0 }],
    }];
    adapter.nodes.push(node("/dev/ttyUSB0", (188, 0), "tty", Some(0)));
    Snapshot { number: 1, devices: vec![adapter, hub], trouble: Vec::new() }
}

fn device(key: &str, parent: Option<&str>, (vendor_id, product_id): (u16, u16), class: u8) -> UsbDevice {
    let root = parent.is_none();
    UsbDevice {
        key: key.into(),
        parent: parent.map(str::to_owned),
        vendor_id,
        product_id,
        device_release: 0x0100,
        usb_release: 0x0200,
        manufacturer: Some(Label { text: "Trial".into(), cleaned: false }),
        product: None,
        serial: None,
        serial_quality: SerialQuality::Absent,
        vendor_name: None,
        product_name: None,
        codes: ClassCodes { base: class, sub: 0, protocol: 0 },
        is_hub: root,
        place: Place {
            bus: 1,
            address: if root { 1 } else { 2 },
            ports: if root { Vec::new() } else { vec![1] },
            controller: Some("0000:00:14.0".into()),
            numa_node: None,
            removable: Removable::Unknown,
        },
        link: Link { speed: Speed::High, mbit: 480, capable: Speed::High, degraded: false },
        configuration: Some(Configuration { value: 1, self_powered: root, remote_wakeup: false, max_milliamps: 100 }),
        configurations: 1,
        interfaces: Vec::new(),
        nodes: vec![node(
            if root { "/dev/bus/usb/001/001" } else { "/dev/bus/usb/001/002" },
            (189, u32::from(!root)),
            "usb_device",
            None,
        )],
        network: Vec::new(),
        access: Access { authorised: true, openable: true, over_current: false },
        power: Power { state: PowerState::Active, autosuspend_milliseconds: None },
        life: Life {
            presence: Presence::Present,
            for_milliseconds: 60_000,
            generation: 1,
            replugs: 0,
            before: Vec::new(),
        },
        extra: Vec::new(),
    }
}

fn node(path: &str, (major, minor): (u32, u32), subsystem: &str, of_interface: Option<u8>) -> Node {
    Node {
        path: path.into(),
        kind: NodeKind::Character,
        major,
        minor,
        subsystem: subsystem.into(),
        of_interface,
        position: 0,
        links: Vec::new(),
        uid: 0,
        gid: 0,
        mode: 0o660,
        in_use: false,
    }
}

fn counters(facts: &Snapshot) -> Vec<CounterSet> {
    let counter = || Counter { name: "urbs".into(), total: 1.0, unit: "requests".into() };
    facts.devices.iter().map(|device| CounterSet { key: device.key.clone(), counters: vec![counter()] }).collect()
}

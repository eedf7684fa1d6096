//! Where types cross the walls between rooms: plain functions, one for each shape, and no decision in any of them.
//!
//! `yurt_usb::facts` → the guest's records; the guest's answers → `yurt_nomad`'s domain types.

use std::collections::BTreeMap;

use yurt_guest::usb as wit;
use yurt_nomad::attribute::{Attribute, Value};
use yurt_nomad::device::{Stat, StatTree};
use yurt_usb::facts;

/// The whole snapshot, once per snapshot however many guests ask.
pub(crate) fn snapshot(from: &facts::Snapshot) -> wit::Snapshot {
    wit::Snapshot {
        number: from.number,
        devices: from.devices.iter().map(|device| usb_device(device)).collect(),
        trouble: from.trouble.clone(),
    }
}

/// One device.
pub(crate) fn usb_device(from: &facts::Device) -> wit::UsbDevice {
    wit::UsbDevice {
        key: from.key.clone(),
        parent: from.parent.clone(),
        vendor_id: from.vendor_id,
        product_id: from.product_id,
        device_release: from.device_release,
        usb_release: from.usb_release,
        manufacturer: from.manufacturer.as_ref().map(label),
        product: from.product.as_ref().map(label),
        serial: from.serial.as_ref().map(label),
        serial_quality: match from.serial_quality {
            facts::SerialQuality::Absent => wit::SerialQuality::Absent,
            facts::SerialQuality::Unique => wit::SerialQuality::Unique,
            facts::SerialQuality::Shared => wit::SerialQuality::Shared,
            facts::SerialQuality::Placeholder => wit::SerialQuality::Placeholder,
        },
        vendor_name: from.vendor_name.clone(),
        product_name: from.product_name.clone(),
        codes: codes(from.codes),
        is_hub: from.is_hub,
        place: place(&from.place),
        link: wit::Link {
            speed: speed(from.link.speed),
            mbit: from.link.mbit,
            capable: speed(from.link.capable),
            degraded: from.link.degraded,
        },
        configuration: from.configuration.map(|c| wit::Configuration {
            value: c.value,
            self_powered: c.self_powered,
            remote_wakeup: c.remote_wakeup,
            max_milliamps: c.max_milliamps,
        }),
        configurations: from.configurations,
        interfaces: from.interfaces.iter().map(interface).collect(),
        nodes: from.nodes.iter().map(node).collect(),
        network: from
            .network
            .iter()
            .map(|n| wit::NetworkInterface { name: n.name.clone(), mac: n.mac.clone(), of_interface: n.of_interface })
            .collect(),
        access: wit::Access {
            authorised: from.access.authorised,
            openable: from.access.openable,
            over_current: from.access.over_current,
        },
        power: wit::Power {
            state: match from.power.state {
                facts::PowerState::Unknown => wit::PowerState::Unknown,
                facts::PowerState::Active => wit::PowerState::Active,
                facts::PowerState::Suspended => wit::PowerState::Suspended,
                facts::PowerState::Suspending => wit::PowerState::Suspending,
                facts::PowerState::Resuming => wit::PowerState::Resuming,
                facts::PowerState::Failed => wit::PowerState::Failed,
            },
            autosuspend_milliseconds: from.power.autosuspend_milliseconds,
        },
        life: life(&from.life),
        extra: from.extra.clone(),
    }
}

fn label(from: &facts::Label) -> wit::Label {
    wit::Label { text: from.text.clone(), cleaned: from.cleaned }
}

fn codes(from: facts::ClassCodes) -> wit::ClassCodes {
    wit::ClassCodes { base: from.base, sub: from.sub, protocol: from.protocol }
}

fn place(from: &facts::Place) -> wit::Place {
    wit::Place {
        bus: from.bus,
        address: from.address,
        ports: from.ports.clone(),
        controller: from.controller.clone(),
        numa_node: from.numa_node,
        removable: match from.removable {
            facts::Removable::Unknown => wit::Removable::Unknown,
            facts::Removable::Fixed => wit::Removable::Fixed,
            facts::Removable::Removable => wit::Removable::Removable,
        },
    }
}

fn speed(from: facts::Speed) -> wit::Speed {
    match from {
        facts::Speed::Unknown => wit::Speed::Unknown,
        facts::Speed::Low => wit::Speed::Low,
        facts::Speed::Full => wit::Speed::Full,
        facts::Speed::High => wit::Speed::High,
        facts::Speed::Super => wit::Speed::Super,
        facts::Speed::SuperPlus => wit::Speed::SuperPlus,
        facts::Speed::SuperPlusX2 => wit::Speed::SuperPlusX2,
    }
}

fn interface(from: &facts::Interface) -> wit::UsbInterface {
    wit::UsbInterface {
        number: from.number,
        alternate: from.alternate,
        codes: codes(from.codes),
        name: from.name.clone(),
        function: from.function,
        driver: from.driver.clone(),
        endpoints: from
            .endpoints
            .iter()
            .map(|e| wit::Endpoint {
                address: e.address,
                transfer: match e.transfer {
                    facts::Transfer::Control => wit::Transfer::Control,
                    facts::Transfer::Isochronous => wit::Transfer::Isochronous,
                    facts::Transfer::Bulk => wit::Transfer::Bulk,
                    facts::Transfer::Interrupt => wit::Transfer::Interrupt,
                },
                max_packet: e.max_packet,
                interval: e.interval,
            })
            .collect(),
    }
}

fn node(from: &facts::Node) -> wit::Node {
    wit::Node {
        path: from.path.clone(),
        kind: match from.kind {
            facts::NodeKind::Character => wit::NodeKind::Character,
            facts::NodeKind::Block => wit::NodeKind::Block,
        },
        major: from.major,
        minor: from.minor,
        subsystem: from.subsystem.clone(),
        of_interface: from.of_interface,
        position: from.position,
        links: from.links.clone(),
        uid: from.uid,
        gid: from.gid,
        mode: from.mode,
        in_use: from.in_use,
    }
}

fn life(from: &facts::Life) -> wit::Life {
    wit::Life {
        presence: match from.presence {
            facts::Presence::Settling => wit::Presence::Settling,
            facts::Presence::Present => wit::Presence::Present,
            facts::Presence::Absent => wit::Presence::Absent,
        },
        for_milliseconds: from.for_milliseconds,
        generation: from.generation,
        replugs: from.replugs,
        before: from
            .before
            .iter()
            .map(|f| wit::Former { vendor_id: f.vendor_id, product_id: f.product_id, serial: f.serial.clone() })
            .collect(),
    }
}

/// The kernel's counters of some devices.
pub(crate) fn counters(from: &[facts::CounterSet]) -> Vec<wit::CounterSet> {
    from.iter()
        .map(|set| wit::CounterSet {
            key: set.key.clone(),
            counters: set
                .counters
                .iter()
                .map(|c| wit::Counter { name: c.name.clone(), total: c.total, unit: c.unit.clone() })
                .collect(),
        })
        .collect()
}

/// A guest's attributes, later ones of one name winning.
pub(crate) fn attributes(from: &[wit::Attribute]) -> BTreeMap<String, Attribute> {
    from.iter().map(|a| (a.name.clone(), Attribute { value: value(&a.value), unit: a.unit.clone() })).collect()
}

fn value(from: &wit::Value) -> Value {
    match from {
        wit::Value::Text(text) => Value::Text(text.clone()),
        wit::Value::Integer(number) => Value::Integer(*number),
        wit::Value::Number(number) => Value::Float(*number),
        wit::Value::Flag(flag) => Value::Flag(*flag),
    }
}

/// One figure for people.
pub(crate) fn stat(from: &wit::Figure) -> Stat {
    Stat {
        value: value(&from.value),
        out_of: from.out_of,
        unit: from.unit.clone(),
        description: from.description.clone(),
    }
}

/// Figures by dotted path, as the tree that Nomad shows.
pub(crate) fn stat_tree(figures: &[wit::Figure]) -> StatTree {
    let mut root = StatTree::default();
    for figure in figures {
        let mut branch = &mut root;
        let mut names = figure.path.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                branch.values.insert(name.to_owned(), stat(figure));
            } else {
                branch = branch.branches.entry(name.to_owned()).or_default();
            }
        }
    }
    root
}

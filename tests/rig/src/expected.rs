//! What the default policy says of the simulated models, attribute by attribute, written down rather than computed.

use std::collections::{BTreeMap, BTreeSet};

use yurt_nomad::attribute::Attribute;
use yurt_nomad::device::{Group, HEALTHY_COUNT, Health, Instance};

/// The host controller of bus 1.
const CONTROLLER: &str = "0000:00:14.0";

/// One device of a group: its id, where it is plugged, its serial number.
#[derive(Debug, Clone)]
pub(crate) struct At {
    pub(crate) id: String,
    pub(crate) port: String,
    pub(crate) serial: Option<String>,
}

/// A device with a serial number.
pub(crate) fn at(id: &str, port: &str, serial: &str) -> At {
    At { id: id.to_owned(), port: port.to_owned(), serial: Some(serial.to_owned()) }
}

/// What is the same for all devices of a model.
struct Model {
    vendor: &'static str,
    name: &'static str,
    texts: &'static [(&'static str, &'static str)],
    /// What stands in the attribute `nodes`.
    nodes: Option<&'static str>,
    whole: &'static [(&'static str, i64)],
    usb_version: f64,
}

/// `models::cp2102`.
pub(crate) fn adapters(at: &[At]) -> Group {
    let model = Model {
        vendor: "silicon-labs",
        name: "cp210x-uart-bridge",
        texts: &[
            ("class_codes", "ff/00/00"),
            ("classes", "vendor-specific"),
            ("device_release", "0x0100"),
            ("drivers", "cp210x"),
            ("manufacturer", "Silicon Labs"),
            ("product", "CP2102 USB to UART Bridge Controller"),
            ("product_id", "0xea60"),
            ("product_name", "CP210x UART Bridge"),
            ("vendor_id", "0x10c4"),
            ("vendor_name", "Silicon Labs"),
        ],
        nodes: Some("tty"),
        whole: &[
            ("interfaces", 1),
            ("max_milliamps", 100),
            ("product_id_number", 60_000),
            ("speed_mbit", 12),
            ("vendor_id_number", 4292),
        ],
        usb_version: 1.1,
    };
    group(&model, at)
}

/// `bus::stick`.
pub(crate) fn sticks(at: &[At]) -> Group {
    let model = Model {
        vendor: "memorex-products-inc",
        name: "traveldrive-2007-flash-drive",
        texts: &[
            ("class_codes", "08/06/50"),
            ("classes", "storage"),
            ("device_release", "0x0100"),
            ("drivers", "usb-storage"),
            ("manufacturer", "Generic"),
            ("product", "Flash Disk"),
            ("product_id", "0x1e23"),
            ("product_name", "TravelDrive 2007 Flash Drive"),
            ("vendor_id", "0x12f7"),
            ("vendor_name", "Memorex Products; Inc."),
        ],
        nodes: Some("block"),
        whole: &[
            ("interfaces", 1),
            ("max_milliamps", 200),
            ("product_id_number", 0x1e23),
            ("speed_mbit", 480),
            ("vendor_id_number", 0x12f7),
        ],
        usb_version: 2.0,
    };
    group(&model, at)
}

/// `models::no_strings` at these ports.
pub(crate) fn nameless(ports: &[&str]) -> Group {
    let model = Model {
        vendor: "vcafe",
        name: "p4001",
        texts: &[
            ("class_codes", "ff/00/00"),
            ("classes", "vendor-specific"),
            ("device_release", "0x0100"),
            ("product_id", "0x4001"),
            ("vendor_id", "0xcafe"),
        ],
        nodes: None,
        whole: &[
            ("interfaces", 1),
            ("max_milliamps", 100),
            ("product_id_number", 0x4001),
            ("speed_mbit", 12),
            ("vendor_id_number", 0xcafe),
        ],
        usb_version: 2.0,
    };
    let at = ports.iter().map(|port| At { id: format!("port-{port}"), port: (*port).to_owned(), serial: None });
    group(&model, &at.collect::<Vec<_>>())
}

fn group(model: &Model, at: &[At]) -> Group {
    let mut attributes: BTreeMap<String, Attribute> = BTreeMap::new();
    let mut put = |name: &str, attribute: Attribute| attributes.insert(name.to_owned(), attribute);
    for (name, text) in model.texts {
        put(name, Attribute::text(*text));
    }
    put("controller", Attribute::text(CONTROLLER));
    put("removable", Attribute::text("removable"));
    let joined = |values: BTreeSet<&str>| values.into_iter().collect::<Vec<_>>().join(",");
    put("ids", Attribute::text(joined(at.iter().map(|at| at.id.as_str()).collect())));
    put("ports", Attribute::text(joined(at.iter().map(|at| at.port.as_str()).collect())));
    // A number of its own would be read as one in a constraint.
    let serials: Vec<String> = at.iter().filter_map(|at| at.serial.as_deref()).map(as_text).collect();
    if !serials.is_empty() {
        put("serials", Attribute::text(joined(serials.iter().map(String::as_str).collect())));
    }
    if let Some(nodes) = model.nodes.filter(|_| nodes_can_be_made()) {
        put("nodes", Attribute::text(nodes));
    }
    for (name, number) in model.whole {
        put(name, Attribute::integer(*number));
    }
    put("configurations", Attribute::integer(1));
    put("usb_version", Attribute::float(model.usb_version));
    put("link_degraded", Attribute::flag(false));
    put("self_powered", Attribute::flag(false));
    let health = health();
    let healthy = if health.is_healthy() { at.len() } else { 0 };
    put(HEALTHY_COUNT, Attribute::integer(i64::try_from(healthy).unwrap_or(i64::MAX)));
    let mut instances: Vec<Instance> = at
        .iter()
        .map(|at| Instance { id: at.id.clone(), health: health.clone(), pci_bus_id: Some(CONTROLLER.to_owned()) })
        .collect();
    instances.sort_by(|a, b| a.id.cmp(&b.id));
    Group {
        vendor: model.vendor.to_owned(),
        kind: "usb".to_owned(),
        name: model.name.to_owned(),
        attributes,
        instances,
    }
}

/// The same while nobody can say yet that its drivers have bound.
pub(crate) fn settling(mut group: Group) -> Group {
    for instance in &mut group.instances {
        instance.health = Health::Unhealthy { reason: "settling: its drivers are still binding".to_owned() };
    }
    group.attributes.insert(HEALTHY_COUNT.to_owned(), Attribute::integer(0));
    group
}

fn as_text(serial: &str) -> String {
    if serial.bytes().all(|b| b.is_ascii_digit()) { format!("={serial}") } else { serial.to_owned() }
}

/// In a user namespace no device node can be made, by nobody: there, a device without one is what is to be seen.
pub(crate) fn health() -> Health {
    if nodes_can_be_made() {
        Health::good()
    } else {
        Health::Unhealthy { reason: "no permission: it has no node below /dev/bus/usb here".to_owned() }
    }
}

fn nodes_can_be_made() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        let mut fields = map.split_ascii_whitespace();
        // The whole range, as in the first user namespace.
        (fields.next(), fields.next(), fields.next()) == (Some("0"), Some("0"), Some("4294967295"))
    })
}

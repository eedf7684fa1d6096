//! What a job can constrain on. Attributes belong to a group, so with several members each follows a rule:
//!
//! * texts are the distinct values of the members, sorted and joined with commas (`set_contains` finds one among several);
//! * numbers and truth values are there only while all members agree;
//! * a list too long for an attribute ends with how many values were left out and a check sum of all (`and-37-more-1f2e3d4c`), so that
//!   it changes with each of them.
//!
//! `ids` and `serials` are there for a second reason: Nomad caches a node's fitness by its attributes, not by its instances, so they
//! change when the members do.

use std::collections::BTreeMap;

use yurt_sdk::Attribute;
use yurt_sdk::attribute::{self, flag, integer, matchable, number};
use yurt_sdk::facts::{Label, Removable, UsbDevice};
use yurt_sdk::offer::Instance;

use crate::rules::Rule;
use crate::{classes, ids};

/// What [`of`] gives names to, and the host. A rule adds others.
pub(crate) const NAMES: [&str; 27] = [
    "class_codes",
    "classes",
    "configurations",
    "controller",
    "device_release",
    "drivers",
    "healthy_count",
    "ids",
    "interfaces",
    "link_degraded",
    "manufacturer",
    "max_milliamps",
    "nodes",
    "numa_node",
    "ports",
    "product",
    "product_id",
    "product_id_number",
    "product_name",
    "removable",
    "self_powered",
    "serials",
    "speed_mbit",
    "usb_version",
    "vendor_id",
    "vendor_id_number",
    "vendor_name",
];

/// The attributes of a group whose members were offered by these rules, ordered by name.
pub(crate) fn of(devices: &[&UsbDevice], rules: &[&Rule], instances: &[Instance]) -> Vec<Attribute> {
    let members = Members(devices);
    let mut ids = Vec::new();
    distinct(&mut ids, instances.iter().map(|instance| instance.id.clone()).collect());
    let mut nodes = Vec::new();
    for (device, rule) in devices.iter().zip(rules) {
        distinct(&mut nodes, kinds_of_nodes(device, rule));
    }
    let texts: [(&str, Vec<String>); 16] = [
        ("class_codes", members.texts(|d| classes::of(d).into_iter().map(classes::triple).collect())),
        ("classes", members.texts(|d| classes::of(d).into_iter().map(|codes| classes::name(codes.base)).collect())),
        ("controller", members.texts(|d| d.place.controller.iter().cloned().collect())),
        ("device_release", members.texts(|d| vec![format!("0x{:04x}", d.device_release)])),
        ("drivers", members.texts(|d| d.interfaces.iter().filter_map(|i| i.driver.clone()).collect())),
        ("ids", ids),
        ("manufacturer", members.texts(|d| label(d.manufacturer.as_ref()))),
        ("nodes", nodes),
        ("ports", members.texts(|d| vec![d.key.clone()])),
        ("product", members.texts(|d| label(d.product.as_ref()))),
        ("product_id", members.texts(|d| vec![format!("0x{:04x}", d.product_id)])),
        ("product_name", members.texts(|d| d.product_name.iter().cloned().collect())),
        ("removable", members.texts(|d| removable(d.place.removable).map(str::to_owned).into_iter().collect())),
        ("serials", members.texts(|d| label(d.serial.as_ref()))),
        ("vendor_id", members.texts(|d| vec![format!("0x{:04x}", d.vendor_id)])),
        ("vendor_name", members.texts(|d| d.vendor_name.iter().cloned().collect())),
    ];
    let mut all: Vec<Attribute> = Vec::new();
    let mut added: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in rules.iter().flat_map(|rule| &rule.attributes) {
        distinct(added.entry(name).or_default(), vec![value.clone()]);
    }
    for (name, values) in texts.into_iter().chain(added) {
        if !values.is_empty() {
            // The elements are matchable one by one; joined they are text anyway.
            all.push(attribute::text(name, &joined(&values)));
        }
    }
    let numbers: [(&str, Option<i64>); 7] = [
        ("configurations", members.agree(|d| Some(i64::from(d.configurations)))),
        ("interfaces", members.agree(|d| i64::try_from(d.interfaces.len()).ok())),
        ("max_milliamps", members.agree(|d| d.configuration.as_ref().map(|c| i64::from(c.max_milliamps)))),
        ("numa_node", members.agree(|d| d.place.numa_node.map(i64::from))),
        ("product_id_number", members.agree(|d| Some(i64::from(d.product_id)))),
        ("speed_mbit", members.agree(|d| (d.link.mbit > 0).then(|| i64::from(d.link.mbit)))),
        ("vendor_id_number", members.agree(|d| Some(i64::from(d.vendor_id)))),
    ];
    all.extend(numbers.into_iter().filter_map(|(name, value)| Some(integer(name, value?))));
    all.extend(members.agree(|d| Some(d.usb_release)).map(|release| number("usb_version", version(release))));
    all.extend(members.agree(|d| Some(d.link.degraded)).map(|degraded| flag("link_degraded", degraded)));
    all.extend(
        members.agree(|d| d.configuration.as_ref().map(|c| c.self_powered)).map(|own| flag("self_powered", own)),
    );
    in_order(all)
}

fn in_order(attributes: Vec<Attribute>) -> Vec<Attribute> {
    let mut all: Vec<Attribute> = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        let place = all.partition_point(|other| other.name < attribute.name);
        all.insert(place, attribute);
    }
    all
}

struct Members<'a>(&'a [&'a UsbDevice]);

impl Members<'_> {
    // Function pointers, not generics: two dozen copies of these loops would be a tenth of the component.
    fn texts(&self, of: fn(&UsbDevice) -> Vec<String>) -> Vec<String> {
        let mut all = Vec::new();
        for device in self.0 {
            distinct(&mut all, of(device));
        }
        all
    }

    fn agree<T: PartialEq>(&self, of: fn(&UsbDevice) -> Option<T>) -> Option<T> {
        let mut values = self.0.iter().map(|device| of(device));
        let first = values.next()??;
        values.all(|value| value.as_ref() == Some(&first)).then_some(first)
    }
}

/// Puts values in: sorted, each once, each matchable as an element (no comma, not readable as a number).
fn distinct(all: &mut Vec<String>, values: Vec<String>) {
    for value in values {
        let value = matchable(&value.replace(',', ";"));
        if let Err(place) = all.binary_search(&value) {
            all.insert(place, value);
        }
    }
}

/// The host refuses a group for one text that is longer.
const LONGEST: usize = 1024;

/// As many values as fit, whole, and a word about the rest.
fn joined(values: &[String]) -> String {
    let text = values.join(",");
    if text.len() <= LONGEST {
        return text;
    }
    let sum = ids::check_sum(&text);
    let mut kept = String::new();
    for (at, value) in values.iter().enumerate() {
        let rest = format!("and-{}-more-{sum:08x}", values.len() - at);
        if kept.len() + value.len() + 1 + rest.len() > LONGEST {
            return kept + &rest;
        }
        kept = kept + value + ",";
    }
    kept
}

fn label(label: Option<&Label>) -> Vec<String> {
    label.iter().map(|label| label.text.clone()).collect()
}

/// Which kinds of node a task gets besides the usbfs node: `block`, `tty`, `hidraw`; `net` for a network interface, which has none.
fn kinds_of_nodes(device: &UsbDevice, rule: &Rule) -> Vec<String> {
    let nodes = device.nodes.iter().filter(|node| node.of_interface.is_some() && rule.hands_out(node));
    let mut kinds: Vec<String> = nodes.map(|node| node.subsystem.clone()).collect();
    if !device.network.is_empty() && rule.hands_out_subsystem("net") {
        kinds.push("net".into());
    }
    kinds
}

fn removable(removable: Removable) -> Option<&'static str> {
    match removable {
        Removable::Unknown => None,
        Removable::Fixed => Some("fixed"),
        Removable::Removable => Some("removable"),
    }
}

/// bcdUSB as a number that constraints can compare: 0x0210 is 2.1, 0x0300 is 3.
fn version(release: u16) -> f64 {
    let digit = |shift: u16| f64::from((release >> shift) & 0xf);
    let hundredths = digit(12) * 1000.0 + digit(8) * 100.0 + digit(4) * 10.0 + digit(0);
    hundredths / 100.0
}

#[cfg(test)]
#[path = "attributes_tests.rs"]
mod tests;

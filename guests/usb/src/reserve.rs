//! What a task gets: every node of the devices, for reading and writing, and variables that say which is which.
//!
//! Nomad merges the variables of all `device` blocks of a task, the last one wins, so their names are made from the ids, which are
//! unique on a node: `YURT_USB_SN_4C530001_NODE`. Two variables are named after the group: `YURT_USB_<VENDOR>_<GROUP>_IDS`, which a job
//! can know beforehand and from which the others follow, and `…_MANIFEST_<first id>`, everything as JSON. Where a rule mounts a
//! directory, `…_DIR` is it and the paths of nodes lie in it, with a `manifest.json` that follows the device, as the variable cannot.

use serde::Serialize;
use yurt_sdk::facts::{NodeKind, Snapshot, UsbDevice};
use yurt_sdk::offer::{DeviceModel, EnvValue, GrantedEnv, GroupName, Instance, MountGrant, NodeGrant, Reservation};

use crate::health;
use crate::rules::{self, Expose, Rule};

/// Nomad puts a value of the node in the place of `${…}` and knows no way to write it otherwise.
const EXPANDED: &str = "${";

/// Bytes that the host takes in one variable.
const LONGEST_MANIFEST: usize = 32 * 1024;

/// The reservation, or why there is none: a device that left or cannot be used since it was offered.
pub(crate) fn reserve(
    rules: &[Rule],
    facts: &Snapshot,
    group: &GroupName,
    reserved: &[Instance],
) -> Result<Reservation, String> {
    let mut env = Variables::default();
    let mut nodes: Vec<NodeGrant> = Vec::new();
    let mut mounts: Vec<MountGrant> = Vec::new();
    let mut manifest =
        Manifest { version: 1, group: format!("{}/{}/{}", group.vendor, group.kind, group.name), devices: Vec::new() };
    for instance in reserved {
        let stem = env.stem(&instance.id);
        let mut expose = None;
        let mut modes: Vec<DeviceModel> = Vec::new();
        for key in &instance.members {
            let device = facts.devices.iter().find(|device| device.key == *key);
            let device = device.ok_or_else(|| format!("{}: the device at {key} is gone", instance.id))?;
            let rule = rules::allowing(rules, device, facts)
                .ok_or_else(|| format!("{}: no rule offers the device at {key} as it is now", instance.id))?;
            if let Some(reason) = health::reason(device, rule) {
                return Err(format!("{}: the device at {key} cannot be used: {reason}", instance.id));
            }
            expose.get_or_insert(rule.expose);
            modes.extend(rule.modes.iter().map(|&(vendor_id, product_id)| DeviceModel { vendor_id, product_id }));
            for (node, grant) in device.nodes.iter().zip(yurt_sdk::nodes::all_of(device)) {
                if rule.hands_out(node) {
                    let place = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
                    let part = if node.of_interface.is_none() { "NODE".to_owned() } else { upper(&node.subsystem) };
                    env.numbered(&stem, &part, EnvValue::NodePath(place));
                    nodes.push(grant);
                }
            }
            for network in device.network.iter().filter(|_| rule.hands_out_subsystem("net")) {
                env.numbered(&stem, "NET", EnvValue::Text(network.name.clone()));
            }
            env.numbered(&stem, "PORT", EnvValue::Text(device.key.clone()));
            if let Some(serial) = device.serial.as_ref().filter(|serial| !serial.text.contains(EXPANDED)) {
                env.numbered(&stem, "SERIAL", EnvValue::Text(serial.text.clone()));
            }
            manifest.devices.push(Device::of(&instance.id, device, rule));
        }
        if let Some(expose @ (Expose::Mount | Expose::Both)) = expose {
            let place = u32::try_from(mounts.len()).unwrap_or(u32::MAX);
            env.numbered(&stem, "DIR", EnvValue::MountPath(place));
            let (instance_id, devices) = (instance.id.clone(), expose == Expose::Both);
            mounts.push(MountGrant { instance_id, task_path: None, read_only: true, devices, modes });
        }
    }
    if let Some(first) = reserved.first() {
        let ids: Vec<&str> = reserved.iter().map(|instance| instance.id.as_str()).collect();
        env.add(format!("YURT_USB_{}_{}_IDS", upper(&group.vendor), upper(&group.name)), EnvValue::Text(ids.join(",")));
        let text = yurt_sdk::json::to_string(&manifest).map_err(|e| format!("the manifest cannot be written: {e}"))?;
        // The same text to whoever reads JSON.
        let text = text.replace(EXPANDED, "\\u0024{");
        if text.len() <= LONGEST_MANIFEST {
            env.add(format!("YURT_USB_MANIFEST_{}", upper(&first.id)), EnvValue::Text(text));
        } else {
            yurt_sdk::warn!("no manifest for {}: it would have {} bytes", first.id, text.len());
        }
    }
    Ok(Reservation { env: env.all, nodes, mounts })
}

#[derive(Default)]
struct Variables {
    all: Vec<GrantedEnv>,
    stems: Vec<String>,
}

impl Variables {
    /// `YURT_USB_SN_4C530001`; a number behind it should two ids of one reservation differ only in case or punctuation.
    fn stem(&mut self, id: &str) -> String {
        let plain = format!("YURT_USB_{}", upper(id));
        let stem = free(&plain, |name| !self.stems.iter().any(|stem| stem == name));
        self.stems.push(stem.clone());
        stem
    }

    /// `…_TTY`, then `…_TTY_2`.
    fn numbered(&mut self, stem: &str, part: &str, value: EnvValue) {
        let name = free(&format!("{stem}_{part}"), |name| !self.all.iter().any(|env| env.name == name));
        self.add(name, value);
    }

    fn add(&mut self, name: String, value: EnvValue) {
        self.all.push(GrantedEnv { name, value });
    }
}

fn free(name: &str, is_free: impl Fn(&str) -> bool) -> String {
    if is_free(name) {
        return name.to_owned();
    }
    (2u32..).map(|n| format!("{name}_{n}")).find(|name| is_free(name)).unwrap_or_default()
}

fn upper(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// What `YURT_USB_MANIFEST_…` holds. Grows only: readers ignore what they do not know.
#[derive(Serialize)]
struct Manifest<'a> {
    version: u8,
    group: String,
    devices: Vec<Device<'a>>,
}

#[derive(Serialize)]
struct Device<'a> {
    id: &'a str,
    port: &'a str,
    vendor_id: String,
    product_id: String,
    manufacturer: Option<&'a str>,
    product: Option<&'a str>,
    serial: Option<&'a str>,
    nodes: Vec<Node<'a>>,
    network: Vec<&'a str>,
}

#[derive(Serialize)]
struct Node<'a> {
    /// Below `/dev`, at the time of the reservation: in the task, where it got devices, the same as on the host.
    path: &'a str,
    kind: &'static str,
    subsystem: &'a str,
    interface: Option<u8>,
    position: u32,
    links: &'a [String],
}

impl<'a> Device<'a> {
    fn of(id: &'a str, device: &'a UsbDevice, rule: &Rule) -> Self {
        let nodes = device.nodes.iter().filter(|node| rule.hands_out(node)).map(|node| Node {
            path: &node.path,
            kind: match node.kind {
                NodeKind::Character => "character",
                NodeKind::Block => "block",
            },
            subsystem: &node.subsystem,
            interface: node.of_interface,
            position: node.position,
            links: &node.links,
        });
        Self {
            id,
            port: &device.key,
            vendor_id: format!("0x{:04x}", device.vendor_id),
            product_id: format!("0x{:04x}", device.product_id),
            manufacturer: device.manufacturer.as_ref().map(|label| label.text.as_str()),
            product: device.product.as_ref().map(|label| label.text.as_str()),
            serial: device.serial.as_ref().map(|label| label.text.as_str()),
            nodes: nodes.collect(),
            network: device
                .network
                .iter()
                .filter(|_| rule.hands_out_subsystem("net"))
                .map(|network| network.name.as_str())
                .collect(),
        }
    }
}

#[cfg(test)]
#[path = "reserve_tests.rs"]
mod tests;

//! Which devices are offered: the first rule that matches decides.

use yurt_sdk::facts::{Label, Node, Removable, Snapshot, UsbDevice};

use crate::classes::ClassPattern;
use crate::glob;
use crate::health::Conditions;

/// What a rule does with a device that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Action {
    /// Offer it.
    #[default]
    Allow,
    /// Do not.
    Deny,
}

/// A rule; every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Rule {
    pub(crate) vendor: Option<u16>,
    pub(crate) product: Option<u16>,
    /// Ids that one device has in turn; it is known by its port, since what it says of itself changes with them.
    pub(crate) modes: Vec<(u16, u16)>,
    /// Of the device or any of its interfaces; of every interface; of none of them.
    pub(crate) class: Option<ClassPattern>,
    pub(crate) class_all: Option<ClassPattern>,
    pub(crate) class_none: Option<ClassPattern>,
    /// Globs; what a device does not have does not match one.
    pub(crate) driver: Option<String>,
    pub(crate) subsystem: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) port: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) name: Option<String>,
    /// Somewhere above it.
    pub(crate) behind: Option<Hub>,
    pub(crate) min_mbit: Option<u32>,
    pub(crate) removable: Option<Removable>,
    pub(crate) action: Action,
    /// Added to the group's.
    pub(crate) attributes: Vec<(String, String)>,
    /// Subsystems of the nodes that are handed out; none: all.
    pub(crate) nodes: Option<Vec<String>>,
    pub(crate) expose: Expose,
    /// Its devices below one hub are one instance; how many there must be.
    pub(crate) as_one: bool,
    pub(crate) members: Option<usize>,
    /// How many tasks may have it at once.
    pub(crate) shares: Option<u8>,
    pub(crate) unhealthy_if: Conditions,
    /// What to call the group.
    pub(crate) vendor_name: Option<String>,
    pub(crate) group: Option<String>,
}

/// How a task gets nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Expose {
    /// As devices, which Nomad puts into the task when it starts.
    #[default]
    Devices,
    /// In a directory that follows the device over replugs.
    Mount,
    /// Both: the directory, and what allows a task with a device cgroup of its own to open what is in it.
    Both,
}

/// A hub, by what it is or where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Hub {
    /// A glob of its port path.
    Port(String),
    /// Vendor and product.
    Ids(u16, u16),
}

/// How the node below `/dev/bus/usb` is called in a rule.
pub(crate) const USB: &str = "usb";

/// The place of the rule that decides about this device.
pub(crate) fn deciding(rules: &[Rule], device: &UsbDevice, facts: &Snapshot) -> Option<usize> {
    rules.iter().position(|rule| rule.matches(device, facts))
}

/// The rule that offers this device; none: it is not offered. Without any rule nothing is.
pub(crate) fn allowing<'a>(rules: &'a [Rule], device: &UsbDevice, facts: &Snapshot) -> Option<&'a Rule> {
    rules.get(deciding(rules, device, facts)?).filter(|rule| rule.action == Action::Allow)
}

impl Rule {
    /// Whether it says anything of the device.
    pub(crate) fn has_condition(&self) -> bool {
        let without = Rule {
            action: self.action,
            attributes: self.attributes.clone(),
            nodes: self.nodes.clone(),
            expose: self.expose,
            as_one: self.as_one,
            members: self.members,
            shares: self.shares,
            unhealthy_if: self.unhealthy_if,
            vendor_name: self.vendor_name.clone(),
            group: self.group.clone(),
            ..Rule::default()
        };
        *self != without
    }

    /// Whether a task gets this node of a device that it offers.
    pub(crate) fn hands_out(&self, node: &Node) -> bool {
        let subsystem = if node.of_interface.is_none() { USB } else { &node.subsystem };
        self.hands_out_subsystem(subsystem)
    }

    /// The same of all nodes of a subsystem; `net` stands for interfaces, which have none.
    pub(crate) fn hands_out_subsystem(&self, subsystem: &str) -> bool {
        self.nodes.as_ref().is_none_or(|all| all.iter().any(|one| one == subsystem))
    }

    /// The hub below which its devices are one: the farthest that `behind` names, else the one that the device is plugged into,
    /// which must not be a machine's own root hub.
    pub(crate) fn hub_of<'a>(&self, device: &'a UsbDevice, facts: &'a Snapshot) -> Option<&'a UsbDevice> {
        match &self.behind {
            Some(hub) => above(device, facts).filter(|above| hub.is(above)).last(),
            None => above(device, facts).next().filter(|hub| hub.parent.is_some()),
        }
    }

    fn matches(&self, device: &UsbDevice, facts: &Snapshot) -> bool {
        let drivers = device.interfaces.iter().filter_map(|interface| interface.driver.as_deref());
        let nodes = device.nodes.iter().filter(|node| node.of_interface.is_some());
        let subsystems = nodes.map(|node| node.subsystem.as_str()).chain(device.network.first().map(|_| "net"));
        let names = text(&device.product).chain(device.product_name.as_deref());
        // Whoever reserves a hub could reset what hangs from it: only by name.
        (!device.is_hub || self.class.is_some_and(ClassPattern::is_of_hubs))
            && self.vendor.is_none_or(|vendor| vendor == device.vendor_id)
            && self.product.is_none_or(|product| product == device.product_id)
            && (self.modes.is_empty() || self.modes.contains(&(device.vendor_id, device.product_id)))
            && self.class.is_none_or(|class| class.matches(device))
            && self.class_all.is_none_or(|class| class.matches_all(device))
            && self.class_none.is_none_or(|class| !class.matches(device))
            && some(&self.driver, drivers, glob::matches)
            && some(&self.subsystem, subsystems, glob::matches)
            && some(&self.serial, text(&device.serial), glob::matches)
            && some(&self.port, [device.key.as_str()], glob::matches)
            && some(&self.manufacturer, text(&device.manufacturer), glob::matches_any_case)
            && some(&self.name, names, glob::matches_any_case)
            && self.behind.as_ref().is_none_or(|hub| above(device, facts).any(|above| hub.is(above)))
            && self.min_mbit.is_none_or(|least| device.link.mbit >= least)
            && self.removable.is_none_or(|wanted| device.place.removable == wanted)
    }
}

/// Whether one of these fits, where one is wanted.
fn some<'a>(wanted: &Option<String>, have: impl IntoIterator<Item = &'a str>, fits: fn(&str, &str) -> bool) -> bool {
    wanted.as_ref().is_none_or(|wanted| have.into_iter().any(|text| fits(wanted, text)))
}

fn text(label: &Option<Label>) -> impl Iterator<Item = &str> {
    label.as_ref().map(|label| label.text.as_str()).into_iter()
}

impl Hub {
    fn is(&self, hub: &UsbDevice) -> bool {
        match self {
            Hub::Port(port) => glob::matches(port, &hub.key),
            Hub::Ids(vendor, product) => (hub.vendor_id, hub.product_id) == (*vendor, *product),
        }
    }
}

/// The hubs that a device hangs from, the nearest first. USB has seven tiers; a circle in the facts ends there, too.
fn above<'a>(device: &'a UsbDevice, facts: &'a Snapshot) -> impl Iterator<Item = &'a UsbDevice> {
    let parent = |of: &UsbDevice| {
        let key = of.parent.as_ref()?;
        facts.devices.iter().find(|device| device.key == *key)
    };
    std::iter::successors(parent(device), move |hub| parent(hub)).take(8)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;

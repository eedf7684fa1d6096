//! Whether a device can be used, and if not, why: one clause for the operator, without anything that changes by itself (a changed
//! text is a changed offer).

use yurt_sdk::facts::{PowerState, Presence, SerialQuality, UsbDevice};

use crate::rules::{self, Rule};

/// What makes a device unhealthy beside what makes it useless: the names in `unhealthy_if`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// A node that a task would get is mounted, swapped to or part of a volume.
    pub(crate) busy: bool,
    /// Its link is slower than both ends could.
    pub(crate) degraded: bool,
    /// Another device has its serial number.
    pub(crate) duplicate_serial: bool,
    /// It comes and goes; see `flapping.rs`.
    pub(crate) flapping: bool,
    /// It has no serial number, or one that says nothing.
    pub(crate) no_serial: bool,
    pub(crate) over_current: bool,
    pub(crate) power_failed: bool,
}

impl Conditions {
    const NONE: Conditions = Conditions {
        busy: false,
        degraded: false,
        duplicate_serial: false,
        flapping: false,
        no_serial: false,
        over_current: false,
        power_failed: false,
    };

    /// The names, ordered.
    pub(crate) const NAMES: [&str; 7] =
        ["busy", "degraded", "duplicate_serial", "flapping", "no_serial", "over_current", "power_failed"];

    /// Those that are named; the error is a name that means nothing.
    pub(crate) fn named(names: &[String]) -> Result<Conditions, String> {
        let mut all = Conditions::NONE;
        for name in names {
            let condition = match name.as_str() {
                "busy" => &mut all.busy,
                "degraded" => &mut all.degraded,
                "duplicate_serial" => &mut all.duplicate_serial,
                "flapping" => &mut all.flapping,
                "no_serial" => &mut all.no_serial,
                "over_current" => &mut all.over_current,
                "power_failed" => &mut all.power_failed,
                other => return Err(other.to_owned()),
            };
            *condition = true;
        }
        Ok(all)
    }
}

impl Default for Conditions {
    /// A link that is slower than it could be is an attribute, like serial numbers.
    fn default() -> Self {
        Conditions { busy: true, over_current: true, power_failed: true, ..Conditions::NONE }
    }
}

/// The first reason that stands in the way of a task that gets the device by this rule.
pub(crate) fn reason(device: &UsbDevice, rule: &Rule) -> Option<String> {
    match device.life.presence {
        Presence::Absent => return Some("unplugged".into()),
        Presence::Settling => return Some("settling: its drivers are still binding".into()),
        Presence::Present => {}
    }
    if !device.access.authorised {
        return Some("not authorised: the kernel was told not to use it (authorized is 0)".into());
    }
    let asked = rule.unhealthy_if;
    if asked.over_current && device.access.over_current {
        return Some("over-current at its port".into());
    }
    if device.configuration.is_none() {
        return Some("not configured: no configuration is active".into());
    }
    if asked.power_failed && device.power.state == PowerState::Failed {
        return Some("power management failed: the kernel could not suspend or wake it".into());
    }
    let why =
        if rule.hands_out_subsystem(rules::USB) { no_permission(device) } else { nothing_to_hand_out(device, rule) };
    if why.is_some() {
        return why;
    }
    // Whoever writes to the node below /dev/bus/usb reaches a disk, too.
    let reached = |node: &&yurt_sdk::facts::Node| rule.hands_out(node) || rule.hands_out_subsystem(rules::USB);
    if let Some(busy) = device.nodes.iter().filter(reached).find(|node| asked.busy && node.in_use) {
        return Some(format!("in use on this machine: {} is mounted, a swap area or part of a volume", busy.path));
    }
    if asked.degraded && device.link.degraded {
        return Some("degraded: its link is slower than the device and its port could".into());
    }
    match device.serial_quality {
        SerialQuality::Shared if asked.duplicate_serial => {
            Some("duplicate serial number: another device has the same one".into())
        }
        SerialQuality::Absent | SerialQuality::Placeholder if asked.no_serial => {
            Some("no serial number that tells it from others".into())
        }
        _ => None,
    }
}

fn no_permission(device: &UsbDevice) -> Option<String> {
    match device.nodes.first().filter(|node| node.of_interface.is_none()) {
        Some(_) if device.access.openable => None,
        Some(node) => Some(format!("no permission: {} cannot be opened for reading and writing", node.path)),
        None => Some("no permission: it has no node below /dev/bus/usb here".into()),
    }
}

fn nothing_to_hand_out(device: &UsbDevice, rule: &Rule) -> Option<String> {
    let network = !device.network.is_empty() && rule.hands_out_subsystem("net");
    let wanted = rule.nodes.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!network && !device.nodes.iter().any(|node| rule.hands_out(node)))
        .then(|| format!("nothing to hand out: no driver made a node of {wanted}"))
}

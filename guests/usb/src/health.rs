//! Whether a device can be used, and if not, why: one clause for the operator, without anything that changes by itself (a changed
//! text is a changed offer).

use yurt_sdk::facts::{PowerState, Presence, UsbDevice};
use yurt_sdk::offer::Health;

/// The first reason that stands in the way. A degraded link is no reason: it is an attribute.
pub(crate) fn of(device: &UsbDevice) -> Health {
    match reason(device) {
        Some(reason) => Health::Unhealthy(reason),
        None => Health::Healthy,
    }
}

fn reason(device: &UsbDevice) -> Option<String> {
    match device.life.presence {
        Presence::Absent => return Some("unplugged".into()),
        Presence::Settling => return Some("settling: its drivers are still binding".into()),
        Presence::Present => {}
    }
    if !device.access.authorised {
        return Some("not authorised: the kernel was told not to use it (authorized is 0)".into());
    }
    if device.access.over_current {
        return Some("over-current at its port".into());
    }
    if device.configuration.is_none() {
        return Some("not configured: no configuration is active".into());
    }
    if device.power.state == PowerState::Failed {
        return Some("power management failed: the kernel could not suspend or wake it".into());
    }
    match device.nodes.first() {
        Some(node) if node.of_interface.is_none() && !device.access.openable => {
            return Some(format!("no permission: {} cannot be opened for reading and writing", node.path));
        }
        Some(node) if node.of_interface.is_none() => {}
        _ => return Some("no permission: it has no node below /dev/bus/usb here".into()),
    }
    let busy = device.nodes.iter().find(|node| node.in_use)?;
    Some(format!("in use on this machine: {} is mounted, a swap area or part of a volume", busy.path))
}

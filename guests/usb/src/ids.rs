//! The id of an instance: stable over replug and reboot, unique on the node, never readable as a number.
//!
//! A serial number that no twin has makes `sn-<serial>`, wherever the device is plugged; everything else goes by its place,
//! `port-1-1.4`. An id once given stays with the device at its port, also when a twin with the same serial comes: the twin goes by
//! its place, and so does a device whose rule says that it has several ids in turn. Two products with the same serial: the later one gets `sn-<serial>.12f7.1e23`.

use serde::{Deserialize, Serialize};
use yurt_sdk::facts::{SerialQuality, UsbDevice};

use crate::rules::Rule;

/// How many ids are remembered, newest first: more devices with serials than one machine sees in its life, well below 64 KiB.
pub(crate) const REMEMBERED: usize = 200;

/// Longest readable part of a serial in an id.
const LONGEST_SERIAL: usize = 64;

/// An id that was given to a device with a serial number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    #[serde(rename = "v")]
    vendor: u16,
    #[serde(rename = "p")]
    product: u16,
    #[serde(rename = "s")]
    serial: String,
    /// Where it was plugged.
    #[serde(rename = "k")]
    port: String,
    #[serde(rename = "i")]
    id: String,
}

impl Given {
    fn is_of(&self, device: &UsbDevice, serial: &str) -> bool {
        self.vendor == device.vendor_id && self.product == device.product_id && self.serial == serial
    }
}

/// The ids of these devices, in their order, and what to remember.
pub(crate) fn assign(offered: &[(&UsbDevice, &Rule)], memory: Vec<Given>) -> (Vec<String>, Vec<Given>) {
    let mut ids: Vec<Option<String>> = vec![None; offered.len()];
    // Whoever is still where it was keeps its id; only then may others ask.
    for (slot, (device, rule)) in ids.iter_mut().zip(offered) {
        *slot = trusted_serial(device, rule).and_then(|serial| {
            memory
                .iter()
                .find(|given| given.is_of(device, serial) && given.port == device.key)
                .map(|given| given.id.clone())
        });
    }
    let mut taken: Vec<String> = ids.iter().flatten().cloned().collect();
    for (slot, (device, rule)) in ids.iter_mut().zip(offered) {
        if slot.is_none() {
            let id = by_serial(device, rule, &memory).and_then(|(serial, natural)| {
                let of_another = |id: &str| {
                    taken.iter().any(|t| t == id)
                        || memory.iter().any(|given| given.id == id && !given.is_of(device, serial))
                };
                let long = format!("{natural}.{:04x}.{:04x}", device.vendor_id, device.product_id);
                [natural, long].into_iter().find(|id| !of_another(id))
            });
            let id = id.unwrap_or_else(|| format!("port-{}", device.key));
            taken.push(id.clone());
            *slot = Some(id);
        }
    }
    let ids: Vec<String> = ids.into_iter().flatten().collect();
    let memory = remember(offered, &ids, memory);
    (ids, memory)
}

fn trusted_serial<'a>(device: &'a UsbDevice, rule: &Rule) -> Option<&'a str> {
    match device.serial_quality {
        _ if !rule.modes.is_empty() => None,
        SerialQuality::Unique | SerialQuality::Shared => device.serial.as_ref().map(|label| label.text.as_str()),
        SerialQuality::Absent | SerialQuality::Placeholder => None,
    }
}

/// The serial and the id it makes, if no twin is known, now or from memory.
fn by_serial<'a>(device: &'a UsbDevice, rule: &Rule, memory: &[Given]) -> Option<(&'a str, String)> {
    let serial = trusted_serial(device, rule).filter(|_| device.serial_quality == SerialQuality::Unique)?;
    let mut before = memory.iter().filter(|given| given.is_of(device, serial));
    match (before.next(), before.next()) {
        (None, _) => Some((serial, format!("sn-{}", readable(serial)))),
        (Some(given), None) if given.id.starts_with("sn-") => Some((serial, given.id.clone())),
        _ => None,
    }
}

/// `[A-Za-z0-9._-]` only; where that loses anything, a check sum keeps different serials apart.
fn readable(serial: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut text: String = serial.chars().take(LONGEST_SERIAL).map(|c| if plain(c) { c } else { '_' }).collect();
    if text != serial {
        // Folded to 16 bits.
        let sum = check_sum(serial);
        text.push_str(&format!("-{:04x}", (sum >> 16) ^ (sum & 0xffff)));
    }
    text
}

/// FNV-1a: for telling apart, not for secrecy.
pub(crate) fn check_sum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What is here now, then what was, without what is superseded: the same device moved, or another of its kind at the same port.
fn remember(offered: &[(&UsbDevice, &Rule)], ids: &[String], memory: Vec<Given>) -> Vec<Given> {
    let mut all: Vec<Given> = Vec::new();
    for ((device, rule), id) in offered.iter().zip(ids) {
        if let Some(serial) = trusted_serial(device, rule) {
            all.push(Given {
                vendor: device.vendor_id,
                product: device.product_id,
                serial: serial.to_owned(),
                port: device.key.clone(),
                id: id.clone(),
            });
        }
    }
    for old in memory {
        let same_device =
            |new: &Given| (new.vendor, new.product, &new.serial) == (old.vendor, old.product, &old.serial);
        if !all.iter().any(|new| same_device(new) && (new.port == old.port || new.id == old.id)) {
            all.push(old);
        }
    }
    all.truncate(REMEMBERED);
    all
}

#[cfg(test)]
#[path = "ids_tests.rs"]
mod tests;

//! What of the watcher's memory outlives it, as a text that the caller keeps: generations, replugs and former occupants go on
//! where they were, and a device that stayed plugged all the while is not taken for one that came.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::history::{History, Identity, Port};
use crate::facts::{Device, Former};
use crate::serials::Serial;

/// The form of the text. Others are not read.
const VERSION: u8 = 1;
/// Longest text that is read, in bytes.
const TEXT_MAX: usize = 4 << 20;

/// What an earlier watcher knew. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Past {
    version: u8,
    /// The kernel's id of the boot in which it was written: addresses mean nothing in another.
    boot: String,
    floor: u32,
    ports: BTreeMap<String, PastPort>,
    plugs: Vec<(Identity, u32)>,
    shared: Vec<Serial>,
    /// What was plugged when it was written.
    present: BTreeMap<String, Stayed>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PastPort {
    generation: u32,
    before: Vec<Former>,
}

/// A device that may still be plugged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Stayed {
    vendor_id: u16,
    product_id: u16,
    serial: Option<String>,
    /// The kernel gives a device that comes back another one.
    address: u8,
    pub(super) generation: u32,
    pub(super) replugs: u32,
}

impl Stayed {
    fn of(device: &Device) -> Stayed {
        Stayed {
            vendor_id: device.vendor_id,
            product_id: device.product_id,
            serial: device.serial.as_ref().map(|label| label.text.clone()),
            address: device.place.address,
            generation: device.life.generation,
            replugs: device.life.replugs,
        }
    }

    pub(super) fn former(self) -> Former {
        Former { vendor_id: self.vendor_id, product_id: self.product_id, serial: self.serial }
    }

    /// It is the very same, never unplugged.
    pub(super) fn is(&self, device: &Device) -> bool {
        let now = Stayed::of(device);
        (self.vendor_id, self.product_id, &self.serial, self.address)
            == (now.vendor_id, now.product_id, &now.serial, now.address)
    }
}

impl Past {
    /// Reads the text that [`Watcher::past`](super::Watcher::past) gave.
    ///
    /// # Errors
    /// What is wrong with it, for the log. Whoever has no past begins anew.
    pub fn parse(text: &str) -> Result<Past, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("it is longer than {TEXT_MAX} bytes"));
        }
        let past: Past = serde_json::from_str(text).map_err(|why| why.to_string())?;
        if past.version != VERSION {
            return Err(format!("it is of version {}, and {VERSION} is what is read", past.version));
        }
        Ok(past)
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The memory of a new watcher, and the devices that may have stayed.
    pub(super) fn taken_up(self, boot: &str) -> (History, BTreeMap<String, Stayed>) {
        let mut history = History::default();
        history.floor = self.floor;
        for (key, port) in self.ports {
            let port = Port { generation: port.generation, before: port.before.into() };
            history.ports.put(key, port);
        }
        for (identity, plugs) in self.plugs {
            history.plugs.put(identity, plugs);
        }
        history.shared = self.shared.into_iter().collect::<HashSet<_>>();
        let stayed = if self.boot == boot { self.present } else { BTreeMap::new() };
        (history, stayed)
    }

    /// What there is to remember.
    pub(super) fn of<'a>(history: &History, boot: &str, present: impl Iterator<Item = &'a Device>) -> Past {
        let port =
            |port: &Port| PastPort { generation: port.generation, before: port.before.iter().cloned().collect() };
        let mut shared: Vec<Serial> = history.shared.iter().cloned().collect();
        shared.sort();
        Past {
            version: VERSION,
            boot: boot.to_owned(),
            floor: history.floor,
            ports: history.ports.oldest_first().map(|(key, value)| (key.clone(), port(value))).collect(),
            plugs: history.plugs.oldest_first().map(|(identity, plugs)| (identity.clone(), *plugs)).collect(),
            shared,
            present: present.map(|device| (device.key.clone(), Stayed::of(device))).collect(),
        }
    }
}

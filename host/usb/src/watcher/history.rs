//! What was where before: the memory behind [`Life`](crate::facts::Life). All tables are bounded.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    facts::{Device, Former, Presence, SerialQuality},
    serials::{self, Serial},
};

/// Former occupants that are told of one port; one more is kept, since the present one may be the newest of them.
const BEFORE: usize = 4;
/// Ports, identities and shared serials that are remembered. A rack of hubs has hundreds of ports.
const REMEMBERED: usize = 2048;

/// What the watcher remembers of ports and devices.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) ports: Bounded<String, Port>,
    pub(super) plugs: Bounded<Identity, u32>,
    /// Serials that two devices had at the same time: never again an identity.
    pub(super) shared: HashSet<Serial>,
    /// No port that is new to us begins at or below this generation: a forgotten one never counts from the start.
    pub(super) floor: u32,
    /// There is something new to remember.
    news: bool,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Port {
    pub(super) generation: u32,
    pub(super) before: VecDeque<Former>,
}

/// What makes a device the same one when it is plugged again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Identity {
    /// Vendor, product and a serial that nobody else has: the same device at any port.
    Serial(Serial),
    /// Vendor, product, port: as far as one can tell.
    Port(u16, u16, String),
}

impl History {
    /// The generation of a port.
    pub(super) fn generation(&self, key: &str) -> u32 {
        self.ports.get(key).map_or(self.floor, |port| port.generation)
    }

    /// Whether anything is new since the last call.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Something came to a port or went from it: its new generation.
    pub(super) fn turn(&mut self, key: &str) -> u32 {
        self.news = true;
        let port = self.port(key);
        port.generation = port.generation.saturating_add(1);
        port.generation
    }

    /// A device is not at its port any more.
    pub(super) fn left(&mut self, key: &str, former: Former) {
        self.news = true;
        let before = &mut self.port(key).before;
        if before.front() != Some(&former) {
            before.push_front(former);
            before.truncate(BEFORE + 1);
        }
    }

    /// What was at a device's port before it, newest first. A device that was unplugged and plugged again is not
    /// before itself.
    pub(super) fn before(&self, device: &Device) -> Vec<Former> {
        let Some(port) = self.ports.get(&device.key) else { return Vec::new() };
        let itself = usize::from(port.before.front() == Some(&former(device)));
        port.before.iter().skip(itself).take(BEFORE).cloned().collect()
    }

    /// A device was plugged; how often it was before, as far as is remembered.
    pub(super) fn plugged(&mut self, identity: Identity) -> u32 {
        let plugs = self.plugs.get_or_insert(identity, || 0).0;
        let before = *plugs;
        *plugs = before.saturating_add(1);
        before
    }

    /// Who a device is. `twin`: another device with its vendor, product and serial is there.
    pub(super) fn identity(&self, device: &Device, twin: bool) -> Identity {
        match serials::comparable(device).filter(|serial| !twin && !self.shared.contains(serial)) {
            Some(serial) => Identity::Serial(serial),
            None => Identity::Port(device.vendor_id, device.product_id, device.key.clone()),
        }
    }

    /// Marks serials that are not one device's only, now or in the past.
    pub(super) fn compare_serials(&mut self, devices: &mut [Arc<Device>]) {
        serials::compare(devices);
        for device in devices.iter().filter(|device| device.serial_quality == SerialQuality::Shared) {
            if let Some(serial) = serials::comparable(device).filter(|_| self.shared.len() < REMEMBERED) {
                self.news |= self.shared.insert(serial);
            }
        }
        for device in devices {
            let shared = |serial| self.shared.contains(&serial);
            if device.serial_quality == SerialQuality::Unique && serials::comparable(device).is_some_and(shared) {
                Arc::make_mut(device).serial_quality = SerialQuality::Shared;
            }
        }
    }

    fn port(&mut self, key: &str) -> &mut Port {
        let floor = self.floor;
        let new = || Port { generation: floor, before: VecDeque::new() };
        let (port, forgotten) = self.ports.get_or_insert(key.to_owned(), new);
        if let Some(forgotten) = forgotten {
            self.floor = floor.max(forgotten.generation);
            port.generation = port.generation.max(self.floor);
        }
        port
    }
}

/// The same vendor, product and serial.
pub(super) fn is_twin(a: &Device, b: &Device) -> bool {
    b.life.presence != Presence::Absent
        && (a.vendor_id, a.product_id) == (b.vendor_id, b.product_id)
        && a.serial.is_some()
        && a.serial == b.serial
}

pub(super) fn former(device: &Device) -> Former {
    Former {
        vendor_id: device.vendor_id,
        product_id: device.product_id,
        serial: device.serial.as_ref().map(|label| label.text.clone()),
    }
}

/// A table that forgets what it has not been asked for the longest time.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    entries: HashMap<K, (V, u64)>,
    tick: u64,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), tick: 0 }
    }
}

impl<K: Hash + Eq + Clone, V> Bounded<K, V> {
    fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// All entries, so that putting them in once more in this order forgets in the same order.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_by_key(|(_, (_, used))| *used);
        all.into_iter().map(|(key, (value, _))| (key, value))
    }

    /// Takes an entry in as the one used last.
    pub(super) fn put(&mut self, key: K, value: V) {
        self.get_or_insert(key, || value);
    }

    /// The value of a key, and what was forgotten to make room for it.
    fn get_or_insert(&mut self, key: K, new: impl FnOnce() -> V) -> (&mut V, Option<V>) {
        self.tick += 1;
        let mut forgotten = None;
        if self.entries.len() >= REMEMBERED && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            forgotten = oldest.and_then(|key| self.entries.remove(&key)).map(|(value, _)| value);
        }
        let tick = self.tick;
        let (value, used) = self.entries.entry(key).or_insert_with(|| (new(), tick));
        *used = tick;
        (value, forgotten)
    }
}

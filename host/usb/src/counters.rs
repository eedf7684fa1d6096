//! Running totals that the kernel keeps, for statistics. Cheap: a handful of small files, no node.

use std::{collections::HashMap, sync::Arc};

use crate::{
    facts::{Counter, CounterSet, Device, Snapshot},
    key,
    reader::Reader,
    tree::{Directory, File},
};

/// Devices whose files stay open, four each: a process may commonly have 1024 open, and needs some for all else.
const KEPT: usize = 160;

impl Reader {
    /// The totals of the devices that are there; those that are not are left out.
    #[must_use]
    pub fn counters(&self, keys: &[String]) -> Vec<CounterSet> {
        Kept::default().counters(self, &Snapshot::default(), keys)
    }
}

/// The files of devices that were asked about before: opening them costs far more than reading them again.
#[derive(Debug, Default)]
pub(crate) struct Kept(HashMap<String, (Arc<Device>, Totals)>);

impl Kept {
    /// The totals of the devices that are there. Files stay open as long as what is known of their device stays the same.
    pub(crate) fn counters(&mut self, reader: &Reader, snapshot: &Snapshot, keys: &[String]) -> Vec<CounterSet> {
        self.0.retain(|key, (of, _)| snapshot.device(key).is_some_and(|device| Arc::ptr_eq(device, of)));
        let directory = reader.directories();
        let mut sets = Vec::with_capacity(keys.len());
        for key in keys {
            // The kernel answers for a file of a device that has left with an error, not with old figures.
            let again = self.0.get(key).and_then(|(_, totals)| totals.now());
            let counters = again.or_else(|| Some(self.first(directory(key)?, key, snapshot.device(key))));
            sets.extend(counters.map(|counters| CounterSet { key: key.clone(), counters }));
        }
        sets
    }

    fn first(&mut self, directory: Directory, key: &str, device: Option<&Arc<Device>>) -> Vec<Counter> {
        // To look for network interfaces costs more than all the rest.
        let networked = device.is_none_or(|device| !device.network.is_empty());
        let totals = Totals::open(directory, networked);
        let counters = totals.now().unwrap_or_default();
        self.0.remove(key);
        if let Some(device) = device
            && self.0.len() < KEPT
        {
            self.0.insert(key.to_owned(), (Arc::clone(device), totals));
        }
        counters
    }
}

/// Where the totals of one device stand.
#[derive(Debug)]
struct Totals {
    requests: Option<File>,
    active: Option<File>,
    connected: Option<File>,
    wakeups: Option<File>,
    /// The device's own, where network interfaces may be in it.
    interfaces: Option<Directory>,
}

impl Totals {
    fn open(device: Directory, networked: bool) -> Self {
        let power = device.sub("power");
        let power = |name| power.as_ref()?.file(name);
        Self {
            requests: device.file("urbnum"),
            active: power("active_duration"),
            connected: power("connected_duration"),
            wakeups: power("wakeup_count"),
            interfaces: networked.then_some(device),
        }
    }

    /// As they are at this moment; none: the device has left.
    fn now(&self) -> Option<Vec<Counter>> {
        let mut counters = Vec::new();
        let mut add = |name: &str, total: Option<u64>, unit: &str| {
            // Past 2^53 the figure loses its last digits: no counter of ours gets there in a lifetime.
            #[allow(clippy::cast_precision_loss)]
            counters.extend(total.map(|n| Counter { name: name.to_owned(), total: n as f64, unit: unit.to_owned() }));
        };
        let number = |file: &Option<File>| file.as_ref()?.number();
        let [received, sent] = self.interfaces.as_ref().map(carried).unwrap_or_default();
        add("net.received", received, "bytes");
        add("net.sent", sent, "bytes");
        let (active, connected) = (number(&self.active), number(&self.connected));
        add("power.active", active, "ms");
        add("power.connected", connected, "ms");
        add("power.suspended", active.zip(connected).map(|(active, connected)| connected.saturating_sub(active)), "ms");
        add("power.wakeups", number(&self.wakeups), "wakeups");
        let requests = number(&self.requests);
        if self.requests.is_some() && requests.is_none() {
            return None;
        }
        add("urbs", requests, "urbs");
        Some(counters)
    }
}

/// Bytes received and sent by the network interfaces of a device.
fn carried(device: &Directory) -> [Option<u64>; 2] {
    let mut totals = [None::<u64>; 2];
    let entries = device.listed().map(|listed| listed.entries());
    for interface in entries.iter().flatten().filter(|entry| key::interface(&entry.name).is_some()) {
        let Some(net) = device.sub(&interface.name).and_then(|interface| interface.sub("net")) else { continue };
        for statistics in net.entries().iter().filter_map(|entry| net.sub(&entry.name)?.sub("statistics")) {
            for (total, name) in totals.iter_mut().zip(["rx_bytes", "tx_bytes"]) {
                if let Some(bytes) = statistics.number::<u64>(name) {
                    *total = Some(total.unwrap_or(0).saturating_add(bytes));
                }
            }
        }
    }
    totals
}

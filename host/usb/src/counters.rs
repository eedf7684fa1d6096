//! Running totals that the kernel keeps, for statistics. Cheap: a handful of small files, no node.

use crate::{
    facts::{Counter, CounterSet},
    key,
    reader::Reader,
    tree::Directory,
};

impl Reader {
    /// The totals of the devices that are there; those that are not are left out.
    #[must_use]
    pub fn counters(&self, keys: &[String]) -> Vec<CounterSet> {
        self.counters_of(keys, &|_| true)
    }

    /// The same, where it is known which devices may have network interfaces: to look for them costs more than all the rest.
    pub(crate) fn counters_of(&self, keys: &[String], networked: &dyn Fn(&str) -> bool) -> Vec<CounterSet> {
        let of = |(key, directory): (&String, Directory)| CounterSet {
            key: key.clone(),
            counters: counters(&directory, networked(key)),
        };
        self.directories(keys).into_iter().map(of).collect()
    }
}

fn counters(device: &Directory, networked: bool) -> Vec<Counter> {
    let mut counters = Vec::new();
    let mut add = |name: &str, total: Option<u64>, unit: &str| {
        // Past 2^53 the figure loses its last digits: no counter of ours gets there in a lifetime.
        #[allow(clippy::cast_precision_loss)]
        counters.extend(total.map(|n| Counter { name: name.to_owned(), total: n as f64, unit: unit.to_owned() }));
    };
    add("urbs", device.number("urbnum"), "urbs");
    if let Some(power) = device.sub("power") {
        let active: Option<u64> = power.number("active_duration");
        let connected: Option<u64> = power.number("connected_duration");
        add("power.active", active, "ms");
        add("power.connected", connected, "ms");
        add("power.suspended", active.zip(connected).map(|(active, connected)| connected.saturating_sub(active)), "ms");
        add("power.wakeups", power.number("wakeup_count"), "wakeups");
    }
    let [mut received, mut sent] = [None::<u64>; 2];
    let entries = if networked { device.listed().map(|listed| listed.entries()) } else { None };
    for interface in entries.iter().flatten().filter(|entry| key::interface(&entry.name).is_some()) {
        let Some(net) = device.sub(&interface.name).and_then(|interface| interface.sub("net")) else { continue };
        for statistics in net.entries().iter().filter_map(|entry| net.sub(&entry.name)?.sub("statistics")) {
            for (total, name) in [(&mut received, "rx_bytes"), (&mut sent, "tx_bytes")] {
                if let Some(bytes) = statistics.number::<u64>(name) {
                    *total = Some(total.unwrap_or(0).saturating_add(bytes));
                }
            }
        }
    }
    add("net.received", received, "bytes");
    add("net.sent", sent, "bytes");
    counters.sort_by(|a, b| a.name.cmp(&b.name));
    counters
}

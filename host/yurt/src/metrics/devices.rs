//! What is offered, and the kernel's totals of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use yurt_nomad::device::Health;
use yurt_usb::facts::{CounterSet, Device};

use super::form::{begin, joined};
use crate::offer::Offers;

/// A label set and a value.
type Samples = Vec<(String, f64)>;

/// Of this moment. Reads the counters now.
pub(super) fn text(offers: &Offers) -> String {
    let current = offers.current.borrow().clone();
    let snapshot = offers.watcher.snapshots().borrow().clone();
    let keys: Vec<String> = current.offer.instances.values().flat_map(|one| one.instance.members.clone()).collect();
    let counters = offers.watcher.counters(&keys);

    let mut healthy: Samples = Vec::new();
    let [mut info, mut link, mut replugs] = [Samples::new(), Samples::new(), Samples::new()];
    let mut totals: BTreeMap<String, Samples> = BTreeMap::new();
    for group in &current.offer.groups {
        let name = format!("{}/{}/{}", group.vendor, group.kind, group.name);
        for instance in &group.instances {
            let well = matches!(instance.health, Health::Healthy { .. });
            healthy.push((joined(&[("group", &name), ("id", &instance.id)]), f64::from(u8::from(well))));
            let members = current.offer.instances.get(&instance.id).into_iter().flat_map(|one| &one.members);
            for device in members.filter_map(|member| snapshot.device(&member.key)) {
                let labels = joined(&[("id", &instance.id), ("port", &device.key)]);
                info.push((format!("{labels},{}", ids(device)), 1.0));
                link.push((labels.clone(), f64::from(device.link.mbit)));
                replugs.push((labels.clone(), f64::from(device.life.replugs)));
                for (name, total) in counters.iter().filter(|set| set.key == device.key).flat_map(figures) {
                    totals.entry(name).or_default().push((labels.clone(), total));
                }
            }
        }
    }

    let mut text = String::new();
    let plugged = vec![(String::new(), f64::from(u32::try_from(snapshot.devices.len()).unwrap_or(u32::MAX)))];
    let looks = vec![(String::new(), f64::from(snapshot.number))];
    for (name, kind, help, samples) in [
        ("yurt_usb_plugged", "gauge", "USB devices of this machine, hubs included.", &plugged),
        ("yurt_usb_snapshots_total", "counter", "Times that something came, went or changed.", &looks),
        ("yurt_usb_device_healthy", "gauge", "1 for an instance that a task can be given.", &healthy),
        ("yurt_usb_device_info", "gauge", "1 for each device that is offered.", &info),
        ("yurt_usb_device_link_megabits", "gauge", "Negotiated, per second.", &link),
        ("yurt_usb_device_replugs_total", "counter", "Times that it was plugged in again.", &replugs),
    ] {
        write(&mut text, name, kind, help, samples);
    }
    for (name, samples) in &totals {
        write(&mut text, name, "counter", "The kernel's total since it was plugged in.", samples);
    }
    text
}

fn ids(device: &Device) -> String {
    let (vendor, product) = (format!("{:#06x}", device.vendor_id), format!("{:#06x}", device.product_id));
    joined(&[("vendor_id", &vendor), ("product_id", &product)])
}

/// Counters under names by the format's customs: base units, and `_total` at the end.
fn figures(set: &CounterSet) -> impl Iterator<Item = (String, f64)> + '_ {
    set.counters.iter().map(|counter| {
        let name: String = counter
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .collect();
        let (unit, total) = match counter.unit.as_str() {
            "ms" => ("_seconds", counter.total / 1000.0),
            "bytes" => ("_bytes", counter.total),
            _ => ("", counter.total),
        };
        (format!("yurt_usb_device_{name}{unit}_total"), total)
    })
}

fn write(text: &mut String, name: &str, kind: &str, help: &str, samples: &Samples) {
    begin(text, name, kind, help);
    for (labels, value) in samples {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

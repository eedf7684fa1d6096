//! Numbers for people: the kernel's running totals of a device, named and explained.

use std::collections::BTreeMap;

use yurt_sdk::Value;
use yurt_sdk::facts::{Counter, CounterSet};
use yurt_sdk::offer::{Figure, Instance, InstanceStats};

/// What the well-known totals mean; others are shown with the name that the host gave them.
const MEANINGS: [(&str, &str); 5] = [
    ("urbs", "Requests to the device since it was plugged in"),
    ("power.active", "Time that it was awake, of the time connected"),
    ("power.connected", "Time since it was plugged in"),
    ("power.suspended", "Time that it was asleep, of the time connected"),
    ("power.wakeups", "Times that it woke the machine"),
];

/// The figures of all instances; those without totals for any of their members are left out.
pub(crate) fn all(offered: &[Instance], counters: &[CounterSet]) -> Vec<InstanceStats> {
    let by_key: BTreeMap<&str, &[Counter]> = counters.iter().map(|set| (&*set.key, &*set.counters)).collect();
    let of = |instance: &Instance| of(instance, |key| by_key.get(key).copied().unwrap_or_default());
    offered.iter().filter_map(of).collect()
}

fn of<'c>(instance: &Instance, counters: impl Fn(&str) -> &'c [Counter]) -> Option<InstanceStats> {
    let mut totals: Vec<Counter> = Vec::new();
    for counter in instance.members.iter().flat_map(|member| counters(member)) {
        match totals.iter_mut().find(|total| total.name == counter.name) {
            Some(total) => total.total += counter.total,
            None => totals.push(counter.clone()),
        }
    }
    let summary = ["urbs", "power.connected"].iter().find_map(|name| totals.iter().find(|total| total.name == *name));
    let summary = figure(summary.or(totals.first())?, &totals);
    let figures = totals.iter().map(|total| figure(total, &totals)).collect();
    Some(InstanceStats { id: instance.id.clone(), summary, figures })
}

fn figure(counter: &Counter, all: &[Counter]) -> Figure {
    let whole = all.iter().find(|other| other.name == "power.connected").map(|connected| connected.total);
    let is_share = matches!(counter.name.as_str(), "power.active" | "power.suspended");
    Figure {
        path: counter.name.clone(),
        value: total(counter.total),
        out_of: whole.filter(|_| is_share),
        unit: counter.unit.clone(),
        description: MEANINGS
            .iter()
            .find(|(name, _)| *name == counter.name)
            .map_or(&*counter.name, |(_, text)| *text)
            .to_owned(),
    }
}

/// Whole totals as whole numbers, which read better; they are exact up to 2^53.
#[allow(clippy::cast_possible_truncation)]
fn total(total: f64) -> Value {
    let whole = total as i64;
    if whole as f64 == total { Value::Integer(whole) } else { Value::Number(total) }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;

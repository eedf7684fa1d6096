//! Yurt's default USB policy: which devices are offered, how they are grouped and named, whether they are well, and what a task gets.
//!
//! It is a pure function of the facts that the host read and of the operator's configuration; see `rules.rs` for what is offered,
//! `names.rs` for the groups, `units.rs` and `ids.rs` for the instances, `health.rs`, `attributes.rs`, `reserve.rs` and `stats.rs` for the rest.

mod attributes;
mod classes;
mod config;
mod flapping;
mod glob;
mod health;
mod ids;
mod names;
mod reserve;
mod rules;
mod stats;
mod units;

use serde::{Deserialize, Serialize};
use yurt_sdk::facts::{CounterSet, Snapshot, UsbDevice};
use yurt_sdk::offer::{DeviceGroup, GroupName, Instance, InstanceStats, Reservation};
use yurt_sdk::{Description, Diagnostic, Offer, UsbPolicy};

pub use config::Config;
use flapping::Flapping;
use rules::Rule;

/// Rules that are remembered to have been said idle.
const IDLE: usize = 256;

/// The default policy.
pub struct DefaultPolicy;

/// What is remembered from one offer to the next, over restarts and swaps: ids and names that were given, so that they stay put
/// when a second device comes that could claim them. Bounded (see [`ids::REMEMBERED`] and [`names::REMEMBERED`]).
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    #[serde(default)]
    ids: Vec<ids::Given>,
    #[serde(default)]
    names: Vec<names::Given>,
    /// Check sums of rules that were said to decide about nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    idle: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flapping: Vec<flapping::Seen>,
}

impl UsbPolicy for DefaultPolicy {
    type Config = Config;
    type Memory = Memory;

    fn describe() -> Description {
        Description {
            name: "usb".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Offers USB devices by rules, under stable ids.".into(),
            config_spec: include_str!("config.hcldec").into(),
        }
    }

    fn check_config(config: &Config) -> Vec<Diagnostic> {
        config.check().1
    }

    fn group(config: &Config, facts: &Snapshot, memory: Option<Memory>) -> Result<Offer<Memory>, String> {
        let settings = config.check().0;
        let memory = memory.unwrap_or_default();

        let (units, used) = units::of(&settings.rules, facts);
        let idle = say_idle(settings.rules.get(..config.rules()).unwrap_or_default(), &used, memory.idle);
        let leads: Vec<(&UsbDevice, &Rule)> = units.iter().map(|unit| (unit.lead, unit.rule)).collect();
        let (ids, given_ids) = ids::assign(&leads, memory.ids);
        let (names, given_names) = names::assign(&leads, &settings.rules, memory.names);
        let flapping = Flapping::seen(&settings.rules, facts, memory.flapping);

        let mut groups: Vec<Gathered> = Vec::new();
        for ((unit, id), name) in units.iter().zip(ids).zip(names) {
            let at = groups.iter().position(|group| group.name == name).unwrap_or(groups.len());
            if at == groups.len() {
                groups.push(Gathered { name, devices: Vec::new(), rules: Vec::new(), instances: Vec::new() });
            }
            let Some(group) = groups.get_mut(at) else { continue };
            for (device, rule) in &unit.members {
                group.devices.push(device);
                group.rules.push(rule);
            }
            group.instances.extend(unit.instances(id, &flapping));
        }
        Ok(Offer {
            groups: groups.into_iter().map(Gathered::finish).collect(),
            memory: Some(Memory { ids: given_ids, names: given_names, idle, flapping: flapping.into_memory() }),
            ask_again_milliseconds: Some(settings.period_milliseconds),
        })
    }

    fn reserve(
        config: &Config,
        facts: &Snapshot,
        group: &GroupName,
        reserved: &[Instance],
    ) -> Result<Reservation, String> {
        reserve::reserve(&config.check().0.rules, facts, group, reserved)
    }

    fn stats(_: &Config, counters: &[CounterSet], offered: &[Instance]) -> Result<Vec<InstanceStats>, String> {
        Ok(stats::all(offered, counters))
    }
}

/// Says once of a rule that it decides about no device: a typing error that no check can see, or a device that is not there yet.
fn say_idle(rules: &[Rule], used: &[bool], mut said: Vec<u32>) -> Vec<u32> {
    // Every offer comes this way, and hardly ever with something to say.
    if said.is_empty() && used.iter().take(rules.len()).all(|used| *used) {
        return said;
    }
    let sums: Vec<u32> = rules.iter().map(|rule| ids::check_sum(&format!("{rule:?}"))).collect();
    said.retain(|sum| sums.contains(sum));
    for (place, (sum, used)) in sums.iter().zip(used).enumerate() {
        if !used && !said.contains(sum) && said.len() < IDLE {
            yurt_sdk::info!("rule[{place}] decides about no device that is here");
            said.push(*sum);
        }
    }
    said
}

/// A group while its members are being found.
struct Gathered<'a> {
    name: GroupName,
    devices: Vec<&'a UsbDevice>,
    rules: Vec<&'a Rule>,
    instances: Vec<Instance>,
}

impl Gathered<'_> {
    fn finish(self) -> DeviceGroup {
        let attributes = attributes::of(&self.devices, &self.rules, &self.instances);
        DeviceGroup { name: self.name, attributes, instances: self.instances }
    }
}

yurt_sdk::usb_policy!(DefaultPolicy);

//! Devices that come and go and come: a bad cable, too little power. One that did so [`CHANGES`] times without a minute of rest in
//! between is not offered as healthy before it has rested that long.

use serde::{Deserialize, Serialize};
use yurt_sdk::facts::{Presence, Snapshot, UsbDevice};

use crate::rules::Rule;

/// Comings and goings from which on a device flaps: three of each.
const CHANGES: u32 = 6;
/// How long a device must stay to count as calm.
const CALM_MILLISECONDS: u32 = 60_000;
/// How many ports are remembered.
const REMEMBERED: usize = 200;

/// What one port did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    #[serde(rename = "k")]
    port: String,
    /// Of the facts, when it was looked at last.
    #[serde(rename = "g")]
    generation: u32,
    /// Changes since it was calm.
    #[serde(rename = "c")]
    changes: u32,
}

/// What all ports did.
pub(crate) struct Flapping(Vec<Seen>);

impl Flapping {
    /// What was remembered, and what is new in these facts. Ports are only watched if a rule cares.
    pub(crate) fn seen(rules: &[Rule], facts: &Snapshot, memory: Vec<Seen>) -> Flapping {
        let mut all: Vec<Seen> = Vec::new();
        if !rules.iter().any(|rule| rule.unhealthy_if.flapping) {
            return Flapping(all);
        }
        for device in facts.devices.iter().filter(|device| !device.is_hub) {
            let life = &device.life;
            let before = memory.iter().find(|seen| seen.port == device.key);
            // A plugin that lost its history counts from the beginning again.
            let new = before.map_or(0, |seen| life.generation.saturating_sub(seen.generation));
            let calm = life.presence == Presence::Present && life.for_milliseconds >= CALM_MILLISECONDS;
            let changes = if calm { 0 } else { before.map_or(0, |seen| seen.changes).saturating_add(new) };
            all.push(Seen { port: device.key.clone(), generation: life.generation, changes });
        }
        // What is not there now may be on its way back.
        let gone = memory.into_iter().filter(|seen| !facts.devices.iter().any(|device| device.key == seen.port));
        all.extend(gone);
        all.truncate(REMEMBERED);
        Flapping(all)
    }

    /// Why a device cannot be relied on, if its rule asks.
    pub(crate) fn reason(&self, device: &UsbDevice, rule: &Rule) -> Option<String> {
        let seen = self.0.iter().find(|seen| rule.unhealthy_if.flapping && seen.port == device.key)?;
        let text = "flapping: it came and went again and again, and has to stay for a minute";
        (seen.changes >= CHANGES).then(|| text.to_owned())
    }

    pub(crate) fn into_memory(self) -> Vec<Seen> {
        self.0
    }
}

#[cfg(test)]
#[path = "flapping_tests.rs"]
mod tests;

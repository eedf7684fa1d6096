//! What makes one instance: a device by itself, or all that rules with `as_one` find below one hub – a fixture, a dock, a board with a
//! hub of its own.

use yurt_sdk::facts::{Snapshot, UsbDevice};
use yurt_sdk::offer::{Health, Instance};

use crate::flapping::Flapping;
use crate::health;
use crate::rules::{self, Action, Rule};

/// Devices that are offered as one.
pub(crate) struct Unit<'a> {
    /// Whom it is named after: the device, or the hub.
    pub(crate) lead: &'a UsbDevice,
    /// The first rule that offers one of the members; it speaks for all.
    pub(crate) rule: &'a Rule,
    place: usize,
    /// By key, each with the rule that offers it.
    pub(crate) members: Vec<(&'a UsbDevice, &'a Rule)>,
}

/// The units of a snapshot by their leads' keys, whatever order the devices came in; and which rules decided about any device.
pub(crate) fn of<'a>(rules: &'a [Rule], facts: &'a Snapshot) -> (Vec<Unit<'a>>, Vec<bool>) {
    let mut used = vec![false; rules.len()];
    let mut units: Vec<Unit> = Vec::new();
    for device in &facts.devices {
        let Some(place) = rules::deciding(rules, device, facts) else { continue };
        used.get_mut(place).into_iter().for_each(|used| *used = true);
        let Some(rule) = rules.get(place).filter(|rule| rule.action == Action::Allow) else { continue };
        // A hub that is offered itself leads its unit, too: whoever has the hub has what hangs from it.
        let lead = if rule.as_one { rule.hub_of(device, facts).unwrap_or(device) } else { device };
        let at = units.partition_point(|unit| unit.lead.key < lead.key);
        match units.get_mut(at).filter(|unit| unit.lead.key == lead.key) {
            Some(unit) => unit.join(device, rule, place),
            None => units.insert(at, Unit { lead, rule, place, members: vec![(device, rule)] }),
        }
    }
    (units, used)
}

impl<'a> Unit<'a> {
    fn join(&mut self, device: &'a UsbDevice, rule: &'a Rule, place: usize) {
        let at = self.members.partition_point(|(other, _)| other.key < device.key);
        self.members.insert(at, (device, rule));
        if place < self.place {
            (self.rule, self.place) = (rule, place);
        }
    }

    /// One instance, or as many as tasks may share it.
    pub(crate) fn instances(&self, id: String, flapping: &Flapping) -> Vec<Instance> {
        let members: Vec<String> = self.members.iter().map(|(device, _)| device.key.clone()).collect();
        let health = self.health(flapping);
        match self.rule.shares {
            None => vec![Instance { id, members, share: None, health }],
            Some(shares) => (1..=shares)
                .map(|number| Instance {
                    id: format!("{id}.share-{number}"),
                    members: members.clone(),
                    share: Some(id.clone()),
                    health: health.clone(),
                })
                .collect(),
        }
    }

    /// The first reason of the first member that has one; of a fixture, which member it is.
    fn health(&self, flapping: &Flapping) -> Health {
        let found = self.members.iter().find_map(|(device, rule)| {
            let reason = health::reason(device, rule).or_else(|| flapping.reason(device, rule))?;
            Some(if self.members.len() > 1 { format!("{}: {reason}", device.key) } else { reason })
        });
        let incomplete = || {
            let (here, wanted) = (self.members.len(), self.rule.members?);
            (here < wanted).then(|| format!("incomplete: {here} of {wanted} devices are below {}", self.lead.key))
        };
        found.or_else(incomplete).map_or(Health::Healthy, Health::Unhealthy)
    }
}

#[cfg(test)]
#[path = "units_tests.rs"]
mod tests;

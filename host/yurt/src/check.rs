//! What the host holds a policy's offer against before Nomad sees it: the facts that it read itself, the operator's
//! grants, then Nomad's own rules. A guest can be wrong; it cannot widen.

use std::collections::{BTreeMap, BTreeSet};

use yurt_guest::usb as wit;
use yurt_nomad::device::{Group, Health, Instance, Refusal, validate};
use yurt_usb::facts::{Device, Presence, Snapshot};

use crate::convert;

/// What a policy may offer and hand out beyond the usual: the operator's `grants { … }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Grants {
    /// One device in several instances, and so in several tasks.
    pub(crate) sharing: bool,
    /// The machine's own hubs: whoever has one can reset the bus.
    pub(crate) root_hubs: bool,
    /// Disks that this machine has mounted, swaps to or has in a volume.
    pub(crate) mounted_disks: bool,
}

impl Grants {
    /// Everything: where no operator is asked, as for an author's cases.
    pub(crate) const ALL: Grants = Grants { sharing: true, root_hubs: true, mounted_disks: true };
}

/// Kinds (Nomad's device types) that need no grant.
const KINDS: &[&str] = &["usb"];

/// An offer that may be sent, with what a reservation will need to know of each instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    /// As Nomad gets them: checked, merged, sorted.
    pub(crate) groups: Vec<Group>,
    /// By id; only instances that stand in `groups`.
    pub(crate) instances: BTreeMap<String, Offered>,
}

/// One instance as it was offered.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) group: wit::GroupName,
    pub(crate) instance: wit::Instance,
    /// Of each member, in the instance's order.
    pub(crate) members: Vec<Identity>,
}

/// What must still hold for a device to be the one that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) key: String,
    generation: u32,
    vendor_id: u16,
    product_id: u16,
    serial: Option<String>,
}

impl Identity {
    fn of(device: &Device) -> Identity {
        Identity {
            key: device.key.clone(),
            generation: device.life.generation,
            vendor_id: device.vendor_id,
            product_id: device.product_id,
            serial: device.serial.as_ref().map(|label| label.text.clone()),
        }
    }

    /// The same device is still there.
    pub(crate) fn holds_in(&self, snapshot: &Snapshot) -> bool {
        snapshot
            .device(&self.key)
            .is_some_and(|device| device.life.presence != Presence::Absent && Identity::of(device) == *self)
    }
}

/// Holds an answer against the facts it was given. What is refused is named; the rest is offered.
pub(crate) fn offer(answer: &wit::Offer, snapshot: &Snapshot, grants: Grants) -> (Offer, Vec<Refusal>) {
    let mut refused = Vec::new();
    let mut taken = BTreeMap::new();
    let mut instances = BTreeMap::new();
    let mut groups = Vec::new();
    for group in &answer.groups {
        let label = format!("{}/{}/{}", group.name.vendor, group.name.kind, group.name.name);
        if !KINDS.contains(&group.name.kind.as_str()) {
            let reason = format!("the kind {:?} is not granted (granted: {})", group.name.kind, KINDS.join(", "));
            refused.push(Refusal { group: label, reason });
            continue;
        }
        let mut kept = Vec::new();
        for instance in &group.instances {
            match members(instance, snapshot, grants, &mut taken) {
                Ok(members) => {
                    kept.push(Instance {
                        id: instance.id.clone(),
                        health: health(&instance.health),
                        pci_bus_id: members
                            .first()
                            .and_then(|first| snapshot.device(&first.key)?.place.controller.clone()),
                    });
                    let offered = Offered { group: group.name.clone(), instance: instance.clone(), members };
                    instances.insert(instance.id.clone(), offered);
                }
                Err(reason) => {
                    refused.push(Refusal {
                        group: label.clone(),
                        reason: format!("instance {:?}: {reason}", instance.id),
                    });
                }
            }
        }
        groups.push(Group {
            vendor: group.name.vendor.clone(),
            kind: group.name.kind.clone(),
            name: group.name.name.clone(),
            attributes: convert::attributes(&group.attributes),
            instances: kept,
        });
    }
    let checked = validate(groups);
    refused.extend(checked.refused);
    let sent: BTreeSet<&str> =
        checked.groups.iter().flat_map(|group| &group.instances).map(|i| i.id.as_str()).collect();
    instances.retain(|id, _| sent.contains(id.as_str()));
    (Offer { groups: checked.groups, instances }, refused)
}

/// `taken`: devices that stand in an instance already, with its share.
fn members(
    instance: &wit::Instance,
    snapshot: &Snapshot,
    grants: Grants,
    taken: &mut BTreeMap<String, Option<String>>,
) -> Result<Vec<Identity>, String> {
    if let Some(share) = instance.share.as_ref().filter(|_| !grants.sharing) {
        return Err(format!("sharing a device (share {share:?}) takes yurt {{ grants {{ sharing = true }} }}"));
    }
    if instance.members.is_empty() {
        return Err("stands for no device".to_owned());
    }
    let mut members = Vec::with_capacity(instance.members.len());
    for key in &instance.members {
        let device = snapshot.device(key).ok_or_else(|| format!("no device {key:?} is in the facts"))?;
        let shared = |other: &Option<String>| other.is_some() && *other == instance.share;
        if taken.get(key).is_some_and(|other| !shared(other)) || members.iter().any(|m: &Identity| m.key == *key) {
            return Err(format!("device {key:?} stands in another instance already"));
        }
        if device.is_hub && device.parent.is_none() && !grants.root_hubs {
            return Err(format!("the root hub {key:?} takes yurt {{ grants {{ root_hubs = true }} }}"));
        }
        members.push(Identity::of(device));
    }
    taken.extend(instance.members.iter().map(|key| (key.clone(), instance.share.clone())));
    Ok(members)
}

fn health(from: &wit::Health) -> Health {
    match from {
        wit::Health::Healthy => Health::Healthy { note: String::new() },
        wit::Health::Unhealthy(reason) => Health::Unhealthy { reason: reason.clone() },
    }
}

/// Says something of all instances that are healthy.
pub(crate) fn note(offer: &mut Offer, what: &str) {
    for instance in offer.groups.iter_mut().flat_map(|group| &mut group.instances) {
        if let Health::Healthy { note } = &mut instance.health {
            what.clone_into(note);
        }
    }
}

/// The last offer while the policy fails: it stands, says so, and no longer vouches for devices that went away.
pub(crate) fn standing(offer: &Offer, snapshot: &Snapshot, why: &str) -> Offer {
    let mut standing = offer.clone();
    for group in &mut standing.groups {
        for instance in &mut group.instances {
            let there = offer
                .instances
                .get(&instance.id)
                .is_some_and(|offered| offered.members.iter().all(|member| member.holds_in(snapshot)));
            instance.health = match (&instance.health, there) {
                (_, false) => Health::Unhealthy { reason: format!("unplugged; {why}") },
                (Health::Healthy { .. }, true) => Health::Healthy { note: why.to_owned() },
                (Health::Unhealthy { reason }, true) => Health::Unhealthy { reason: reason.clone() },
            };
        }
    }
    // The number of healthy instances is part of a group: count anew.
    standing.groups = validate(standing.groups).groups;
    standing
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

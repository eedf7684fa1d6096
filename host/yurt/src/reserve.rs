//! Ids → reservation: what a task gets for the instances that Nomad picked.
//!
//! The policy names nodes by member and place and environment by source; paths, permissions and names are made here and
//! held against the facts. Nodes that are not a member's cannot be named at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use yurt_guest::{GuestError, UsbPolicy, usb as wit};
use yurt_nomad::device::{DeviceNode, PluginError, Reservation};
use yurt_usb::facts::Snapshot;

use crate::check::{self, Offer, Offered};
use crate::convert;
use crate::device_side::DeviceSide;
use crate::exchange::Side as _;
use crate::guest_call::blocking;
use crate::offer::{Current, Offers};

/// A fresh process may be asked before its first answer; it waits this long for one.
const FIRST_OFFER: Duration = Duration::from_secs(10);
/// Prefix of the environment names that need no grant.
const ENV_PREFIX: &str = "YURT_";
/// Longest environment value, in bytes.
const ENV_VALUE_MAX: usize = 32 * 1024;

/// What is reserved, and what a policy is told about it.
pub(crate) struct Asked {
    group: wit::GroupName,
    facts: wit::Snapshot,
    offered: Vec<Offered>,
    instances: Vec<wit::Instance>,
}

impl Asked {
    /// The same ids as another offer about the same facts has them; none: not all of them stand in it, or for other devices.
    pub(crate) fn in_offer(&self, offer: &Offer) -> Option<Asked> {
        let offered: Vec<Offered> =
            self.instances.iter().map(|one| offer.instances.get(&one.id).cloned()).collect::<Option<_>>()?;
        let known = |key: &String| self.facts.devices.iter().any(|device| device.key == *key);
        let same = offered.iter().all(|one| one.instance.members.iter().all(known));
        let group = offered.first()?.group.clone();
        let instances = offered.iter().map(|one| one.instance.clone()).collect();
        same.then(|| Asked { group, facts: self.facts.clone(), offered, instances })
    }

    /// For people.
    pub(crate) fn ids(&self) -> String {
        self.instances.iter().map(|instance| instance.id.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Answers one Reserve call. If the policy fails and the one before it takes over again, that one's offer is waited for and counts.
pub(crate) async fn reserve(side: &DeviceSide, offers: &Offers, ids: &[String]) -> Result<Reservation, PluginError> {
    if ids.is_empty() {
        return Ok(Reservation::default());
    }
    let mut over = 0;
    loop {
        let current = an_offer(offers, over).await?;
        let snapshot = offers.watcher.snapshots().borrow().clone();
        let asked = Arc::new(of_ids(&current.offer, &snapshot, ids)?);
        side.heard_reservation(&asked);
        let serving = Arc::clone(&current.turn.serving);
        let answer = blocking(move || decide(&serving.guest.policy, &serving.config, &asked)).await?;
        match answer {
            Ok(Ok(reservation)) => return Ok(reservation),
            Ok(Err(why)) => return Err(why),
            Err(why) if over == 0 && side.turns().failed(&current.turn, &why) => over = current.turn.number,
            Err(why) => return Err(PluginError::internal(why.to_string())),
        }
    }
}

/// Asks a policy and makes paths and texts of its answer. The inner error is for Nomad.
pub(crate) fn decide(
    policy: &UsbPolicy,
    config: &str,
    asked: &Asked,
) -> Result<Result<Reservation, PluginError>, GuestError> {
    Ok(match policy.reserve(config, &asked.facts, &asked.group, &asked.instances)? {
        Ok(answer) => check(&answer, &asked.facts, &asked.offered).map_err(PluginError::internal),
        Err(why) => Err(PluginError::failed_precondition(format!("the policy refuses: {why}"))),
    })
}

fn of_ids(offer: &Offer, snapshot: &Snapshot, ids: &[String]) -> Result<Asked, PluginError> {
    let offered = pick(offer, snapshot, ids)?;
    let group = offered.first().map(|first| first.group.clone()).ok_or_else(|| PluginError::internal("no instance"))?;
    let facts = wit::Snapshot {
        number: snapshot.number,
        devices: relevant(snapshot, &offered),
        trouble: snapshot.trouble.clone(),
    };
    let instances = offered.iter().map(|one| one.instance.clone()).collect();
    Ok(Asked { group, facts, offered, instances })
}

/// The newest offer that is not of the turn `over`.
async fn an_offer(offers: &Offers, over: u64) -> Result<Arc<Current>, PluginError> {
    let mut current = offers.current.clone();
    let fits = |current: &Arc<Current>| current.number > 0 && current.turn.number != over;
    let waited = tokio::time::timeout(FIRST_OFFER, current.wait_for(fits)).await;
    match waited {
        Ok(Ok(current)) => Ok(Arc::clone(&current)),
        _ => Err(PluginError::deadline_exceeded("no device was offered yet by this process; try again")),
    }
}

/// The instances by id, all of one group, each still the device that was offered.
fn pick(offer: &Offer, snapshot: &Snapshot, ids: &[String]) -> Result<Vec<Offered>, PluginError> {
    let mut picked: Vec<Offered> = Vec::with_capacity(ids.len());
    for id in ids {
        let offered =
            offer.instances.get(id).ok_or_else(|| PluginError::not_found(format!("no device {id:?} is offered")))?;
        if let Some(gone) = offered.members.iter().find(|member| !member.holds_in(snapshot)) {
            return Err(PluginError::failed_precondition(format!(
                "device {id:?} was unplugged or replaced at port {} since it was offered",
                gone.key
            )));
        }
        if picked.iter().any(|other| other.instance.id == *id) {
            return Err(PluginError::invalid_argument(format!("device {id:?} is asked for twice")));
        }
        if let Some(other) = picked.first().filter(|other| other.group != offered.group) {
            return Err(PluginError::invalid_argument(format!(
                "devices {:?} and {id:?} are not of one group: reserve each group by itself",
                other.instance.id
            )));
        }
        picked.push(offered.clone());
    }
    Ok(picked)
}

/// The members and every hub above them, in the snapshot's order.
pub(crate) fn relevant(snapshot: &Snapshot, offered: &[Offered]) -> Vec<wit::UsbDevice> {
    let mut keys = std::collections::BTreeSet::new();
    for member in offered.iter().flat_map(|one| &one.members) {
        let mut next = Some(member.key.clone());
        while let Some(key) = next {
            next = check::find(snapshot, &key).and_then(|device| device.parent.clone());
            if !keys.insert(key) {
                break;
            }
        }
    }
    keys.iter().filter_map(|key| check::find(snapshot, key)).map(convert::usb_device).collect()
}

/// Turns the policy's answer into paths and texts; whatever is more than it may say is refused by name.
pub(crate) fn check(
    answer: &wit::Reservation,
    facts: &wit::Snapshot,
    offered: &[Offered],
) -> Result<Reservation, String> {
    if let Some(mount) = answer.mounts.first() {
        return Err(format!(
            "the policy asks for a mount for {:?}: node directories are not granted",
            mount.instance_id
        ));
    }
    let mut devices = Vec::with_capacity(answer.nodes.len());
    for grant in &answer.nodes {
        devices.push(node(grant, facts, offered)?);
    }
    let mut envs = BTreeMap::new();
    for env in &answer.env {
        let name = &env.name;
        if !name.starts_with(ENV_PREFIX) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!(
                "the policy sets {name:?}: names begin with {ENV_PREFIX} and hold only letters, digits and _"
            ));
        }
        let value = match &env.value {
            wit::EnvValue::Text(text) => text.clone(),
            wit::EnvValue::NodePath(at) => usize::try_from(*at)
                .ok()
                .and_then(|at| devices.get(at))
                .map(|device| device.task_path.clone())
                .ok_or_else(|| format!("the policy sets {name} to the path of node {at}, which it does not grant"))?,
            wit::EnvValue::MountPath(at) => {
                return Err(format!("the policy sets {name} to the path of mount {at}, which it does not grant"));
            }
        };
        if value.len() > ENV_VALUE_MAX || value.contains('\0') {
            return Err(format!("the policy sets {name} to a value that no environment can hold"));
        }
        if nomad_would_expand(&value) {
            return Err(format!("the policy sets {name} to a value in which Nomad would expand `${{…}}`"));
        }
        if envs.insert(name.clone(), value).is_some() {
            return Err(format!("the policy sets {name} twice"));
        }
    }
    Ok(Reservation { envs, mounts: Vec::new(), devices })
}

fn node(grant: &wit::NodeGrant, facts: &wit::Snapshot, offered: &[Offered]) -> Result<DeviceNode, String> {
    let member = &grant.member;
    if !offered.iter().any(|one| one.instance.members.contains(member)) {
        return Err(format!("the policy hands out a node of {member:?}, which is not a member of what was reserved"));
    }
    let node = facts
        .devices
        .iter()
        .find(|device| device.key == *member)
        .and_then(|device| device.nodes.get(usize::try_from(grant.node).ok()?))
        .ok_or_else(|| {
            format!("the policy hands out node {} of {member:?}, which has none of that number", grant.node)
        })?;
    let task_path = grant.task_path.clone().unwrap_or_else(|| node.path.clone());
    if !below_dev(&task_path) {
        return Err(format!("the policy puts a node at {task_path:?}: paths in the task lie below /dev"));
    }
    let permissions: String = [(grant.read, 'r'), (grant.write, 'w'), (grant.mknod, 'm')]
        .iter()
        .filter(|(yes, _)| *yes)
        .map(|(_, c)| c)
        .collect();
    if permissions.is_empty() {
        return Err(format!("the policy hands out {} without any permission", node.path));
    }
    Ok(DeviceNode { task_path, host_path: node.path.clone(), permissions })
}

/// An absolute path below `/dev` without `.`/`..`, empty parts or control characters.
fn below_dev(path: &str) -> bool {
    path.len() <= 255
        && path.strip_prefix("/dev/").is_some_and(|rest| {
            rest.split('/')
                .all(|part| !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control))
        })
}

/// Nomad replaces `${name}` in the values of a reservation by node attributes and environment, and knows no escape.
fn nomad_would_expand(value: &str) -> bool {
    value.match_indices("${").any(|(at, _)| {
        let rest = value.get(at + 2..).unwrap_or_default();
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.')).unwrap_or(rest.len());
        end > 0 && rest.get(end..).is_some_and(|tail| tail.starts_with('}'))
    })
}

#[cfg(test)]
#[path = "reserve_tests.rs"]
mod tests;

//! Ids → reservation: what a task gets for the instances that Nomad picked.
//!
//! The policy names nodes by member and place and environment by source; paths, permissions and names are made here and
//! held against the facts. Nodes that are not a member's cannot be named at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use yurt_guest::{GuestError, UsbPolicy, usb as wit};
use yurt_nomad::device::{DeviceNode, Mount, PluginError, Reservation};
use yurt_usb::facts::Snapshot;

use crate::check::{Grants, Offer, Offered};
use crate::convert;
use crate::device_side::{DeviceSide, Serving};
use crate::exchange::Side as _;
use crate::folders::{Folder, Folders, Manifest};
use crate::guest_call::blocking;
use crate::offer::{Current, Offers};

/// A fresh process may be asked before its first answer; it waits this long for one.
const FIRST_OFFER: Duration = Duration::from_secs(10);
/// Prefix of the environment names that need no grant.
const ENV_PREFIX: &str = "YURT_";
/// What one device can turn into.
const MODES_MAX: usize = 64;
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

/// What an answer is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights<'a> {
    pub(crate) grants: Grants,
    /// What the directories of instances stand in; none: there can be no directories.
    pub(crate) folders: Option<&'a str>,
}

/// A reservation, and the directories that it needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checked {
    pub(crate) reservation: Reservation,
    pub(crate) folders: Vec<Folder>,
}

/// Answers one Reserve call. If the policy fails and the one before it takes over again, that one's offer is waited for and counts.
pub(crate) async fn reserve(
    side: &DeviceSide,
    offers: &Arc<Offers>,
    ids: &[String],
) -> Result<Reservation, PluginError> {
    if ids.is_empty() {
        return Ok(Reservation::default());
    }
    let mut over = 0;
    loop {
        let current = an_offer(offers, over).await?;
        let keys: Vec<String> = ids
            .iter()
            .filter_map(|id| current.offer.instances.get(id))
            .flat_map(|one| one.instance.members.clone())
            .collect();
        let watched = Arc::clone(offers);
        let snapshot = blocking(move || {
            let newest = watched.watcher.snapshots().borrow().clone();
            watched.watcher.with_usage(&newest, &keys)
        });
        let snapshot = snapshot.await?;
        let asked = Arc::new(of_ids(&current.offer, &snapshot, ids)?);
        side.heard_reservation(&asked);
        let (serving, offers) = (Arc::clone(&current.turn.serving), Arc::clone(offers));
        match blocking(move || handed_out(&serving, &offers.folders, &asked, &snapshot)).await? {
            Ok(answer) => return answer,
            Err(why) if over == 0 && side.turns().failed(&current.turn, &why) => over = current.turn.number,
            Err(why) => return Err(PluginError::internal(why.to_string())),
        }
    }
}

/// Asks the policy and makes the directories that it wants. Where they cannot be made, devices are handed out without.
fn handed_out(
    serving: &Serving,
    folders: &Folders,
    asked: &Asked,
    snapshot: &Snapshot,
) -> Result<Result<Reservation, PluginError>, GuestError> {
    let ask = |root| {
        let rights = Rights { grants: serving.host.grants, folders: root };
        decide(&serving.guest.policy, &serving.config, asked, rights)
    };
    let answer = match ask(folders.root())? {
        Ok(answer) => answer,
        Err(why) => return Ok(Err(why)),
    };
    let made = answer.folders.iter().try_for_each(|folder| {
        let offered = asked.offered.iter().find(|one| one.instance.id == folder.id).ok_or("it is not reserved")?;
        folders.hand_out(Manifest::of(folder, offered, snapshot), snapshot, &serving.host.nodes)
    });
    match made {
        Ok(()) => Ok(Ok(answer.reservation)),
        Err(why) => {
            tracing::error!("{why}; a task that holds {} loses its nodes at a replug", asked.ids());
            let without = ask(None)?.map(|answer| answer.reservation);
            Ok(without.map_err(|refused| PluginError::failed_precondition(format!("{why}: {refused}"))))
        }
    }
}

/// Asks a policy and makes paths and texts of its answer. The inner error is for Nomad.
pub(crate) fn decide(
    policy: &UsbPolicy,
    config: &str,
    asked: &Asked,
    rights: Rights<'_>,
) -> Result<Result<Checked, PluginError>, GuestError> {
    Ok(match policy.reserve(config, &asked.facts, &asked.group, &asked.instances)? {
        Ok(answer) => check(&answer, &asked.facts, &asked.offered, rights).map_err(PluginError::internal),
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
            next = snapshot.device(&key).and_then(|device| device.parent.clone());
            if !keys.insert(key) {
                break;
            }
        }
    }
    keys.iter().filter_map(|key| snapshot.device(key)).map(|device| convert::usb_device(device)).collect()
}

/// Turns the policy's answer into paths and texts; whatever is more than it may say is refused by name.
pub(crate) fn check(
    answer: &wit::Reservation,
    facts: &wit::Snapshot,
    offered: &[Offered],
    rights: Rights<'_>,
) -> Result<Checked, String> {
    let mut mounts = Mounts::of(answer, offered, rights.folders)?;
    let mut paths = Vec::with_capacity(answer.nodes.len());
    let mut devices: Vec<DeviceNode> = Vec::with_capacity(answer.nodes.len());
    for grant in &answer.nodes {
        let (device, owner, kind) = node(grant, facts, offered, rights.grants)?;
        let in_directory = mounts.take(grant, owner, kind);
        let (path, as_device) = in_directory.unwrap_or_else(|| (device.task_path.clone(), true));
        paths.push(path);
        // Two shares of one device in one task are one node.
        if as_device && !devices.contains(&device) {
            devices.push(device);
        }
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
                .and_then(|at| paths.get(at).cloned())
                .ok_or_else(|| format!("the policy sets {name} to the path of node {at}, which it does not grant"))?,
            wit::EnvValue::MountPath(at) => match mounts.path(*at) {
                Some(Some(path)) => path,
                Some(None) => continue,
                None => {
                    return Err(format!("the policy sets {name} to the path of mount {at}, which it does not grant"));
                }
            },
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
    let (mounts, folders) = mounts.finish();
    Ok(Checked { reservation: Reservation { envs, mounts, devices }, folders })
}

/// The directories of a reservation while they are filled.
struct Mounts<'a> {
    /// In the order of the grants; none: left out, since there can be no directories.
    all: Vec<Option<Mounted<'a>>>,
}

struct Mounted<'a> {
    grant: &'a wit::MountGrant,
    offered: &'a Offered,
    mount: Mount,
    folder: Folder,
}

impl<'a> Mounts<'a> {
    fn of(answer: &'a wit::Reservation, offered: &'a [Offered], root: Option<&str>) -> Result<Mounts<'a>, String> {
        let mut all: Vec<Option<Mounted>> = Vec::with_capacity(answer.mounts.len());
        for grant in &answer.mounts {
            let id = &grant.instance_id;
            let refuse = |why: &str| Err(format!("the policy asks for the directory of {id:?}{why}"));
            let Some(offered) = offered.iter().find(|one| one.instance.id == *id) else {
                return refuse(", which is not reserved");
            };
            if !grant.read_only {
                return refuse(" to be written to, which no task may");
            }
            if all.iter().flatten().any(|other| other.folder.id == *id) {
                return refuse(" twice");
            }
            if grant.task_path.as_deref().is_some_and(|path| !below_dev(path)) {
                return refuse(&format!(" at {:?}: paths in the task lie below /dev", grant.task_path));
            }
            let Some(root) = root else {
                if !grant.devices {
                    return refuse(", and its nodes in no other way");
                }
                all.push(None);
                continue;
            };
            let host_path = format!("{root}/{id}");
            let task_path = grant.task_path.clone().unwrap_or_else(|| host_path.clone());
            let mount = Mount { task_path, host_path, read_only: true };
            let modes = grant.modes.iter().take(MODES_MAX).map(|model| (model.vendor_id, model.product_id)).collect();
            all.push(Some(Mounted {
                grant,
                offered,
                mount,
                folder: Folder { id: id.clone(), nodes: Vec::new(), modes },
            }));
        }
        Ok(Mounts { all })
    }

    /// Puts a node into its instance's directory: the path there, and whether it is handed out as a device, too.
    fn take(&mut self, grant: &wit::NodeGrant, owner: &Offered, kind: &str) -> Option<(String, bool)> {
        let mounted = self.all.iter_mut().flatten().find(|mounted| mounted.folder.id == owner.instance.id)?;
        let (place, several) = (usize::try_from(grant.node).ok()?, mounted.offered.members.len() > 1);
        let name = mounted.folder.take(&grant.member, place, kind, several);
        Some((format!("{}/{name}", mounted.mount.task_path), mounted.grant.devices))
    }

    fn path(&self, at: u32) -> Option<Option<String>> {
        let mounted = self.all.get(usize::try_from(at).ok()?)?;
        Some(mounted.as_ref().map(|mounted| mounted.mount.task_path.clone()))
    }

    fn finish(self) -> (Vec<Mount>, Vec<Folder>) {
        self.all.into_iter().flatten().map(|mounted| (mounted.mount, mounted.folder)).unzip()
    }
}

/// The node, whose it is, and how it is called in a directory.
fn node<'a>(
    grant: &wit::NodeGrant,
    facts: &'a wit::Snapshot,
    offered: &'a [Offered],
    grants: Grants,
) -> Result<(DeviceNode, &'a Offered, &'a str), String> {
    let member = &grant.member;
    let owner = offered.iter().find(|one| one.instance.members.contains(member)).ok_or_else(|| {
        format!("the policy hands out a node of {member:?}, which is not a member of what was reserved")
    })?;
    let node = facts
        .devices
        .iter()
        .find(|device| device.key == *member)
        .and_then(|device| device.nodes.get(usize::try_from(grant.node).ok()?))
        .ok_or_else(|| {
            format!("the policy hands out node {} of {member:?}, which has none of that number", grant.node)
        })?;
    if node.in_use && !grants.mounted_disks {
        return Err(format!(
            "the policy hands out {}, which is in use on this machine: that takes yurt {{ grants {{ mounted_disks = true }} }}",
            node.path
        ));
    }
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
    let kind = if node.of_interface.is_none() { "usb" } else { node.subsystem.as_str() };
    Ok((DeviceNode { task_path, host_path: node.path.clone(), permissions }, owner, kind))
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

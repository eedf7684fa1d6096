//! The directories that follow instances over replugs: one per reserved instance, with nodes of our own making under names that stay
//! (`usb`, `tty`, `tty-2`) and a `manifest.json` that tells what they are now. A task gets its directory mounted, at the same path as on
//! the host.
//!
//! They stand in a small tmpfs, since the file systems that service managers give to runtime directories know no device nodes. It
//! outlives the plugin, so its manifests are all that is known of earlier reservations. Nodes only come back for the device that was
//! reserved: whatever else turns up under the id, or at the port, is not handed to a task that did not ask for it.

mod disk;
mod manifest;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use yurt_usb::facts::Snapshot;

use crate::check::Offer;

pub(crate) use disk::Access;
use disk::Disk;
pub(crate) use manifest::Manifest;

/// Where directories are on most machines: for what is only shown.
pub(crate) const USUAL: &str = "/run/yurt-devices/…";

/// What a reservation puts into one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Of the instance.
    pub(crate) id: String,
    pub(crate) nodes: Vec<Granted>,
    /// Vendor and product of what its devices may turn into.
    pub(crate) modes: Vec<(u16, u16)>,
}

/// A node that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The member's key, and the place in its list of nodes.
    pub(crate) member: String,
    pub(crate) place: usize,
    /// Below the directory.
    pub(crate) name: String,
}

impl Folder {
    /// Takes a node in, under a name that does not depend on what the kernel called it; with several members, below its member's key.
    pub(crate) fn take(&mut self, member: &str, place: usize, kind: &str, several: bool) -> String {
        if let Some(known) = self.nodes.iter().find(|node| node.member == member && node.place == place) {
            return known.name.clone();
        }
        let plain = if several { format!("{member}/{kind}") } else { kind.to_owned() };
        let numbered = (2..).map(|number: u32| format!("{plain}-{number}"));
        let free = |name: &String| !self.nodes.iter().any(|node| node.name == *name);
        let name = std::iter::once(plain.clone()).chain(numbered).find(free).unwrap_or_default();
        self.nodes.push(Granted { member: member.to_owned(), place, name: name.clone() });
        name
    }
}

/// All directories of one plugin.
pub(crate) struct Folders {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    disk: Option<Disk>,
    /// As they stand on the disk, by instance.
    manifests: BTreeMap<String, Manifest>,
    /// Why there is no disk, as it was said last.
    trouble: Option<String>,
}

impl Folders {
    /// Takes over what an earlier plugin left; makes nothing.
    pub(crate) fn at(root: PathBuf) -> Folders {
        let mut state = State::default();
        if let Some(disk) = Disk::left_at(&root) {
            state.manifests = disk.manifests();
            state.disk = Some(disk);
        }
        Folders { root, state: Mutex::new(state) }
    }

    /// What each instance's directory stands in, by its id; none: a path that no environment can hold.
    pub(crate) fn root(&self) -> Option<&str> {
        self.root.to_str()
    }

    /// Fills the directory of a reserved instance; what was there for an earlier reservation goes.
    ///
    /// # Errors
    /// What stands in the way, for the agent and for health texts.
    pub(crate) fn hand_out(&self, manifest: Manifest, snapshot: &Snapshot, access: &Access) -> Result<(), String> {
        let mut state = self.state();
        let State { disk, manifests, trouble } = &mut *state;
        let made = match disk {
            Some(disk) => Ok(disk),
            none => Disk::make(&self.root).map(|made| none.insert(made)),
        };
        let now = manifest.in_snapshot(snapshot);
        let done = made.and_then(|disk| disk.write(&now, None, access));
        let done = done.map_err(|why| format!("no node directory below {}: {why}", self.root.display()));
        *trouble = done.as_ref().err().cloned();
        done.map(|()| drop(manifests.insert(now.id.clone(), now)))
    }

    /// Whether there is any directory to keep up.
    pub(crate) fn any(&self) -> bool {
        !self.state().manifests.is_empty()
    }

    /// Brings all directories up to what is plugged now. What cannot be written is said, and tried again with the next offer.
    pub(crate) fn follow(&self, offer: &Offer, snapshot: &Snapshot, access: &Access) {
        let mut state = self.state();
        let State { disk: Some(disk), manifests, .. } = &mut *state else { return };
        for (id, before) in manifests.iter_mut() {
            let now = before.moved(offer.instances.get(id)).in_snapshot(snapshot);
            if now == *before {
                continue;
            }
            match disk.write(&now, Some(before), access) {
                Ok(()) => *before = now,
                Err(why) => tracing::error!(error = %why, id, "the node directory is not up to date"),
            }
        }
    }

    /// Why reservations with a directory fail, if the last one did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! A device plugin in plain types: what it offers, what a reservation holds, what its figures are.
//!
//! [`DevicePlugin`] is what a plugin implements; [`routes`] serves it; [`validate`] is what every offer goes through. An agent
//! stops a device plugin for good over one invalid group, and when the stream of offers ends or fails, so neither is left to
//! the implementation.

mod fingerprint;
mod service;
mod stats;
#[cfg(test)]
mod stub;
mod validate;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::attribute::{Attribute, Value};
pub use crate::base::{AgentConfig, Core, Info, Topology};
pub use crate::error::{ErrorKind, PluginError};
use crate::schema::Spec;
pub use service::routes;
pub use validate::{Checked, HEALTHY_COUNT, Refusal, validate};

/// Devices that are alike to a job: what `device "vendor/kind/name"` asks for and constraints look at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// First part of the name.
    pub vendor: String,
    /// Second part: Nomad's device type, `usb`, `gpu`.
    pub kind: String,
    /// Third part: the model.
    pub name: String,
    /// By name. Of the group as a whole; a job cannot look at one instance's.
    pub attributes: BTreeMap<String, Attribute>,
    /// What can be given to tasks.
    pub instances: Vec<Instance>,
}

/// One device of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Unique on the node and stable: jobs name it, reservations come with it.
    pub id: String,
    /// Whether tasks may get it.
    pub health: Health,
    /// The device, or the controller it hangs from, as in `/sys/bus/pci/devices`: for NUMA placement.
    pub pci_bus_id: Option<String>,
}

/// Whether tasks may get a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// They may.
    Healthy {
        /// For people; mostly empty.
        note: String,
    },
    /// They may not; those that have it keep it.
    Unhealthy {
        /// For people: what is wrong.
        reason: String,
    },
}

impl Health {
    /// Healthy, and nothing to say about it.
    pub fn good() -> Health {
        Health::Healthy { note: String::new() }
    }

    /// True for [`Health::Healthy`].
    pub fn is_healthy(&self) -> bool {
        matches!(self, Health::Healthy { .. })
    }
}

/// What a task gets for the devices that were picked for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reservation {
    /// Environment. The only part that survives an agent's restart; the agent expands `${…}` in values.
    pub envs: BTreeMap<String, String>,
    /// Files and directories of the host. The agent lets them replace the task's volumes at its first start: prefer `devices`.
    pub mounts: Vec<Mount>,
    /// Device nodes.
    pub devices: Vec<DeviceNode>,
}

/// A path of the host in the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where the task sees it.
    pub task_path: String,
    /// What it is.
    pub host_path: String,
    /// The task cannot write there.
    pub read_only: bool,
}

/// A device node in the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Where the task sees it.
    pub task_path: String,
    /// The node itself, not a link to it.
    pub host_path: String,
    /// Letters of the device cgroup: `r`, `w`, `m`.
    pub permissions: String,
}

/// Figures of one group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupStats {
    /// As in the offer.
    pub vendor: String,
    /// As in the offer.
    pub kind: String,
    /// As in the offer.
    pub name: String,
    /// By instance id.
    pub instances: BTreeMap<String, InstanceStats>,
}

/// Figures of one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceStats {
    /// The one to show first.
    pub summary: Stat,
    /// All of them.
    pub stats: StatTree,
    /// When they were taken.
    pub timestamp: SystemTime,
}

/// One figure for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Stat {
    /// The figure.
    pub value: Value,
    /// The whole that a number is a part of.
    pub out_of: Option<f64>,
    /// Free text, unlike an attribute's unit.
    pub unit: String,
    /// What it says.
    pub description: String,
}

/// Figures by name, nested.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatTree {
    /// Figures of this level.
    pub values: BTreeMap<String, Stat>,
    /// Levels below it.
    pub branches: BTreeMap<String, StatTree>,
}

/// What a device plugin decides. [`routes`] keeps the protocol's promises around it.
///
/// A panic in one of these becomes an `Internal` answer, and a call that takes longer than 60 s a `DeadlineExceeded` one; in a
/// stream both leave a beat out, with a line in the log.
#[tonic::async_trait]
pub trait DevicePlugin: Send + Sync + 'static {
    /// Name and version. Asked in copies of the process that are thrown away: must touch nothing.
    fn info(&self) -> Info;

    /// The configuration that it takes; `None`: none. Must touch nothing.
    async fn schema(&self) -> Result<Option<Spec>, PluginError>;

    /// The whole configuration, as [`from_msgpack`](crate::config::from_msgpack) reads it, replacing what was set before.
    ///
    /// # Errors
    /// Stop the agent's start, and the text is shown to the operator: only for what the operator wrote wrong.
    async fn set_config(&self, msgpack: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError>;

    /// The newest offer; `None` until the plugin has looked for the first time. The service sends the current one at once and then
    /// each different one, checked by [`validate`]; its stream stays open also when the sender is dropped.
    ///
    /// An agent takes its first message for the truth, so for a first offer it waits, but no longer than 3 s: the node registers
    /// only when it has one from every plugin.
    fn groups(&self) -> watch::Receiver<Option<Arc<Vec<Group>>>>;

    /// What a task gets for these ids, which are of one group. Nothing tells when it gives them back.
    ///
    /// # Errors
    /// Fail the allocation, which is then placed again.
    async fn reserve(&self, ids: Vec<String>) -> Result<Reservation, PluginError>;

    /// Figures of everything offered, asked once per interval.
    ///
    /// # Errors
    /// Are logged, and that beat is left out.
    async fn stats(&self) -> Result<Vec<GroupStats>, PluginError>;
}

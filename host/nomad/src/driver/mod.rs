//! A task driver in plain types: what a task is to be, how it is found again, what became of it.
//!
//! [`TaskDriver`] is what a driver implements; [`routes`] serves it. An agent calls again at once when one of the long streams
//! ends, takes a missing part of an answer for a reason to panic, and a task that can no longer be waited for is killed; so none
//! of these is left to the implementation.

pub(crate) mod error;
mod events;
mod exec;
mod fingerprint;
mod service;
mod start;
mod state;
mod stats;
#[cfg(test)]
mod stub;
mod task;
mod usage;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};

use crate::attribute::Attribute;
pub use crate::base::{AgentConfig, Core, Info, Topology};
pub use crate::device::DeviceNode;
pub use crate::error::{ErrorKind, PluginError};
use crate::schema::Spec;
pub use error::StartError;
pub use exec::{CallerGone, Exec, ExecInput, ExecOutput, ExecResult, OutputKind};
pub use service::routes;
pub use state::{ExitResult, NetworkOverride, Started, TaskHandle, TaskState, TaskStatus, WaitResult};
pub use task::{
    Dns, Env, HostsEntry, LinuxResources, MemoryMax, Mount, Network, NetworkIsolation, NetworkMode, Opaque, Port,
    PortMapping, Resources, TaskConfig,
};
pub use usage::{CpuUsage, MemoryUsage, TaskStats, Usage};

/// What a driver can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// [`TaskDriver::signal`] works. For people: agents do not look at it.
    pub signals: bool,
    /// [`TaskDriver::exec`] and [`TaskDriver::exec_stream`] work. For people: agents do not look at it.
    pub exec: bool,
    /// How far a task's files are apart from the host's: decides what the agent puts into the task's directory.
    pub isolation: FsIsolation,
    /// The modes besides that of the host that a job may ask for.
    pub networks: Vec<NetworkMode>,
    /// The driver makes the network namespace, not the agent.
    pub makes_network: bool,
    /// Volumes may be mounted.
    pub mounts: bool,
    /// The driver collects the logs itself: the agent makes no pipes for them.
    pub collects_logs: bool,
    /// The agent may hand out users made for one workload.
    pub dynamic_users: bool,
}

/// How far a task's files are apart from the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FsIsolation {
    /// Not at all.
    #[default]
    None,
    /// The agent fills the task's directory so that it can be a root of its own.
    Chroot,
    /// The driver brings a root.
    Image,
    /// The host's files, shown in part.
    Unveil,
}

/// Whether the driver works on this node, and what it found.
#[derive(Debug, Clone, PartialEq)]
pub struct Fingerprint {
    /// Become the node's attributes: named `driver.<name>` or `driver.<name>.…`, others are left out. The agent adds `driver.<name>`
    /// itself when it is detected and not named here.
    pub attributes: BTreeMap<String, Attribute>,
    /// Each change of it, also of its text, is an event of the node: no counters in there.
    pub health: Health,
}

/// Whether a driver works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// What it needs is not there.
    Undetected {
        /// For people: what is missing, and where it was looked for.
        reason: String,
    },
    /// What it needs is there, and something is wrong.
    Unhealthy {
        /// For people: what is wrong.
        reason: String,
    },
    /// Tasks may be placed here.
    Healthy {
        /// For people; built-in drivers say `Healthy`.
        note: String,
    },
}

/// Something worth telling in the list of a task's events, of which the agent keeps ten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    /// The task.
    pub task_id: String,
    /// Its allocation; together with the name what the agent goes by.
    pub alloc_id: String,
    /// Its name.
    pub task_name: String,
    /// When it happened.
    pub at: SystemTime,
    /// One sentence.
    pub message: String,
    /// Further facts by name.
    pub annotations: BTreeMap<String, String>,
}

/// A network that a driver made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedNetwork {
    /// It.
    pub network: NetworkIsolation,
    /// False: it was there before.
    pub created: bool,
}

/// What a task driver does. [`routes`] keeps the protocol's promises around it.
///
/// A panic in one of these becomes an `Internal` answer, and a call that takes too long a `DeadlineExceeded` one: 60 s, ten minutes for
/// [`start`](TaskDriver::start), and 60 s more than the timeout that a call names. What changes something runs to its end even if its
/// caller goes away; the other calls are dropped then.
///
/// A task that is not known is [`ErrorKind::NotFound`] everywhere. `stop` and `destroy` are answered with success then, because an
/// agent could not tell it from a failure and would try again for minutes.
#[tonic::async_trait]
pub trait TaskDriver: Send + Sync + 'static {
    /// Name and version. Asked in copies of the process that are thrown away: must touch nothing.
    fn info(&self) -> Info;

    /// The configuration that the driver itself takes; `None`: none. Must touch nothing.
    async fn schema(&self) -> Result<Option<Spec>, PluginError>;

    /// The whole configuration, as [`from_msgpack`](crate::config::from_msgpack) reads it, replacing what was set before.
    ///
    /// # Errors
    /// Stop the agent's start, and the text is shown to the operator: only for what the operator wrote wrong.
    async fn set_config(&self, msgpack: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError>;

    /// What a job's `config` block may hold. Asked before each start, too.
    async fn task_schema(&self) -> Result<Spec, PluginError>;

    /// What the driver can do; the same until it is configured anew.
    async fn capabilities(&self) -> Result<Capabilities, PluginError>;

    /// The newest look at the node; `None` until there was one. The service sends the current one at once, but waits up to 3 s for the
    /// first; then each different one. Its stream stays open also when the sender is dropped. An attribute that is no longer named
    /// is taken from the node, which an agent would not do by itself.
    fn fingerprint(&self) -> watch::Receiver<Option<Arc<Fingerprint>>>;

    /// Events of all tasks from now on, in order; a stream that falls behind loses the oldest. Without one of its own a driver has no
    /// events.
    fn events(&self) -> broadcast::Receiver<TaskEvent> {
        broadcast::channel(1).1
    }

    /// Starts a task. `config` is the job's `config` block by [`task_schema`](TaskDriver::task_schema). If the caller goes away
    /// meanwhile, the service has the task destroyed: nobody could ever find it again, and the agent starts another in its place. That
    /// is all that can be seen from here: a caller may also go away with the answer on its way to it.
    ///
    /// # Errors
    /// Fail the task for good unless they are recoverable: then the job's restart policy decides. There must be nothing left of the task.
    async fn start(&self, task: TaskConfig, config: Value) -> Result<Started, StartError>;

    /// Whoever asked for the start of this task has gone away before it was through: it need not go on.
    fn given_up(&self, _id: &str) {}

    /// Finds a task again after the agent's or the plugin's restart. Must do nothing where the task is known. After an agent's restart
    /// the handle's `config.driver_config` is empty: all that is needed must be in `driver_state`. A task that has ended meanwhile is
    /// a success, if it is known how.
    ///
    /// # Errors
    /// The task counts as lost: the agent has it destroyed.
    async fn recover(&self, handle: TaskHandle) -> Result<(), PluginError>;

    /// Waits for the end of a task, as long as it takes; answers at once, every time, for one that has ended and was not destroyed.
    /// Several calls may wait at once. Dropped when its caller goes away.
    ///
    /// # Errors
    /// The task counts as failed and is destroyed.
    async fn wait(&self, id: &str) -> Result<WaitResult, PluginError>;

    /// Sends the signal (`None`: the driver's own choice), and kills what is left after `timeout`; zero: at once. Returns when the task
    /// is dead, or sure to be soon.
    ///
    /// # Errors
    /// The agent tries again up to four times, with growing pauses.
    async fn stop(&self, id: &str, timeout: Duration, signal: Option<&str>) -> Result<(), PluginError>;

    /// Forgets a task and everything kept for it. Without `force` that is an error while it runs; with it, it is killed.
    async fn destroy(&self, id: &str, force: bool) -> Result<(), PluginError>;

    /// What is known of a task. Agents do not ask, test harnesses do.
    async fn inspect(&self, id: &str) -> Result<TaskStatus, PluginError>;

    /// Figures of a task, asked once per interval; `None` when it has ended, and with it the stream.
    ///
    /// # Errors
    /// Are logged, and that beat is left out; [`ErrorKind::NotFound`] ends the stream.
    async fn stats(&self, id: &str) -> Result<Option<TaskStats>, PluginError>;

    /// Sends a signal, `SIGHUP`, to a task. An unknown name must be an error that leaves the task alone.
    async fn signal(&self, id: &str, signal: &str) -> Result<(), PluginError>;

    /// Runs a command, of at least one word, in a task to its end. All of it is killed after `timeout` (`None`: never) and when the
    /// call is dropped.
    async fn exec(&self, id: &str, command: Vec<String>, timeout: Option<Duration>) -> Result<ExecResult, PluginError>;

    /// Runs a command in a task with its streams. `input` ends when no more can come. What `output` takes it takes in order, and no
    /// faster than the other end reads; what is not given to it before the return is lost. All of the command is killed when the call
    /// is dropped, which it is when the caller goes away.
    async fn exec_stream(
        &self,
        exec: Exec,
        input: mpsc::Receiver<ExecInput>,
        output: ExecOutput,
    ) -> Result<ExitResult, PluginError>;

    /// Makes the network of an allocation; only with [`Capabilities::makes_network`].
    async fn create_network(&self, alloc_id: &str, hostname: &str) -> Result<CreatedNetwork, PluginError> {
        let _ = (alloc_id, hostname);
        Err(PluginError::unimplemented("this driver makes no networks"))
    }

    /// Ends it.
    async fn destroy_network(&self, alloc_id: &str, network: Option<NetworkIsolation>) -> Result<(), PluginError> {
        let _ = (alloc_id, network);
        Err(PluginError::unimplemented("this driver makes no networks"))
    }

    /// After every start, and after a new agent found this process; since Nomad 2.0.4 only, so nothing may rely on it.
    async fn init(&self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Before the process is ended in order, within two seconds; since Nomad 2.0.4. Tasks live on.
    async fn shutdown(&self) -> Result<(), PluginError> {
        Ok(())
    }
}

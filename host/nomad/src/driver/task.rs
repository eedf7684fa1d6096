//! What a task is to be. What may be secret in it stays out of every log: see [`Env`] and [`Opaque`].

use std::collections::BTreeMap;
use std::fmt;

use super::DeviceNode;

/// A task as it is to be started. Paths are absolute and on the host, except for those that say otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskConfig {
    /// `<allocation>/<task>/<8 hex digits>`, new for every start.
    pub id: String,
    /// The task's name.
    pub name: String,
    /// The name of its group.
    pub group: String,
    /// The job's name.
    pub job_name: String,
    /// The job's id; empty before Nomad 1.3.12, as are the next three.
    pub job_id: String,
    /// The job's namespace.
    pub namespace: String,
    /// The node's name.
    pub node_name: String,
    /// The node's id.
    pub node_id: String,
    /// The allocation.
    pub alloc_id: String,
    /// The job's `config` block in msgpack, empty after an agent's restart. A driver gets it by its schema instead.
    pub driver_config: Opaque,
    /// All of the task's environment.
    pub env: Env,
    /// The part of it that came from reserved devices.
    pub device_env: Env,
    /// What the task may use.
    pub resources: Resources,
    /// What is to be mounted.
    pub mounts: Vec<Mount>,
    /// Device nodes it is to have.
    pub devices: Vec<DeviceNode>,
    /// Who it is to run as; `None`: the driver's own choice.
    pub user: Option<String>,
    /// The allocation's directory; the task's is the one of its name in it.
    pub alloc_dir: String,
    /// A named pipe, or `/dev/null`.
    pub stdout_path: String,
    /// A named pipe, or `/dev/null`.
    pub stderr_path: String,
    /// `None`: the host's network.
    pub network: Option<NetworkIsolation>,
    /// Name servers, where the job names them.
    pub dns: Option<Dns>,
}

/// Environment variables by name. Their values are often secrets: they do not show when this is printed for debugging.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(pub BTreeMap<String, String>);

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Bytes that are somebody else's, and may hold secrets: only their number shows when they are printed for debugging.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Opaque(pub Vec<u8>);

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a task may use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// MHz.
    pub cpu_mhz: u64,
    /// MiB that are kept for it.
    pub memory_mb: u64,
    /// Up to how much more.
    pub memory_max: MemoryMax,
    /// Addresses and ports in the form before group networks.
    pub networks: Vec<Network>,
    /// Ports of the allocation.
    pub ports: Vec<PortMapping>,
    /// The same in the kernel's terms.
    pub linux: LinuxResources,
}

/// How much memory a task may use beyond what is kept for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemoryMax {
    /// No more.
    #[default]
    Reserved,
    /// Up to so many MiB.
    Mb(u64),
    /// As much as there is.
    Unlimited,
}

/// What a task may use, in the kernel's terms. Zero and empty: not given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LinuxResources {
    /// Microseconds; agents do not give it.
    pub cpu_period: i64,
    /// Microseconds; agents do not give it.
    pub cpu_quota: i64,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Bytes; where [`MemoryMax::Unlimited`] is given only what is kept for it.
    pub memory_limit_bytes: i64,
    /// Agents do not give it.
    pub oom_score_adj: i64,
    /// A list like `0,2,3`; only for tasks that ask for whole cores.
    pub cpuset_cpus: String,
    /// Share of the node, 0 to 1.
    pub percent_ticks: f64,
    /// The directory of the control group that the agent made; empty before Nomad 1.1. Need not exist.
    pub cgroup: String,
}

/// An address with its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The host's interface.
    pub device: String,
    /// Its range.
    pub cidr: String,
    /// The address.
    pub ip: String,
    /// Mbit/s.
    pub mbits: i32,
    /// Those that the job names.
    pub reserved_ports: Vec<Port>,
    /// Those that the scheduler chose.
    pub dynamic_ports: Vec<Port>,
}

/// A port by its label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Port {
    /// As in the job.
    pub label: String,
    /// The number.
    pub value: i32,
}

/// A port of the host, and where it leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortMapping {
    /// As in the job.
    pub label: String,
    /// The host's.
    pub value: i32,
    /// The task's; 0: the same.
    pub to: i32,
    /// The host's address.
    pub host_ip: String,
}

/// Something to be mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Where the task sees it.
    pub task_path: String,
    /// What it is.
    pub host_path: String,
    /// The task cannot write there.
    pub read_only: bool,
    /// `private` or empty, `host-to-task`, `bidirectional`; empty before Nomad 1.2.15.
    pub propagation: String,
    /// Empty: none.
    pub selinux_label: String,
    /// The volume's name in the job; since Nomad 2.0.1.
    pub request_name: String,
}

/// Where a task's network is apart from the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkIsolation {
    /// Who makes it.
    pub mode: NetworkMode,
    /// The namespace, as a file; empty where the driver makes it.
    pub path: String,
    /// The maker's own.
    pub labels: BTreeMap<String, String>,
    /// A line for the task's hosts file.
    pub hosts: Option<HostsEntry>,
}

/// Who makes a task's network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// It is the host's.
    #[default]
    Host,
    /// One for all tasks of a group.
    Group,
    /// The driver's own affair.
    Task,
    /// There is none.
    None,
    /// One that came later than this code: no task is started with it.
    Other(i32),
}

/// A line of a hosts file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostsEntry {
    /// The name.
    pub hostname: String,
    /// Its address.
    pub address: String,
}

/// What stands in a task's `resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The words of `search`.
    pub searches: Vec<String>,
    /// The words of `options`.
    pub options: Vec<String>,
}

//! What a task is to be, in this room's terms. Whoever makes a [`Launch`] has already decided that all of it may be.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::seccomp::Profile;

/// A task to be started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Nomad's id of the task: unique among all that were ever started.
    pub id: String,
    /// The program and its arguments. One without a slash is looked up in `PATH` of `env`, within the task's root; with a slash it is
    /// a path there, a relative one from `work_dir`.
    pub argv: Vec<String>,
    /// Executed instead of looking `argv` up.
    pub program: Option<Program>,
    /// The whole environment. Goes to the keeper and nowhere else.
    pub env: Secret,
    /// Absolute, within the task's root.
    pub work_dir: String,
    /// Made in order before the program runs, by its own process: in its root, as its user, under its limits.
    pub makes: Vec<Make>,
    /// Who it runs as; `None`: as this process.
    pub identity: Option<Identity>,
    /// What the kernel refuses to do for it.
    pub seccomp: Seccomp,
    /// Its view of files and processes.
    pub isolation: Isolation,
    /// The file of the network namespace that it joins; `None`: that of this process.
    pub network: Option<PathBuf>,
    /// Named pipe, or `/dev/null`. Anything else, a symbolic link included, is refused.
    pub stdout: PathBuf,
    /// Named pipe, or `/dev/null`.
    pub stderr: PathBuf,
    /// Where its processes are counted and limited.
    pub cgroup: Cgroup,
    /// Groups of somebody else's that it is in instead, each in a directory of its own below.
    pub elsewhere: Vec<Elsewhere>,
    /// What they may use.
    pub limits: Limits,
    /// Digest of what was asked for: the same request is known again by it.
    pub request: Vec<u8>,
    /// The caller's notes, kept with the task's state and given back by `Task::memo`. No secrets.
    pub memo: Vec<u8>,
}

/// A program that is open already: the task's user need not reach its file.
#[derive(Debug, Clone)]
pub struct Program {
    /// What is executed, which takes that the user may. No script.
    pub file: Arc<OwnedFd>,
    /// What it finds open, from descriptor 3 on.
    pub open: Vec<Arc<OwnedFd>>,
}

/// A directory or a file that a task is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Make {
    /// With those above it, unless they are there.
    Directory {
        /// Absolute, within the task's root.
        path: String,
    },
    /// In the place of what it held before. No link is followed in its last part.
    File {
        /// Absolute, within the task's root.
        path: String,
        /// What stands in it.
        content: Vec<u8>,
        /// Its permissions, as bits.
        mode: u32,
    },
}

/// `NAME=value`, by name. Does not show its values when printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Vec<(String, String)>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// User, groups and capabilities, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All supplementary groups.
    pub groups: Vec<u32>,
    /// What it may beyond other users.
    pub capabilities: Capabilities,
    /// `execve` gives it no more than it has.
    pub no_new_privileges: bool,
}

/// Capabilities as bits by number: `capabilities(7)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Most that any program of the task can get; of root also what it has.
    pub bounding: u64,
    /// What a user other than root has from the start.
    pub ambient: u64,
}

/// Which system calls a task is refused, and so every command run in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seccomp {
    /// None.
    None,
    /// Those that change the machine or are known as ways into its kernel, but for what the task's capabilities stand for.
    Default,
    /// Those that an operator's profile refuses a task with its capabilities.
    Profile(Arc<Profile>),
}

/// A task's view of files and processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// The host's.
    None,
    /// A root directory of its own.
    Chroot(Box<RootDirectory>),
    /// The host's files, as far as they are unveiled.
    Landlock(Box<Unveiled>),
}

/// What of the host's files a task may use, by the kernel's Landlock; with namespaces of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unveiled {
    /// With process ids of its own `/proc` shows those; with shared memory of its own `/dev/shm` is empty.
    pub namespaces: Namespaces,
    /// All else is refused.
    pub paths: Vec<Unveil>,
    /// Directories in which the task sees nothing, absolute.
    pub hidden: Vec<String>,
}

/// A file, or a directory and all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unveil {
    /// Absolute. Links in it are followed: whoever named it is believed.
    pub path: String,
    /// From there; empty: itself. Links in it are refused.
    pub below: String,
    /// What may be done.
    pub access: Access,
    /// Without it the start fails; else it is left out where it is not there.
    pub needed: bool,
}

/// What may be done with files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// Files are read, directories listed.
    pub read: bool,
    /// Files are written.
    pub write: bool,
    /// Files are executed.
    pub execute: bool,
    /// Files and directories are made, renamed and removed.
    pub create: bool,
}

impl Access {
    /// All of it.
    pub const ALL: Access = Access { read: true, write: true, execute: true, create: true };

    /// Whether this is no more than `most`.
    pub fn within(self, most: Access) -> bool {
        (most.read || !self.read)
            && (most.write || !self.write)
            && (most.execute || !self.execute)
            && (most.create || !self.create)
    }
}

/// A root directory of its own, filled by the agent, with what is mounted over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootDirectory {
    /// The directory on the host.
    pub path: PathBuf,
    /// Namespaces besides that of mounts.
    pub namespaces: Namespaces,
    /// Mounted in order.
    pub mounts: Vec<Mount>,
    /// Nodes beside the usual ones, allowed in the device control group.
    pub devices: Vec<Device>,
    /// Also allowed: their nodes come with a mount.
    pub allowed: Vec<DeviceRule>,
    /// Small files laid over those of the root, which stays as it is.
    pub files: Vec<File>,
    /// What it shows of the host; `None`: the directory holds all that the task needs.
    pub host: Option<HostPaths>,
    /// Directories in which the task sees nothing, absolute, in the task's root.
    pub hidden: Vec<String>,
    /// It cannot be written, but for these directories, `/dev` and what is mounted; `None`: it can.
    pub writable: Option<Vec<String>>,
}

impl RootDirectory {
    /// Of a directory that holds all that the task needs.
    pub fn of(path: PathBuf, namespaces: Namespaces) -> RootDirectory {
        RootDirectory {
            path,
            namespaces,
            mounts: Vec::new(),
            devices: Vec::new(),
            allowed: Vec::new(),
            files: Vec::new(),
            host: None,
            hidden: Vec::new(),
            writable: None,
        }
    }
}

/// Files and directories of the host that a task sees at the same paths, under what its root directory holds there. It can write them,
/// which the host does not notice: that stays in the root directory. Where its file system cannot hold such a layer they are
/// read-only, and [`crate::Task::read_only`] says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPaths {
    /// Absolute. What is not there is left out; what is mounted below a directory is there, too.
    pub paths: Vec<String>,
    /// A directory beside the root directory, on the same file system and seen by no task: made if it is not there, and left.
    pub work: PathBuf,
}

/// Namespaces of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Process ids.
    pub pid: bool,
    /// With `pid`: a small init is process 1, passes on nothing by itself, reaps orphans and ends with the task.
    pub init: bool,
    /// Message queues, semaphores, shared memory.
    pub ipc: bool,
    /// Host name.
    pub uts: bool,
    /// Users and groups, each of which is who it is outside: capabilities then count for nothing that is not the task's own. Takes that
    /// [`Launch::identity`] is said.
    pub user: bool,
    /// Control groups: it sees its own as the root of all.
    pub cgroup: bool,
    /// The clocks that count from the machine's start: they count from the task's.
    pub time: bool,
}

/// Something of the host's in the task's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute, on the host.
    pub source: String,
    /// Absolute, in the task's root.
    pub target: String,
    /// Cannot be written there.
    pub read_only: bool,
    /// Whether later mounts below it are seen on the other side.
    pub propagation: Propagation,
}

/// Whether later mounts below a mount are seen on the other side: `mount_namespaces(7)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// In no direction.
    #[default]
    Private,
    /// Those of the host in the task.
    HostToTask,
    /// In both.
    Bidirectional,
}

/// A device of the host's for the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The node on the host: its kind and numbers are taken when the task starts.
    pub source: String,
    /// Absolute, in the task's root.
    pub target: String,
    /// `r`, `w`, `m` in any mixture: what the device control group allows.
    pub access: String,
}

/// A device that may be opened, whatever its node is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceRule {
    /// A block device, else a character device.
    pub block: bool,
    /// Of the kernel's.
    pub major: u32,
    /// Of the kernel's.
    pub minor: u32,
    /// `r`, `w`, `m` in any mixture.
    pub access: String,
}

/// A small file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute, in the task's root.
    pub target: String,
    /// What stands in it.
    pub content: Vec<u8>,
}

/// Where a task's processes are counted and limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    /// Nowhere: only for a plugin that may not use control groups. The task's processes are then found by their session.
    None,
    /// Version 2: the directory that the agent made. Made if its parent is there and it is not; then also removed.
    V2(PathBuf),
    /// Version 1: a directory of this name below each of `freezer`, `cpu`, `cpuacct`, `memory`, `pids`, `devices`, …, those that the
    /// agent made and those that it did not; and one of `cpuset`, which may be shared with others.
    V1 {
        /// `nomad/<allocation>.<task>`.
        name: PathBuf,
        /// Whole path of the directory in `cpuset`; empty: none.
        cpuset: PathBuf,
    },
}

/// A control group that is there already, whoever made it. What an agent says of memory and processors is not set there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Of version 1, what it controls; `None`: version 2.
    pub controller: Option<String>,
    /// From where it is mounted.
    pub path: PathBuf,
}

/// What a task may use. `None`: no limit. `u64::MAX` of what a job may ask for by the kernel's name: none either, said aloud.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, swap excluded: beyond them the kernel kills.
    pub memory_max: Option<u64>,
    /// Bytes that are kept for it when others need memory.
    pub memory_low: Option<u64>,
    /// Relative weight in the terms of version 1, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// A list like `0,2,3`.
    pub cpuset: Option<String>,
    /// Processes and threads.
    pub pids_max: Option<u64>,
    /// Bytes of memory beyond which it is slowed down: `memory.high`. Of version 2.
    pub memory_high: Option<u64>,
    /// Bytes of swap: `memory.swap.max`. `None`: none, where memory has a limit.
    pub swap_max: Option<u64>,
    /// Time on processors: `cpu.max`.
    pub cpu_max: Option<CpuMax>,
    /// Relative weight among those who read and write, 1 to 10000: `io.weight`.
    pub io_weight: Option<u16>,
    /// Speed of single block devices: `io.max`.
    pub io_max: Vec<IoMax>,
    /// Bytes of huge pages by their size as the kernel writes it, `2MB`: `hugetlb.2MB.max`.
    pub hugetlb_max: Vec<(String, u64)>,
    /// `oom_score_adj` of the task, -1000 to 1000.
    pub oom_score_adj: i32,
    /// Limits of each process.
    pub resources: Vec<ResourceLimit>,
}

impl Limits {
    /// Less what an agent says.
    pub(crate) fn without_the_agent_s(&self) -> Limits {
        Limits { memory_max: None, memory_low: None, cpu_shares: None, cpuset: None, ..self.clone() }
    }
}

/// Microseconds on processors within each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuMax {
    /// Of all processors together; `None`: any number.
    pub quota: Option<u64>,
    /// How long a period is.
    pub period: u64,
}

/// Bytes and operations per second. `None`: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoMax {
    /// Major and minor number of a block device.
    pub device: (u32, u32),
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Bytes written.
    pub write_bytes: Option<u64>,
    /// Reads.
    pub reads: Option<u64>,
    /// Writes.
    pub writes: Option<u64>,
}

/// `setrlimit(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimit {
    /// The kernel's number, `RLIMIT_…`.
    pub resource: u32,
    /// Soft limit; `u64::MAX`: none.
    pub soft: u64,
    /// Hard limit; `u64::MAX`: none.
    pub hard: u64,
}

//! The records on the sockets.

use prost::{Enumeration, Message, Oneof};

use crate::files::Identity;

/// What a task is to be, complete: the first record that a keeper gets, and the only one before [`Started`] or [`Failed`].
///
/// The descriptors that come with it are named in `carried`, in order.
#[derive(Clone, PartialEq, Message)]
pub struct Start {
    /// [`crate::PROTOCOL`] of the plugin.
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    /// The whole record stands in the memory file that [`Carried::Record`] names; everything else but `carried` is empty here.
    #[prost(bool, tag = "2")]
    pub in_file: bool,
    /// What the descriptors are.
    #[prost(enumeration = "Carried", repeated, tag = "3")]
    pub carried: Vec<i32>,
    /// Nomad's id of the task.
    #[prost(string, tag = "4")]
    pub id: String,
    /// The program, as it is named to `execve` within the task's root, and its arguments. Bytes without NUL; at least one.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`. Kept in memory for commands run later in the task, and written nowhere.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub env: Vec<Vec<u8>>,
    /// Absolute, within the task's root.
    #[prost(bytes = "vec", tag = "7")]
    pub work_dir: Vec<u8>,
    /// Who the task is, and so every command run in it.
    #[prost(message, optional, tag = "8")]
    pub privileges: Option<Privileges>,
    /// The task's view of the files.
    #[prost(enumeration = "Isolation", tag = "9")]
    pub isolation: i32,
    /// A process id namespace of its own; only with a mount namespace of its own, because of `/proc`.
    #[prost(bool, tag = "10")]
    pub private_pid: bool,
    /// A namespace of its own for System V and POSIX message queues, semaphores and shared memory.
    #[prost(bool, tag = "11")]
    pub private_ipc: bool,
    /// A namespace of its own for host and domain name.
    #[prost(bool, tag = "12")]
    pub private_uts: bool,
    /// With `private_pid`: the keeper's init is process 1 there, and the task its child.
    #[prost(bool, tag = "13")]
    pub init: bool,
    /// With a root of its own, in order.
    #[prost(message, repeated, tag = "14")]
    pub mounts: Vec<Mount>,
    /// With a root of its own: nodes beside the usual ones.
    #[prost(message, repeated, tag = "15")]
    pub devices: Vec<Device>,
    /// With a root of its own: small files laid over those of the root.
    #[prost(message, repeated, tag = "16")]
    pub files: Vec<File>,
    /// Limits of the process itself.
    #[prost(message, repeated, tag = "17")]
    pub limits: Vec<ResourceLimit>,
    /// `/proc/<pid>/oom_score_adj` of the task.
    #[prost(sint32, tag = "18")]
    pub oom_score_adj: i32,
    /// Paths of the control groups as the host sees them, in the order of [`Carried::CgroupV2`] and [`Carried::CgroupV1`].
    #[prost(string, repeated, tag = "19")]
    pub cgroups: Vec<String>,
    /// Of version 1: the controller of each, in the same order.
    #[prost(string, repeated, tag = "20")]
    pub controllers: Vec<String>,
    /// A digest of what was asked for, by which the plugin knows the same request again. Goes into the state file.
    #[prost(bytes = "vec", tag = "21")]
    pub request: Vec<u8>,
    /// The plugin's own notes: no secrets. Go into the state file.
    #[prost(bytes = "vec", tag = "22")]
    pub memo: Vec<u8>,
    /// What the keeper and its init call themselves in `/proc/<pid>/comm`.
    #[prost(string, tag = "23")]
    pub name: String,
    /// The `seccomp(2)` filter of the task, of its init and of every command run in it: instructions of `struct sock_filter`, as they
    /// lie in this machine's memory. Empty: none. Takes `no_new_privs`, or a plugin with `CAP_SYS_ADMIN`.
    #[prost(bytes = "vec", tag = "24")]
    pub filter: Vec<u8>,
    /// With a root of its own: files and directories of the host that the task sees at the same paths, absolute, those below others after
    /// them. A directory can be written, and what is written stays below [`Carried::Root`], whose own files of that path lie over the
    /// host's; where the file system does not take that, and with a file, it is read-only. What is not there is left out.
    #[prost(string, repeated, tag = "25")]
    pub host_paths: Vec<String>,
    /// With a mount namespace of its own: directories in which the task sees nothing. What is not there is left out.
    #[prost(string, repeated, tag = "26")]
    pub hidden: Vec<String>,
    /// With a root of its own: it cannot be written, but for `writable`, `/dev` and what is mounted.
    #[prost(bool, tag = "27")]
    pub read_only: bool,
    /// With `read_only`: directories of the root, absolute. What is not there is left out.
    #[prost(string, repeated, tag = "28")]
    pub writable: Vec<String>,
    /// With [`Isolation::Landlock`]: what [`Carried::Ruleset`] is to allow of what is mounted for the task only.
    #[prost(message, repeated, tag = "29")]
    pub allowed: Vec<Allowed>,
    /// A user namespace of its own (`user_namespaces(7)`) in which every id is what it is here; only with a mount namespace of its own and
    /// with privileges that change. Nothing outside takes a capability of the task for one.
    #[prost(bool, tag = "30")]
    pub private_user: bool,
    /// A control group namespace of its own (`cgroup_namespaces(7)`): the groups that it is started in are roots to it.
    #[prost(bool, tag = "31")]
    pub private_cgroup: bool,
    /// A time namespace of its own (`time_namespaces(7)`): the clocks that count from the machine's start count from its start.
    #[prost(bool, tag = "32")]
    pub private_time: bool,
    /// Made by the task's process before it may go: as the user that it is then, in its root, in order.
    #[prost(message, repeated, tag = "40")]
    pub makes: Vec<Make>,
}

/// A path and what may be done with it and all below it: `landlock(7)`.
#[derive(Clone, PartialEq, Message)]
pub struct Allowed {
    /// Absolute. What is not there is left out.
    #[prost(string, tag = "1")]
    pub path: String,
    /// `LANDLOCK_ACCESS_FS_…`, as bits.
    #[prost(uint64, tag = "2")]
    pub access: u64,
}

/// A directory or a file that the task is to find.
#[derive(Clone, PartialEq, Message)]
pub struct Make {
    /// Absolute, within the task's root.
    #[prost(string, tag = "1")]
    pub path: String,
    /// A directory, with those above it; else a file.
    #[prost(bool, tag = "2")]
    pub directory: bool,
    /// What stands in the file.
    #[prost(bytes = "vec", tag = "3")]
    pub content: Vec<u8>,
    /// Permission bits of the file.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
}

/// What a descriptor is that comes with [`Start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Carried {
    /// Nothing known: is closed.
    Unknown = 0,
    /// A memory file with the whole [`Start`].
    Record = 1,
    /// The directory of the task's entry, where the keeper writes its files and listens.
    Entry = 2,
    /// The task's standard output: a named pipe opened for reading and writing, or `/dev/null`.
    Stdout = 3,
    /// Its standard error.
    Stderr = 4,
    /// The directory that becomes its root.
    Root = 5,
    /// Its network namespace.
    Network = 6,
    /// Its control group, version 2.
    CgroupV2 = 7,
    /// One of its control groups, version 1.
    CgroupV1 = 8,
    /// An empty directory beside the root, on the same file system: what the kernel works in for [`Start::host_paths`].
    Work = 9,
    /// The Landlock ruleset of the task, of its init and of every command run in it.
    Ruleset = 10,
    /// A mount namespace with hardly a mount in it, of which a task with a root of its own gets a copy.
    Mounts = 11,
    /// The program itself: executed instead of a file that the first argument names.
    Program = 16,
    /// What the program finds open, from descriptor 3 on, in order. Comes before the program.
    Open = 17,
}

/// The task's view of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Isolation {
    /// That of the host.
    None = 0,
    /// The directory [`Carried::Root`], in a mount namespace of its own.
    Chroot = 1,
    /// That of the host, as far as [`Carried::Ruleset`] allows, in a mount namespace of its own: with private process ids `/proc` shows
    /// those, and with private shared memory `/dev/shm` is empty.
    Landlock = 2,
}

/// User, groups and capabilities.
#[derive(Clone, PartialEq, Message)]
pub struct Privileges {
    /// Whether to change them at all: false where the plugin itself has none to give away.
    #[prost(bool, tag = "1")]
    pub change: bool,
    /// User id.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Group id.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
    /// Supplementary groups, all of them.
    #[prost(uint32, repeated, tag = "4")]
    pub groups: Vec<u32>,
    /// Capabilities that stay in the bounding set, as bits by number (`capabilities(7)`). Of a task that runs as root also the
    /// permitted and effective ones.
    #[prost(uint64, tag = "5")]
    pub bounding: u64,
    /// Capabilities that a task that is not root has all the same: inheritable, permitted, effective and ambient.
    #[prost(uint64, tag = "6")]
    pub ambient: u64,
    /// `no_new_privs`.
    #[prost(bool, tag = "7")]
    pub no_new_privs: bool,
}

/// Something of the host's in the task's root.
#[derive(Clone, PartialEq, Message)]
pub struct Mount {
    /// Absolute, on the host.
    #[prost(string, tag = "1")]
    pub source: String,
    /// Absolute, within the task's root; made if it is not there.
    #[prost(string, tag = "2")]
    pub target: String,
    /// Cannot be written there.
    #[prost(bool, tag = "3")]
    pub read_only: bool,
    /// Whether later mounts below it are seen on the other side.
    #[prost(enumeration = "Propagation", tag = "4")]
    pub propagation: i32,
}

/// Whether mounts that come later below a mount are seen on the other side (`mount_namespaces(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Propagation {
    /// In no direction.
    Private = 0,
    /// Those of the host are seen in the task: slave.
    HostToTask = 1,
    /// In both directions: shared.
    Bidirectional = 2,
}

/// A device node made in the task's `/dev`.
#[derive(Clone, PartialEq, Message)]
pub struct Device {
    /// Absolute, within the task's root.
    #[prost(string, tag = "1")]
    pub path: String,
    /// A block device; else a character device.
    #[prost(bool, tag = "2")]
    pub block: bool,
    /// Major number.
    #[prost(uint32, tag = "3")]
    pub major: u32,
    /// Minor number.
    #[prost(uint32, tag = "4")]
    pub minor: u32,
    /// Permission bits.
    #[prost(uint32, tag = "5")]
    pub mode: u32,
    /// Owner.
    #[prost(uint32, tag = "6")]
    pub uid: u32,
    /// Owning group.
    #[prost(uint32, tag = "7")]
    pub gid: u32,
}

/// A small file laid over one of the task's root, which is not changed: `/etc/resolv.conf`.
#[derive(Clone, PartialEq, Message)]
pub struct File {
    /// Absolute, within the task's root.
    #[prost(string, tag = "1")]
    pub target: String,
    /// What stands in it.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// `setrlimit(2)`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ResourceLimit {
    /// The kernel's number, `RLIMIT_…`.
    #[prost(uint32, tag = "1")]
    pub resource: u32,
    /// Soft limit; `u64::MAX`: none.
    #[prost(uint64, tag = "2")]
    pub soft: u64,
    /// Hard limit; `u64::MAX`: none.
    #[prost(uint64, tag = "3")]
    pub hard: u64,
}

/// The task runs: `execve` has succeeded. A pidfd of the task's main process comes with it.
#[derive(Clone, PartialEq, Message)]
pub struct Started {
    /// The keeper itself.
    #[prost(message, optional, tag = "1")]
    pub keeper: Option<Identity>,
    /// The task's main process.
    #[prost(message, optional, tag = "2")]
    pub task: Option<Identity>,
    /// When, in nanoseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub at: u64,
}

/// A start or a command that did not come about; nothing of it is left.
#[derive(Clone, PartialEq, Message)]
pub struct Failed {
    /// What was being done: [`crate::Step`].
    #[prost(uint32, tag = "1")]
    pub step: u32,
    /// The kernel's reason; 0: none, see `detail`.
    #[prost(int32, tag = "2")]
    pub errno: i32,
    /// With what: a path, a name, a number.
    #[prost(string, tag = "3")]
    pub detail: String,
}

/// What a plugin asks on `<entry>/socket`. One connection for waiting, one for each command.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// It.
    #[prost(oneof = "request::Ask", tags = "1, 2, 3, 4")]
    pub ask: Option<request::Ask>,
}

/// The kinds of requests.
pub mod request {
    use super::{Exec, Oneof};

    /// What a plugin asks.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Ask {
        /// What is known: answered by `State` with a pidfd of the task's main process while it runs, and, now or once it has ended,
        /// by `Exit`. The number is the asker's [`crate::PROTOCOL`].
        #[prost(uint32, tag = "1")]
        Watch(u32),
        /// Run a command in the task. Answered by `ExecStarted` or `Failed`, and once it has ended by `Exit`. When the connection
        /// breaks, the command and everything it started is killed.
        #[prost(message, tag = "2")]
        Exec(Exec),
        /// Kill the command of this connection and all it started; `Exit` follows.
        #[prost(bool, tag = "3")]
        Kill(bool),
        /// The task has ended and its outcome is no longer needed: the keeper answers by closing the connection, removes its socket
        /// and ends. Refused with `Failed` while the task runs.
        #[prost(bool, tag = "4")]
        Forget(bool),
    }
}

/// A command to run in a task: its namespaces, its control groups, its privileges, its environment.
///
/// Without a terminal three descriptors come with it: what the command is to have as 0, 1 and 2.
#[derive(Clone, PartialEq, Message)]
pub struct Exec {
    /// The program, looked up in the `PATH` of the task unless it holds a slash, and its arguments.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub argv: Vec<Vec<u8>>,
    /// On a terminal of the task's own `/dev/pts`: its other end comes with `ExecStarted`.
    #[prost(bool, tag = "2")]
    pub tty: bool,
    /// The terminal's first size, in characters; 0: not known.
    #[prost(uint32, tag = "3")]
    pub rows: u32,
    /// The terminal's first size, in characters; 0: not known.
    #[prost(uint32, tag = "4")]
    pub columns: u32,
    /// `NAME=value`: laid over the task's environment.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub env: Vec<Vec<u8>>,
}

/// A command runs.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ExecStarted {
    /// Its process id on the host.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
}

/// What a keeper answers.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    /// It.
    #[prost(oneof = "answer::Say", tags = "1, 2, 3, 4, 5")]
    pub say: Option<answer::Say>,
}

/// The kinds of answers.
pub mod answer {
    use super::{ExecStarted, Failed, Oneof, Started};
    use crate::files::{Exit, State};

    /// What a keeper says.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Say {
        /// The start has come about.
        #[prost(message, tag = "1")]
        Started(Started),
        /// It has not, or the request was refused.
        #[prost(message, tag = "2")]
        Failed(Failed),
        /// What stands in the state file.
        #[prost(message, tag = "3")]
        State(State),
        /// How the task, or the connection's command, ended.
        #[prost(message, tag = "4")]
        Exit(Exit),
        /// The command runs.
        #[prost(message, tag = "5")]
        ExecStarted(ExecStarted),
    }
}

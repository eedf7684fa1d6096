//! The files of a task's entry. Each is written beside its place and renamed into it.

use prost::Message;

use crate::protocol::Failed;

/// Names within the directory of an entry.
pub mod names {
    /// [`State`](super::State), written before the task may go.
    pub const STATE: &str = "state";
    /// [`Exit`](super::Exit), written when the task has ended: by the keeper, or by a plugin that outlived it.
    pub const EXIT: &str = "exit";
    /// Where the keeper listens.
    pub const SOCKET: &str = "socket";
}

/// What tells a process from every other, also from one that got its number later: `proc(5)`, `pidfd_open(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Identity {
    /// Process id on the host.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks from boot to its start.
    #[prost(uint64, tag = "2")]
    pub start_time: u64,
    /// Inode of its pidfd, unique since boot on Linux ≥ 6.9; 0: not known.
    #[prost(uint64, tag = "3")]
    pub inode: u64,
}

/// What is known of a task that runs: everything that finding it again takes, no environment, no secrets.
#[derive(Clone, PartialEq, Message)]
pub struct State {
    /// [`crate::PROTOCOL`] of the keeper that wrote it.
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    /// Nomad's id of the task.
    #[prost(string, tag = "2")]
    pub id: String,
    /// `/proc/sys/kernel/random/boot_id`, its 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub boot_id: Vec<u8>,
    /// The keeper.
    #[prost(message, optional, tag = "4")]
    pub keeper: Option<Identity>,
    /// The task's main process.
    #[prost(message, optional, tag = "5")]
    pub task: Option<Identity>,
    /// When it was let go, in nanoseconds since 1970.
    #[prost(uint64, tag = "6")]
    pub started_at: u64,
    /// Paths of its control groups on the host.
    #[prost(string, repeated, tag = "7")]
    pub cgroups: Vec<String>,
    /// Of version 1: the controller of each; empty for version 2.
    #[prost(string, repeated, tag = "8")]
    pub controllers: Vec<String>,
    /// How many processes of the control group had been killed for memory before the task came: `oom_kill` of `memory.events` or
    /// `memory.oom_control`.
    #[prost(uint64, tag = "9")]
    pub oom_before: u64,
    /// [`crate::Start::request`].
    #[prost(bytes = "vec", tag = "10")]
    pub request: Vec<u8>,
    /// [`crate::Start::memo`].
    #[prost(bytes = "vec", tag = "11")]
    pub memo: Vec<u8>,
    /// Has a process id namespace of its own.
    #[prost(bool, tag = "12")]
    pub private_pid: bool,
    /// Has a root of its own.
    #[prost(bool, tag = "13")]
    pub private_root: bool,
    /// Directories of the host are read-only in the task that were to be laid under its own ([`crate::Start::host_paths`]): why.
    #[prost(message, optional, tag = "14")]
    pub read_only: Option<Failed>,
}

/// How a task or a command ended.
#[derive(Clone, PartialEq, Message)]
pub struct Exit {
    /// The exit code; 128 + signal if it was ended by one; -1 if nobody knows.
    #[prost(sint32, tag = "1")]
    pub code: i32,
    /// The signal that ended it; 0: none.
    #[prost(uint32, tag = "2")]
    pub signal: u32,
    /// The kernel killed a process of it because its memory was used up, and it ended without success.
    #[prost(bool, tag = "3")]
    pub oom_killed: bool,
    /// When, in nanoseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub at: u64,
    /// Microseconds of processor time in the task's code, children waited for included.
    #[prost(uint64, tag = "5")]
    pub user_micros: u64,
    /// Microseconds of processor time in the kernel, children waited for included.
    #[prost(uint64, tag = "6")]
    pub system_micros: u64,
    /// Largest resident set of one process, in KiB.
    #[prost(uint64, tag = "7")]
    pub max_rss_kib: u64,
    /// Why the code is not known; empty: it is.
    #[prost(string, tag = "8")]
    pub unknown: String,
    /// Bytes of output thrown away because nobody read the task's logs.
    #[prost(uint64, tag = "9")]
    pub log_bytes_dropped: u64,
}

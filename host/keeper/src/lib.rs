//! What the keeper of a task says and writes: the protocol between it and the plugin, the files it leaves, the names of both.
//!
//! A keeper outlives the plugin that started it, and meets plugins of later releases. So everything here is a protocol buffer message
//! whose fields are only ever added, and the numbers of which are never used again. Both sides skip what they do not know. A change
//! that an older side must not skip raises [`PROTOCOL`].
//!
//! ```text
//! plugin ──fork, exec of a sealed memory file──► keeper ──clone──► (init ──clone──►) task
//!    │  socket pair, fd 3: Start + descriptors       │
//!    │◄──────────────── Started | Failed ────────────┤
//!    │                                               ├── state   written before the task may go
//!    │  <entry>/socket: Request …                    ├── exit    written when it has ended
//!    │◄──────────────── Answer … ────────────────────┘
//! ```
//!
//! Each record on a socket is one message of a `SOCK_SEQPACKET` socket: boundaries are the kernel's, and descriptors travel with the
//! record that names them.

mod files;
mod kernel;
mod protocol;
mod step;

pub use files::{Exit, Identity, State, names};
pub use kernel::{Stat, boot_id, inode};
pub use protocol::{
    Allowed, Answer, Carried, Device, Exec, ExecStarted, Failed, File, Isolation, Make, Mount, Privileges, Propagation,
    Request, ResourceLimit, Start, Started, answer, request,
};
pub use step::Step;

/// The generation of protocol and files. A keeper answers a plugin of an older one in that one's terms.
pub const PROTOCOL: u32 = 1;

/// The descriptor on which a keeper finds its first record.
pub const START_FD: i32 = 3;

/// No record is longer: the kernel's default limit for what may be under way in a socket is above it. Longer starts travel in a sealed
/// memory file ([`Start::in_file`]).
pub const RECORD_MAX: usize = 128 * 1024;

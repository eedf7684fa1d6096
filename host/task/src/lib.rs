//! The plugin's side of a task: starting it, finding it again, waiting, signals, the end, commands in it, figures.
//!
//! This room knows processes and control groups; it knows neither Nomad nor wasm. Who really stays with a task is its keeper, a small
//! program of its own (`yurt_keeper`) that this crate carries within itself: plugins come and go, a [`Task`] is found again by its
//! [`Handle`].

mod bare;
mod cgroup;
mod channel;
mod ended;
mod entry;
mod error;
mod exec;
mod exit;
mod files;
mod forget;
#[cfg(test)]
mod frozen_tests;
mod handle;
mod host_paths;
mod image;
pub mod landlock;
mod launch;
mod open_files;
mod probe;
mod proc;
mod record;
mod seccomp;
mod spawn;
mod start;
mod stats;
mod step;
mod streams;
mod sweep;
mod sys;
mod task;
mod tasks;
pub mod users;
mod watcher;

pub use error::{
    ExecError, ForgetError, HandleError, KillError, OpenError, Reason, RecoverError, SignalError, StartError,
    StatsError, StepError,
};
pub use exec::{Command, ExecOptions, Input, Output, Resizer};
pub use exit::Exit;
pub use handle::Handle;
pub use launch::{
    Access, Capabilities, Cgroup, CpuMax, Device, DeviceRule, Elsewhere, File, HostPaths, Identity, IoMax, Isolation,
    Launch, Limits, Make, Mount, Namespaces, Program, Propagation, ResourceLimit, RootDirectory, Seccomp, Secret,
    Unveil, Unveiled,
};
pub use open_files::raise_open_files;
pub use probe::{PROBE_ID, Probe, ProbeError, Probed};
pub use seccomp::Profile;
pub use stats::{CpuTime, Io, Memory, More, Pressure, ProcessStats, Stats, Waits};
pub use step::{StepEnd, StepOutcome};
pub use sweep::{Left, Swept};
pub use task::{Task, Whom};
pub use tasks::Tasks;

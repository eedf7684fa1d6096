//! A task that was started: how it is found again, what became of it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{Opaque, TaskConfig};

/// What a driver answers for a task that it started. The service makes the handle of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Started {
    /// Of `driver_state`, from 1; agents keep 0 for themselves.
    pub version: i32,
    /// All that is needed to find the task again, in the driver's own form. The agent keeps it on disk: no secrets.
    pub driver_state: Opaque,
    /// Where the driver gave the task an address of its own.
    pub network: Option<NetworkOverride>,
}

/// What the agent keeps to find a task again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskHandle {
    /// Of `driver_state`.
    pub version: i32,
    /// The task as it was to be started.
    pub config: TaskConfig,
    /// As it was last.
    pub state: TaskState,
    /// As the driver gave it.
    pub driver_state: Opaque,
}

/// Whether a task runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskState {
    /// Not known.
    #[default]
    Unknown,
    /// It runs.
    Running,
    /// It has ended.
    Exited,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExitResult {
    /// Its code; 128 and the signal, where one ended it.
    pub code: i32,
    /// The signal that ended it; 0: none.
    pub signal: i32,
    /// It was killed for want of memory.
    pub oom_killed: bool,
}

impl ExitResult {
    /// It ended by itself.
    pub fn code(code: i32) -> ExitResult {
        ExitResult { code, ..ExitResult::default() }
    }

    /// A signal ended it.
    pub fn signal(signal: i32) -> ExitResult {
        ExitResult { code: signal.saturating_add(128), signal, oom_killed: false }
    }
}

/// What waiting for a task brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaitResult {
    /// How it ended.
    pub exit: ExitResult,
    /// Why that is not really known; then the code should be -1. The agent shows it as the reason of the failure.
    pub unknown: Option<String>,
}

/// What is known of a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskStatus {
    /// The task.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub state: TaskState,
    /// When it began.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub completed_at: Option<SystemTime>,
    /// How it ended. Of tasks that have.
    pub exit: Option<ExitResult>,
    /// The driver's own facts, such as `pid`.
    pub attributes: BTreeMap<String, String>,
    /// Where the driver gave the task an address of its own.
    pub network: Option<NetworkOverride>,
}

/// An address that a driver gave a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkOverride {
    /// Ports by label.
    pub ports: BTreeMap<String, i32>,
    /// The address.
    pub address: String,
    /// Services should be registered with it.
    pub advertise: bool,
}

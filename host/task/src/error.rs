//! What can go wrong, in one sentence each.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// A runtime directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A system call on it failed.
    #[error("the runtime directory {path}: {reason}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// It is somebody else's, or others may write there.
    #[error("the runtime directory {path} {problem}; it has to belong to user {uid} and be open to nobody else")]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// Who runs this.
        uid: u32,
    },
    /// This kernel or machine lacks what every task needs.
    #[error("{what}: {reason}")]
    Unsupported {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: io::Error,
    },
}

/// A task that did not start. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An entry of this id stands already: the task runs, or has ended and is not forgotten.
    #[error("a task with id {id:?} was started already{}", if *.same_request { "" } else { ", and by another request" })]
    AlreadyRunning {
        /// The id.
        id: String,
        /// Whether that task was asked for in the same words: `Tasks::adopt` then gives it.
        same_request: bool,
    },
    /// A step failed.
    #[error("{0}")]
    Step(#[from] StepError),
}

impl StartError {
    /// Whether the same again may succeed later: something was short or busy, not wrong.
    pub fn recoverable(&self) -> bool {
        match self {
            StartError::AlreadyRunning { .. } => false,
            StartError::Step(step) => step.recoverable(),
        }
    }
}

/// A step that failed: what was being done, with what, and why not.
#[derive(Debug, thiserror::Error)]
pub struct StepError {
    /// What was being done: `opening standard output`.
    pub step: String,
    /// With what: a path, a name, a file and the value written to it. May be empty.
    pub what: String,
    /// Why not.
    pub reason: Reason,
}

/// Why a step failed.
#[derive(Debug)]
pub enum Reason {
    /// The kernel refused.
    Errno(Errno),
    /// Something else, as a clause.
    Text(String),
    /// It took too long, as a clause.
    Late(String),
    /// `what` says it all.
    Said,
}

impl StepError {
    pub(crate) fn errno(step: impl Into<String>, what: impl Into<String>, errno: Errno) -> StepError {
        StepError { step: step.into(), what: what.into(), reason: Reason::Errno(errno) }
    }

    pub(crate) fn text(step: impl Into<String>, what: impl Into<String>, text: impl Into<String>) -> StepError {
        StepError { step: step.into(), what: what.into(), reason: Reason::Text(text.into()) }
    }

    /// The kernel's reason, if it gave one.
    pub fn os_error(&self) -> Option<i32> {
        match self.reason {
            Reason::Errno(errno) => Some(errno.raw_os_error()),
            _ => None,
        }
    }

    /// Whether it was the filter of system calls that could not be made or installed.
    pub fn is_seccomp(&self) -> bool {
        self.step == yurt_keeper::Step::Filter.to_string()
    }

    /// Whether the same again may succeed later.
    pub fn recoverable(&self) -> bool {
        match &self.reason {
            Reason::Errno(errno) => matches!(
                *errno,
                Errno::AGAIN
                    | Errno::BUSY
                    | Errno::INTR
                    | Errno::MFILE
                    | Errno::NFILE
                    | Errno::NOMEM
                    | Errno::NOSPC
                    | Errno::TXTBSY
            ),
            Reason::Late(_) => true,
            Reason::Text(_) | Reason::Said => false,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)?;
        if !self.what.is_empty() {
            write!(f, ": {}", self.what)?;
        }
        match &self.reason {
            Reason::Errno(errno) => write!(f, ": {}", io::Error::from(*errno)),
            Reason::Text(text) | Reason::Late(text) => write!(f, ": {text}"),
            Reason::Said => Ok(()),
        }
    }
}

/// A task that cannot be found again.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// It was started before the machine was.
    #[error("the task was started before the last boot of this machine")]
    OtherBoot,
    /// Nothing is known of it.
    #[error("nothing is known of this task: {path} is not there")]
    NoEntry {
        /// Where it would be.
        path: PathBuf,
    },
    /// What is known is not of this task: another one was started with its id.
    #[error("{path} is of another start of this task")]
    OtherStart {
        /// Where that stands.
        path: PathBuf,
    },
    /// What is known makes no sense. It was left as it is.
    #[error("{path} {problem}")]
    Garbage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A system call failed.
    #[error("{path}: {reason}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

/// A handle that is none of ours.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// Not what [`crate::Handle::to_bytes`] makes.
    #[error("the driver state is not a handle of this driver: {0}")]
    Garbage(String),
    /// Of a later release, which did not think this one could read it.
    #[error("the driver state is of version {found}; this release reads up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
}

/// A signal that was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// No such signal.
    #[error("there is no signal {0}")]
    Unknown(i32),
    /// The task has ended.
    #[error("the task has ended")]
    Ended,
    /// The kernel refused.
    #[error("sending signal {number} to process {pid}: {reason}")]
    Refused {
        /// The signal.
        number: i32,
        /// The process.
        pid: u32,
        /// Why.
        reason: io::Error,
    },
    /// The processes of the task cannot be listed.
    #[error("{0}")]
    List(#[from] StepError),
}

/// Processes that are still there after they were killed.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// Time is up.
    #[error("{} of the task did not end within {within:?} of being killed", processes(.left))]
    Left {
        /// Their numbers, not more than a few.
        left: Vec<u32>,
        /// How long they were waited for.
        within: std::time::Duration,
    },
    /// Killing itself failed.
    #[error("{0}")]
    Step(#[from] StepError),
}

fn processes(left: &[u32]) -> String {
    match left {
        [] => "a process".into(),
        [one] => format!("process {one}"),
        many => format!("processes {}", many.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// A command that did not run, or whose end is not known.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The task has ended.
    #[error("the task has ended")]
    Ended,
    /// The task's keeper is gone, and nobody else can enter the task.
    #[error("commands cannot be run in this task any more: its keeper has ended")]
    NoKeeper,
    /// A step failed.
    #[error("{0}")]
    Step(#[from] StepError),
}

/// Figures that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// The task has ended.
    #[error("the task has ended")]
    Ended,
    /// A file that should be there is not to be read.
    #[error("{0}")]
    Step(#[from] StepError),
}

/// A task that cannot be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// It runs.
    #[error("the task is running")]
    Running,
    /// Processes of it are left.
    #[error("{0}")]
    Kill(#[from] KillError),
    /// A file or a control group is left.
    #[error("{0}")]
    Step(#[from] StepError),
}

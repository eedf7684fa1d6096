//! What a plugin answers instead of a result.

use tonic::{Code, Status};

/// Longest text of an error on the wire, in characters.
const MESSAGE_MAX: usize = 4096;

/// Why a call failed, in one sentence for the operator, with one of the few gRPC codes that agents take for an answer.
///
/// `Unavailable` and `Canceled` cannot be said: an agent takes them for the plugin's death.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PluginError {
    /// What the code on the wire will be.
    pub kind: ErrorKind,
    /// One sentence: what, where, what to do.
    pub message: String,
}

/// The codes that mean nothing else to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller, or who configured it, wrote something wrong.
    InvalidArgument,
    /// There is nothing of that name.
    NotFound,
    /// Right in itself, but not now: the device was unplugged, the policy refuses.
    FailedPrecondition,
    /// A fault of the plugin.
    Internal,
    /// It took too long.
    DeadlineExceeded,
    /// The plugin does not do this at all.
    Unimplemented,
}

impl PluginError {
    /// Something was written wrong.
    pub fn invalid_argument(message: impl Into<String>) -> PluginError {
        PluginError { kind: ErrorKind::InvalidArgument, message: message.into() }
    }

    /// There is nothing of that name.
    pub fn not_found(message: impl Into<String>) -> PluginError {
        PluginError { kind: ErrorKind::NotFound, message: message.into() }
    }

    /// Not in the present state of things.
    pub fn failed_precondition(message: impl Into<String>) -> PluginError {
        PluginError { kind: ErrorKind::FailedPrecondition, message: message.into() }
    }

    /// A fault of the plugin.
    pub fn internal(message: impl Into<String>) -> PluginError {
        PluginError { kind: ErrorKind::Internal, message: message.into() }
    }

    /// The plugin does not do this at all.
    pub fn unimplemented(message: impl Into<String>) -> PluginError {
        PluginError { kind: ErrorKind::Unimplemented, message: message.into() }
    }

    /// It took too long.
    pub fn deadline_exceeded(message: impl Into<String>) -> PluginError {
        PluginError { kind: ErrorKind::DeadlineExceeded, message: message.into() }
    }
}

impl PluginError {
    /// The code on the wire.
    pub(crate) fn code(&self) -> Code {
        match self.kind {
            ErrorKind::InvalidArgument => Code::InvalidArgument,
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::FailedPrecondition => Code::FailedPrecondition,
            ErrorKind::Internal => Code::Internal,
            ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
            ErrorKind::Unimplemented => Code::Unimplemented,
        }
    }

    /// The sentence on the wire.
    pub(crate) fn text(&self) -> String {
        crate::text::cleaned(&self.message, MESSAGE_MAX)
    }
}

impl From<PluginError> for Status {
    fn from(error: PluginError) -> Status {
        Status::new(error.code(), error.text())
    }
}

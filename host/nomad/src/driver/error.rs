//! Why a task was not started, with the one bit that decides what the agent does next. It travels as a detail of the status.

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use crate::error::PluginError;
use crate::proto::shared::RecoverableError;

const TYPE: &str = "type.googleapis.com/hashicorp.nomad.plugins.shared.structs.RecoverableError";

/// Why a task was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct StartError {
    /// The sentence for the operator. Of a recoverable error the agent gets the code `FailedPrecondition`.
    pub error: PluginError,
    /// Trying again may help: the job's restart policy decides. Otherwise the task fails for good.
    pub recoverable: bool,
}

impl StartError {
    /// Trying again may help.
    pub fn recoverable(message: impl Into<String>) -> StartError {
        StartError { error: PluginError::failed_precondition(message), recoverable: true }
    }
}

impl From<PluginError> for StartError {
    /// Trying again would not help.
    fn from(error: PluginError) -> StartError {
        StartError { error, recoverable: false }
    }
}

impl From<StartError> for Status {
    fn from(why: StartError) -> Status {
        if !why.recoverable {
            return why.error.into();
        }
        let (code, message) = (Code::FailedPrecondition, why.error.text());
        let detail = Any { type_url: TYPE.to_owned(), value: RecoverableError { recoverable: true }.encode_to_vec() };
        let details = RichStatus { code: code.into(), message: message.clone(), details: vec![detail] };
        Status::with_details(code, message, details.encode_to_vec().into())
    }
}

/// Whether a status says so: as an agent, by its first detail only.
pub(crate) fn is_recoverable(status: &Status) -> bool {
    let rich = RichStatus::decode(status.details()).unwrap_or_default();
    let first = rich.details.first().filter(|detail| detail.type_url == TYPE);
    first
        .and_then(|detail| RecoverableError::decode(detail.value.as_slice()).ok())
        .is_some_and(|error| error.recoverable)
}

/// `google.rpc.Status`, which is what the header with a status' details holds.
#[derive(Clone, PartialEq, Message)]
struct RichStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_travels_as_the_first_detail_with_the_code_that_agents_expect() {
        let status = Status::from(StartError::recoverable("the image is locked"));
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "the image is locked"));
        assert!(is_recoverable(&status));
        // Field 1 = 9, field 2 the text, field 3 an `Any` with its type in field 1 and a true in field 2.
        let mut wanted = vec![0x08, 9, 0x12, 19];
        wanted.extend(b"the image is locked");
        wanted.extend([0x1a, TYPE.len() as u8 + 6, 0x0a, TYPE.len() as u8]);
        wanted.extend(TYPE.as_bytes());
        wanted.extend([0x12, 2, 0x08, 1]);
        assert_eq!(status.details(), wanted);
    }

    #[test]
    fn an_error_is_final_unless_it_says_otherwise() {
        let status = Status::from(StartError::from(PluginError::not_found("no user alice")));
        assert_eq!((status.code(), status.details().len()), (Code::NotFound, 0));
        assert!(!is_recoverable(&status));
        assert!(!is_recoverable(&Status::with_details(Code::Internal, "x", b"\xff\xff".as_slice().into())));
    }
}

//! What finds a task again: kept by the agent, given back to a later plugin.

use prost::Message;
use yurt_keeper::Identity;

use crate::error::HandleError;

/// The newest version that is known here. Raised when an older release must not read a handle; fields alone are only added.
const VERSION: u32 = 1;

/// Finds a task again. No secrets, and nothing that the entry of the task holds itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Handle(pub(crate) Record);

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Record {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    /// The boot in which the task was started.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) boot_id: Vec<u8>,
    /// The entry's name: 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) entry: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub(crate) task: Option<Identity>,
    #[prost(message, optional, tag = "5")]
    pub(crate) keeper: Option<Identity>,
}

impl Handle {
    pub(crate) fn new(boot_id: &[u8], entry: [u8; 16], task: Identity, keeper: Option<Identity>) -> Handle {
        let (boot_id, entry) = (boot_id.to_vec(), entry.to_vec());
        Handle(Record { version: VERSION, boot_id, entry, task: Some(task), keeper })
    }

    /// For the agent to keep: about 80 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    /// What an agent gave back.
    pub fn from_bytes(bytes: &[u8]) -> Result<Handle, HandleError> {
        let garbage = |what: &str| HandleError::Garbage(what.into());
        if bytes.is_empty() {
            return Err(garbage("it is empty"));
        }
        let record = Record::decode(bytes).map_err(|e| garbage(&e.to_string()))?;
        match record.version {
            0 => return Err(garbage("it has no version")),
            1..=VERSION => {}
            found => return Err(HandleError::Newer { found, known: VERSION }),
        }
        if record.boot_id.len() != 16 || record.entry.len() != 16 {
            return Err(garbage("it names neither boot nor entry"));
        }
        match record.task {
            Some(task) if task.pid > 1 => Ok(Handle(record)),
            _ => Err(garbage("it names no process")),
        }
    }

    pub(crate) fn entry(&self) -> [u8; 16] {
        // Its length was looked at in `from_bytes`, or came from `new`.
        self.0.entry.as_slice().try_into().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> Handle {
        let identity = Identity { pid: 4_000_000, start_time: u64::MAX >> 8, inode: u64::MAX >> 8 };
        Handle::new(&[0xff; 16], [0xff; 16], identity, Some(identity))
    }

    #[test]
    fn a_handle_comes_back_and_is_small() {
        let bytes = handle().to_bytes();
        assert!(bytes.len() <= 100, "{} bytes", bytes.len());
        assert_eq!(Handle::from_bytes(&bytes).expect("own bytes"), handle());
    }

    #[test]
    fn bytes_of_others_are_refused() {
        for bytes in [&b""[..], b"\0", b"garbage", &[0x81, 0xa1, 0x61, 0x01], &handle().to_bytes()[1..]] {
            assert!(matches!(Handle::from_bytes(bytes), Err(HandleError::Garbage(_))), "{bytes:?}");
        }
        let whole = handle().to_bytes();
        for length in 0..whole.len() {
            assert!(Handle::from_bytes(&whole[..length]).is_err() || length > 40, "{length}");
        }
    }

    #[test]
    fn a_handle_of_a_later_version_is_named() {
        let mut later = handle();
        later.0.version = 2;
        let refused = Handle::from_bytes(&later.to_bytes()).expect_err("later");
        assert_eq!(refused.to_string(), "the driver state is of version 2; this release reads up to 1");
    }
}

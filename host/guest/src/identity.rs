//! Who a guest is, in every error and log line about it.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::error::short;
use crate::journal::hex;

/// Name and version as the guest says, digest as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Before `describe` answered: the file's or embedded guest's name.
    pub(crate) name: String,
    /// Empty before `describe` answered.
    pub(crate) version: String,
    pub(crate) digest: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.version.is_empty() { "" } else { " " };
        write!(f, "{}{space}{} ({})", self.name, self.version, short(&self.digest))
    }
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

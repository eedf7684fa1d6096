//! What is known of a guest that may be called, whatever its world.

use semver::Version;

use crate::call::Callee;
use crate::error::{LoadCause, LoadError, Stage};
use crate::journal::clean;
use crate::outline::Import;
use crate::usb::Description;

pub(crate) struct Guest {
    pub(crate) callee: Callee,
    pub(crate) about: Description,
    pub(crate) contract: Version,
    pub(crate) imports: Vec<Import>,
    pub(crate) origin: String,
}

impl Guest {
    pub(crate) fn digest(&self) -> &str {
        &self.callee.identity.digest
    }

    pub(crate) fn refused(&self, stage: Stage, cause: LoadCause) -> LoadError {
        let digest = Some(self.digest().to_owned());
        LoadError { origin: self.origin.clone(), digest, stage, cause: Box::new(cause) }
    }

    /// The guest's own sentences end up in logs and in front of people.
    pub(crate) fn printable(&self, text: &str) -> String {
        let most = usize::try_from(self.callee.shared.limits().text).unwrap_or(usize::MAX);
        clean(text, most).0
    }
}

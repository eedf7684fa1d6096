//! What went wrong: step, reason, and with what.

use std::fmt::Display;
use std::io;

use yurt_keeper::{Failed, Step};

/// A step that failed.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Failed);

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// Without a reason of the kernel's.
    pub(crate) fn new(step: Step, detail: impl Display) -> Failure {
        Failure(Failed { step: step.number(), errno: 0, detail: detail.to_string() })
    }
}

/// Names the step of an error.
pub(crate) trait During<T> {
    fn during(self, step: Step, detail: impl Display) -> Outcome<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, step: Step, detail: impl Display) -> Outcome<T> {
        self.map_err(|why| {
            let errno = why.raw_os_error().unwrap_or_default();
            let detail = if errno == 0 { format!("{detail}: {why}") } else { detail.to_string() };
            Failure(Failed { step: step.number(), errno, detail })
        })
    }
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, step: Step, detail: impl Display) -> Outcome<T> {
        self.map_err(io::Error::from).during(step, detail)
    }
}

//! What one call took.

use std::time::Duration;

use serde::Serialize;

use crate::identity::Identity;

/// What one call took, and how it ended. Taking it costs less than a microsecond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The function of the contract.
    pub call: &'static str,
    /// Time in the called function, from handing over its arguments until its answer is copied out. The guest's allocator takes part in
    /// both, so they are counted as its own.
    pub guest_time: Duration,
    /// The rest: waiting for a place, setting up a fresh instance and dropping it, holding the answer against the limits.
    pub host_time: Duration,
    /// Bytes of all linear memories at the end. They never shrink, so that is the most there was.
    pub memory: u64,
    /// Bytes of the arguments: numbers by their width, texts and lists with eight more for pointer and length, one for a variant.
    pub bytes_in: u64,
    /// Bytes of the answer, counted in the same way; 0 where there is none.
    pub bytes_out: u64,
    /// Lines that the guest wrote, those left out included.
    pub log_lines: u64,
    /// Units of work as the engine counts them; only where [`crate::Options::fuel`] is set, since counting slows every call.
    pub fuel: Option<u64>,
    /// The [`crate::Cause::kind`]; none: it answered.
    pub failed: Option<&'static str>,
}

impl Receipt {
    pub(crate) fn of(call: &'static str) -> Receipt {
        Receipt {
            call,
            guest_time: Duration::ZERO,
            host_time: Duration::ZERO,
            memory: 0,
            bytes_in: 0,
            bytes_out: 0,
            log_lines: 0,
            fuel: None,
            failed: None,
        }
    }

    /// Guest and host together.
    pub fn time(&self) -> Duration {
        self.guest_time.saturating_add(self.host_time)
    }

    /// As a `debug` event under target `receipt`.
    pub(crate) fn emit(&self, of: &Identity) {
        if !tracing::enabled!(target: "receipt", tracing::Level::DEBUG) {
            return;
        }
        tracing::debug!(
            target: "receipt",
            guest = of.name,
            version = of.version,
            call = self.call,
            guest_us = micros(self.guest_time),
            host_us = micros(self.host_time),
            memory = self.memory,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            log_lines = self.log_lines,
            failed = self.failed,
            "a call was answered"
        );
    }
}

impl Serialize for Receipt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Receipt", 8)?;
        fields.serialize_field("guest_nanoseconds", &nanos(self.guest_time))?;
        fields.serialize_field("host_nanoseconds", &nanos(self.host_time))?;
        fields.serialize_field("memory", &self.memory)?;
        fields.serialize_field("bytes_in", &self.bytes_in)?;
        fields.serialize_field("bytes_out", &self.bytes_out)?;
        fields.serialize_field("log_lines", &self.log_lines)?;
        fields.serialize_field("fuel", &self.fuel)?;
        fields.serialize_field("failed", &self.failed)?;
        fields.end()
    }
}

pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

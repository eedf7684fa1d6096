//! How a task or a command ended.

use std::time::{Duration, SystemTime};

/// How a task or a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + signal if it was ended by one; -1 if nobody knows.
    pub code: i32,
    /// The signal that ended it; 0: none.
    pub signal: u32,
    /// The kernel killed a process of it because its memory was used up, and it ended without success.
    pub oom_killed: bool,
    /// When. Of a task whose end nobody saw: when it was found to have ended.
    pub at: SystemTime,
    /// Why the code is not known: one clause.
    pub unknown: Option<String>,
    /// Processor time in its own code, children waited for included. Zero where its keeper did not see it end.
    pub user: Duration,
    /// Processor time in the kernel, likewise.
    pub system: Duration,
    /// Largest resident set of one process, in bytes; likewise.
    pub max_rss: u64,
    /// Bytes of its output that were thrown away because nobody read its logs.
    pub log_bytes_dropped: u64,
}

/// A success at no time: a start for those that are put together by hand.
impl Default for Exit {
    fn default() -> Exit {
        Exit::from_keeper(yurt_keeper::Exit::default())
    }
}

impl Exit {
    /// From the file or the record of a keeper.
    pub(crate) fn from_keeper(exit: yurt_keeper::Exit) -> Exit {
        Exit {
            code: exit.code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
            at: SystemTime::UNIX_EPOCH + Duration::from_nanos(exit.at),
            unknown: (!exit.unknown.is_empty()).then_some(exit.unknown),
            user: Duration::from_micros(exit.user_micros),
            system: Duration::from_micros(exit.system_micros),
            max_rss: exit.max_rss_kib.saturating_mul(1024),
            log_bytes_dropped: exit.log_bytes_dropped,
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The exit that a wait status in the form of `wait(2)` means.
pub(crate) fn from_status(status: i32, oom_killed: bool, at: SystemTime) -> yurt_keeper::Exit {
    let exit = yurt_keeper::Exit::of_status(status);
    yurt_keeper::Exit { oom_killed: oom_killed && exit.code != 0, at: nanos(at), ..exit }
}

/// The exit of a task that nobody saw end.
pub(crate) fn unknown(why: &str, at: SystemTime) -> yurt_keeper::Exit {
    yurt_keeper::Exit { code: -1, unknown: why.to_owned(), at: nanos(at), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_a_code_or_a_signal() {
        let at = SystemTime::UNIX_EPOCH;
        assert_eq!((from_status(42 << 8, false, at).code, from_status(42 << 8, false, at).signal), (42, 0));
        assert_eq!((from_status(9, false, at).code, from_status(9, false, at).signal), (137, 9));
        // The core flag.
        assert_eq!((from_status(11 | 0x80, false, at).code, from_status(11 | 0x80, false, at).signal), (139, 11));
    }

    #[test]
    fn success_is_not_a_lack_of_memory() {
        assert!(!from_status(0, true, SystemTime::UNIX_EPOCH).oom_killed);
        assert!(from_status(9, true, SystemTime::UNIX_EPOCH).oom_killed);
    }
}

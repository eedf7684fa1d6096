//! How many files this process may have open: each task that runs needs about four, and what a service manager gives by default is the
//! 1024 of old, as a soft limit.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static GIVEN: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit as far as this process may. Keepers, and so tasks, and probes still get the one that there was before.
///
/// # Errors
/// The kernel's reason; then the limit is as it was.
pub fn raise_open_files() -> io::Result<()> {
    let given = GIVEN.get_or_init(|| getrlimit(Resource::Nofile));
    Ok(setrlimit(Resource::Nofile, Rlimit { current: given.maximum, maximum: given.maximum })?)
}

/// What a new process is to get instead of this process's own; `None`: that is still the one that was given.
pub(crate) fn given() -> Option<libc::rlimit64> {
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM64_INFINITY);
    GIVEN.get().map(|given| libc::rlimit64 { rlim_cur: number(given.current), rlim_max: number(given.maximum) })
}

//! What `/proc` says of processes.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use yurt_keeper::Identity;

/// What tells this process from every other, seen through its pidfd.
pub(crate) fn identity(pidfd: BorrowedFd<'_>, pid: i32) -> Identity {
    Identity {
        pid: pid.unsigned_abs(),
        start_time: stat(pid).map(|stat| stat.start_time).unwrap_or_default(),
        inode: yurt_keeper::inode(pidfd).unwrap_or_default(),
    }
}

/// The keeper itself.
pub(crate) fn own_identity() -> Identity {
    let own = getpid();
    let pid = own.as_raw_pid();
    match pidfd_open(own, PidfdFlags::empty()) {
        Ok(pidfd) => identity(pidfd.as_fd(), pid),
        Err(_) => Identity { pid: pid.unsigned_abs(), ..Identity::default() },
    }
}

/// The process that a pidfd stands for, by its number here.
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Of `/proc/<pid>/stat`.
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    start_time: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold anything: what counts begins behind its last bracket, with field 3.
    let behind = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(behind + 1..)?).ok()?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Stat { pid, parent, session, start_time })
}

/// Every process that can be seen here.
pub(crate) fn all() -> Vec<Stat> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?)).collect()
}

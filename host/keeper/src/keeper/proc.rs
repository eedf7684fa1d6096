//! What `/proc` says of processes.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use yurt_keeper::{Identity, Stat};

/// What tells this process from every other, seen through its pidfd.
pub(crate) fn identity(pidfd: BorrowedFd<'_>, pid: i32) -> Identity {
    Identity {
        pid: pid.unsigned_abs(),
        start_time: Stat::read(pid.unsigned_abs()).map(|stat| stat.start_time).unwrap_or_default(),
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

//! What `/proc` says of a process.

use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use yurt_keeper::Identity;

/// What tells this process from every other, seen through its pidfd.
pub(crate) fn identity(pidfd: BorrowedFd<'_>, pid: i32) -> Identity {
    Identity {
        pid: pid.unsigned_abs(),
        start_time: start_time(pid).unwrap_or_default(),
        inode: rustix::fs::fstat(pidfd).map(|meta| meta.st_ino).unwrap_or_default(),
    }
}

/// The keeper itself.
pub(crate) fn own_identity() -> Identity {
    let own = rustix::process::getpid();
    let pid = own.as_raw_nonzero().get();
    let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty());
    let inode = pidfd.ok().and_then(|fd| rustix::fs::fstat(fd).ok()).map(|meta| meta.st_ino).unwrap_or_default();
    Identity { pid: pid.unsigned_abs(), start_time: start_time(pid).unwrap_or_default(), inode }
}

/// The process that a pidfd stands for, by its number here.
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Field 22 of `/proc/<pid>/stat`. The name in field 2 may hold anything, so what counts begins behind its last bracket.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let behind = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(behind + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// 16 bytes that are others after every boot.
pub(crate) fn boot_id() -> Vec<u8> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

//! What `/proc` says of processes, and who is who.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use yurt_keeper::Identity;

use crate::stats::{CpuTime, ProcessStats};
use crate::sys::send_signal;

/// Some fields of `/proc/<pid>/stat`: `proc_pid_stat(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: u8,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    pub(crate) start_time: u64,
    pub(crate) rss_pages: u64,
    /// In the form of `wait(2)`; 0 as well where the kernel does not tell.
    pub(crate) exit_status: i32,
}

impl Stat {
    pub(crate) fn read(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(line: &str) -> Option<Stat> {
        // The name may hold anything, also brackets and blanks: what counts is the last one.
        let (_, fields) = line.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // The first is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |at: usize| field(at)?.parse::<u64>().ok();
        Some(Stat {
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().unwrap_or(0),
            user_ticks: number(14)?,
            system_ticks: number(15)?,
            start_time: number(22)?,
            rss_pages: number(24)?,
            exit_status: field(52).and_then(|field| field.parse().ok()).unwrap_or(0),
        })
    }

    pub(crate) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    pub(crate) fn usage(&self, pid: u32) -> ProcessStats {
        let nanos = |ticks: u64| ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1));
        ProcessStats {
            pid,
            rss: self.rss_pages.saturating_mul(rustix::param::page_size() as u64),
            cpu: CpuTime { user_nanos: nanos(self.user_ticks), system_nanos: nanos(self.system_ticks) },
        }
    }
}

/// All processes of this machine.
pub(crate) fn all() -> BTreeMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, Stat::read(pid)?))).collect()
}

/// A process that is the very one, alive or not yet reaped.
pub(crate) fn find(wanted: &Identity) -> Option<OwnedFd> {
    let pidfd = open(wanted.pid)?;
    // While it is not reaped its number is nobody else's, so what is read here is of the process that the descriptor names.
    let stat = Stat::read(wanted.pid)?;
    let same_inode = match yurt_keeper::inode(&pidfd) {
        Some(inode) if wanted.inode != 0 => inode == wanted.inode,
        _ => true,
    };
    let there = send_signal(pidfd.as_fd(), 0) != Err(Errno::SRCH) || stat.is_zombie();
    (stat.start_time == wanted.start_time && same_inode && there).then_some(pidfd)
}

/// A descriptor of whatever process has this number now.
pub(crate) fn open(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Whether it has ended, reaped or not.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// The session of `main`, and all descendants of `main` and of `keeper`, without the keeper and without zombies: what there is to know
/// of a task without control groups.
pub(crate) fn family(main: Option<u32>, keeper: Option<u32>) -> Vec<u32> {
    let all = all();
    let belongs = |pid: u32| {
        let (mut next, mut hops) = (pid, 0);
        // A circle is impossible, but the table was not read in one moment.
        while let Some(stat) = all.get(&next).filter(|_| next > 1 && Some(next) != keeper && hops < all.len()) {
            if Some(next) == main || Some(stat.session) == main || Some(stat.parent) == keeper {
                return true;
            }
            (next, hops) = (stat.parent, hops + 1);
        }
        false
    };
    all.iter().filter(|(pid, stat)| !stat.is_zombie() && belongs(**pid)).map(|(pid, _)| *pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 7 42 9 0 -1 4194304 1 2 3 4 11 12 0 0 20 0 1 0 777 1000 55 18446744073709551615 \
                    1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 256";
        let stat = Stat::parse(line).expect("a stat line");
        assert_eq!((stat.state, stat.parent, stat.session), (b'S', 7, 9));
        assert_eq!((stat.user_ticks, stat.system_ticks, stat.start_time, stat.rss_pages), (11, 12, 777, 55));
        assert_eq!(stat.exit_status, 256);
    }

    #[test]
    fn a_process_is_found_by_its_identity_and_a_successor_of_its_number_is_not() {
        let pid = std::process::id();
        let pidfd = open(pid).expect("ourselves");
        let start_time = Stat::read(pid).expect("ourselves").start_time;
        let inode = yurt_keeper::inode(&pidfd).unwrap_or(0);
        let we = Identity { pid, start_time, inode };
        assert!(find(&we).is_some());
        assert!(find(&Identity { inode: 0, ..we }).is_some());
        assert!(find(&Identity { start_time: start_time + 1, ..we }).is_none());
        if inode != 0 {
            assert!(find(&Identity { inode: inode + 1, ..we }).is_none());
        }
    }

    #[test]
    fn a_boot_has_a_name_of_sixteen_bytes() {
        assert_eq!(yurt_keeper::boot_id().expect("/proc").len(), 16);
    }
}

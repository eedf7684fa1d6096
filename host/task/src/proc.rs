//! What `/proc` says of processes, and who is who.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use yurt_keeper::{Identity, Stat};

use crate::stats::{CpuTime, ProcessStats};
use crate::sys::send_signal;

/// What a process has used.
pub(crate) fn usage(pid: u32) -> Option<ProcessStats> {
    let stat = Stat::read(pid)?;
    let nanos = |ticks: u64| ticks.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1));
    Some(ProcessStats {
        pid,
        rss: stat.rss_pages.saturating_mul(rustix::param::page_size() as u64),
        cpu: CpuTime { user_nanos: nanos(stat.user_ticks), system_nanos: nanos(stat.system_ticks) },
    })
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
    let all = Stat::all();
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
}

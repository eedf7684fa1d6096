//! The two namespaces that take more than a call: of time, and of users.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::thread::UnshareFlags;
use rustix::time::{ClockId, clock_gettime};
use yurt_keeper::Step;

use crate::child::UNMAPPED;
use crate::failure::{During as _, Outcome};
use crate::{sys, wire};

const OFFSETS: &str = "/proc/self/timens_offsets";

/// Has the clocks that count from the machine's start count from now, for whoever the keeper makes from here on: the task, its init, all
/// commands. Not for the keeper itself. In whole seconds, so that none of them began before its clocks did. `time_namespaces(7)`
pub(crate) fn begin_time() -> Outcome<()> {
    unshare(UnshareFlags::NEWTIME, Step::TimeNamespace, "user.max_time_namespaces")?;
    let clocks = [("monotonic", ClockId::Monotonic), ("boottime", ClockId::Boottime)];
    let back = clocks.map(|(name, clock)| format!("{name} -{} 0\n", clock_gettime(clock).tv_sec));
    fs::write(OFFSETS, back.concat()).during(Step::TimeNamespace, OFFSETS)
}

/// Enters a new user namespace: all that takes privileges of the host's is to be done by then. Which ids there are in it, whoever is in it
/// may not say: the keeper does, on our word. `user_namespaces(7)`
pub(crate) fn enter_users(report: &OwnedFd) -> Outcome<()> {
    unshare(UnshareFlags::NEWUSER, Step::UserNamespace, "user.max_user_namespaces")?;
    wire::send(report, &[UNMAPPED], &[]).during(Step::UserNamespace, "the keeper is gone")?;
    let (word, _) = wire::receive(report).during(Step::UserNamespace, "the keeper is gone")?;
    if word.is_empty() { sys::exit_now(127) } else { Ok(()) }
}

/// Of a child in a new user namespace: every id that there is here is the same there.
pub(crate) fn map_users(child: i32, report: &OwnedFd) -> Outcome<()> {
    for file in ["uid_map", "gid_map"] {
        let own = format!("/proc/self/{file}");
        let here = fs::read_to_string(&own).during(Step::UserNamespace, own)?;
        let theirs = format!("/proc/{child}/{file}");
        // In one piece, which is all that the kernel takes.
        fs::write(&theirs, same(&here)).during(Step::UserNamespace, theirs)?;
    }
    wire::send(report, b"M", &[]).during(Step::UserNamespace, "the new process is gone")
}

/// Lines of the first id here, the first one outside, and how many: a map of those here to themselves.
fn same(here: &str) -> String {
    let range = |line: &str| {
        let mut fields = line.split_whitespace();
        let (first, count) = (fields.next()?, fields.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    };
    here.lines().filter_map(range).collect()
}

/// Leaves namespaces for new ones, whose number has a bound of this name.
pub(crate) fn unshare(kinds: UnshareFlags, step: Step, bound: &str) -> Outcome<()> {
    sys::unshare(kinds).or_else(|why| {
        let what = match why {
            Errno::INVAL => "this kernel has none".to_owned(),
            Errno::NOSPC => format!("{bound} allows no more of them"),
            Errno::PERM => "a security module is in the way, or the plugin lacks a privilege".to_owned(),
            _ => "unshare".to_owned(),
        };
        Err(why).during(step, what)
    })
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn ids_are_what_they_are_here_whatever_they_are_further_out() {
        assert_eq!(same("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(same("0 100000 1000\n1000 1000 1\n"), "0 0 1000\n1000 1000 1\n");
    }
}

//! The control groups of the task, by their directories: entering them, counting who was killed for memory, groups for commands.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use yurt_keeper::Step;

use crate::failure::{During as _, Outcome};
use crate::plan::Plan;

/// Lets the calling process, which has one thread, enter a control group of version 1. By `tasks` and not by `cgroup.procs`: before the
/// kernel moves a whole process it waits for every processor to pass a quiet point, some 10 ms.
pub(crate) fn enter(dir: BorrowedFd<'_>, name: &str) -> Outcome<()> {
    write(dir, "tasks", b"0").during(Step::Cgroup, name)
}

/// How many processes were killed because the memory of the group was used up, ever.
pub(crate) fn oom_kills(plan: &Plan) -> u64 {
    let count = |dir: &OwnedFd, file| {
        let text = read(dir.as_fd(), file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    };
    let memory = plan.start.controllers.iter().position(|name| name == "memory");
    let found = match (&plan.cgroup_v2, memory.and_then(|at| plan.cgroups_v1.get(at))) {
        (Some(dir), _) => count(dir, "memory.events"),
        (None, Some(dir)) => count(dir, "memory.oom_control"),
        (None, None) => None,
    };
    found.unwrap_or_default()
}

/// Nobody is left in the group. Unknown is no.
pub(crate) fn is_empty(plan: &Plan) -> bool {
    match (&plan.cgroup_v2, freezer(plan)) {
        (Some(dir), _) => read(dir.as_fd(), "cgroup.events").is_ok_and(|text| text.contains("populated 0")),
        (None, Some(dir)) => read(dir.as_fd(), "cgroup.procs").is_ok_and(|text| text.is_empty()),
        (None, None) => false,
    }
}

/// Of version 1 the one in which processes are counted and killed.
pub(crate) fn freezer(plan: &Plan) -> Option<&OwnedFd> {
    let at = plan.start.controllers.iter().position(|name| name == "freezer")?;
    plan.cgroups_v1.get(at)
}

/// The group of one command, below the task's.
pub(crate) struct Own {
    parent: OwnedFd,
    name: String,
    pub(crate) dir: OwnedFd,
    v2: bool,
}

impl Own {
    /// Makes it; none where the task has none.
    pub(crate) fn make(plan: &Plan, number: u64) -> Outcome<Option<Own>> {
        let (parent, v2) = match (&plan.cgroup_v2, freezer(plan)) {
            (Some(dir), _) => (dir, true),
            (None, Some(dir)) => (dir, false),
            (None, None) => return Ok(None),
        };
        let name = format!("exec-{number}.scope");
        match mkdirat(parent, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(why) => return Err(why).during(Step::Cgroup, name),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(parent, &name, flags, Mode::empty()).during(Step::Cgroup, &name)?;
        let parent = parent.try_clone().during(Step::Cgroup, &name)?;
        Ok(Some(Own { parent, name, dir, v2 }))
    }

    pub(crate) fn is_v2(&self) -> bool {
        self.v2
    }

    /// Kills everything in it.
    pub(crate) fn kill(&self) {
        kill(self.dir.as_fd(), self.v2);
    }

    /// Removes it; false while somebody is in there.
    pub(crate) fn remove(&self) -> bool {
        !matches!(unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR), Err(Errno::BUSY))
    }
}

/// Kills everything in the task's group, as far as there is one.
pub(crate) fn kill_task(plan: &Plan) {
    match (&plan.cgroup_v2, freezer(plan)) {
        (Some(dir), _) => kill(dir.as_fd(), true),
        (None, Some(dir)) => kill(dir.as_fd(), false),
        (None, None) => {}
    }
}

/// Bounded: what the kernel does not let go of stays.
fn kill(dir: BorrowedFd<'_>, v2: bool) {
    if v2 && write(dir, "cgroup.kill", b"1").is_ok() {
        return;
    }
    for _ in 0..20 {
        if !v2 {
            // Nobody can fork while all are being killed.
            let _ = write(dir, "freezer.state", b"FROZEN");
        }
        let processes = read(dir, "cgroup.procs").unwrap_or_default();
        let mut any = false;
        for pid in processes.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)) {
            any = true;
            let _ = kill_process(pid, Signal::KILL);
        }
        if !v2 {
            let _ = write(dir, "freezer.state", b"THAWED");
        }
        if !any {
            return;
        }
        sleep(Duration::from_millis(1));
    }
}

fn read(dir: BorrowedFd<'_>, file: &str) -> io::Result<String> {
    let file = openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text)?;
    Ok(text)
}

fn write(dir: BorrowedFd<'_>, file: &str, text: &[u8]) -> io::Result<()> {
    let file = openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    File::from(file).write_all(text)
}

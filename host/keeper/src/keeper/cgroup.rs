//! The control groups of the task, by their directories: entering them, counting who was killed for memory, killing, groups for
//! commands below them.

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

/// How long a freezer of version 1 gets to hold everybody, in milliseconds. Killing goes on in any case, and is repeated.
const FREEZING: u32 = 10;

/// All that the task is in.
pub(crate) struct Groups(pub(crate) Vec<Group>);

/// One of them.
pub(crate) struct Group {
    pub(crate) dir: OwnedFd,
    /// As the host sees it, for people.
    pub(crate) path: String,
    /// Of version 1; none: it is one of version 2.
    pub(crate) controller: Option<String>,
}

impl Groups {
    /// The one of version 2.
    pub(crate) fn unified(&self) -> Option<&OwnedFd> {
        self.0.iter().find(|group| group.controller.is_none()).map(|group| &group.dir)
    }

    fn of(&self, controller: &str) -> Option<&OwnedFd> {
        self.0.iter().find(|group| group.controller.as_deref() == Some(controller)).map(|group| &group.dir)
    }

    /// Lets the calling process, which has one thread, enter those of version 1, a command its own in place of the task's; and the one
    /// of version 2 if it was not born there.
    ///
    /// Those of version 1 by `tasks` and not by `cgroup.procs`: before the kernel moves a whole process it waits for every processor to
    /// pass a quiet point, some 10 ms.
    pub(crate) fn enter(&self, own: Option<&Own>, born_there: bool) -> Outcome<()> {
        for group in &self.0 {
            let own = own.filter(|own| match &group.controller {
                Some(controller) => !own.unified && controller == "freezer",
                None => own.unified,
            });
            let (dir, path) = own.map_or((&group.dir, group.path.clone()), |own| (&own.dir, own.path(&group.path)));
            let file = if group.controller.is_some() { "tasks" } else { "cgroup.procs" };
            if group.controller.is_some() || !born_there {
                write(dir.as_fd(), file, b"0").during(Step::Cgroup, path)?;
            }
        }
        Ok(())
    }

    /// How many processes were killed because the memory of the group was used up, ever. The kernel counts before it kills.
    pub(crate) fn oom_kills(&self) -> u64 {
        let count = |dir: &OwnedFd, file| {
            let text = read(dir.as_fd(), file).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
        };
        match (self.of("memory"), self.unified()) {
            (Some(dir), _) => count(dir, "memory.oom_control"),
            (None, Some(dir)) => count(dir, "memory.events"),
            (None, None) => None,
        }
        .unwrap_or_default()
    }

    /// Where processes are held and killed, and whether it is of version 2.
    fn killing(&self) -> Option<(&OwnedFd, bool)> {
        self.of("freezer").map(|dir| (dir, false)).or(self.unified().map(|dir| (dir, true)))
    }

    /// Kills everything that is in the task's group now, except this process. False: there is none in which that could be done. Not at
    /// one blow: the group may be used again, see `launch::make`.
    pub(crate) fn kill(&self, except: Option<i32>) -> bool {
        self.killing().map(|(dir, unified)| kill(dir.as_fd(), unified, except)).is_some()
    }
}

/// The group of one command, below the task's. Removed at the latest when this is dropped and nobody is left in it.
pub(crate) struct Own {
    parent: OwnedFd,
    name: String,
    dir: OwnedFd,
    unified: bool,
}

impl Own {
    /// Makes it; none where the task has none.
    pub(crate) fn make(groups: &Groups, number: u64) -> Outcome<Option<Own>> {
        let Some((parent, unified)) = groups.killing() else { return Ok(None) };
        let name = format!("exec-{number}.scope");
        match mkdirat(parent, &name, Mode::from_raw_mode(0o755)) {
            // A keeper that was killed may have left it.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(why) => return Err(why).during(Step::Cgroup, name),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(parent, &name, flags, Mode::empty()).during(Step::Cgroup, &name)?;
        let parent = parent.try_clone().during(Step::Cgroup, &name)?;
        Ok(Some(Own { parent, name, dir, unified }))
    }

    /// For a clone into it.
    pub(crate) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.then(|| self.dir.as_fd())
    }

    fn path(&self, parent: &str) -> String {
        format!("{parent}/{}", self.name)
    }

    /// Kills everything that is in it now.
    pub(crate) fn kill(&self) {
        if !(self.unified && write(self.dir.as_fd(), "cgroup.kill", b"1").is_ok()) {
            kill(self.dir.as_fd(), self.unified, None);
        }
    }

    /// False: somebody is still in it.
    pub(crate) fn remove(&self) -> bool {
        !matches!(unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR), Err(Errno::BUSY | Errno::NOTEMPTY))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.remove();
    }
}

/// One round: whoever is born meanwhile takes another one.
fn kill(dir: BorrowedFd<'_>, unified: bool, except: Option<i32>) {
    let (file, hold, release, held) = match unified {
        true => ("cgroup.freeze", "1", "0", ("cgroup.events", "frozen 1")),
        false => ("freezer.state", "FROZEN", "THAWED", ("freezer.state", "FROZEN")),
    };
    if write(dir, file, hold.as_bytes()).is_ok() {
        for _ in 0..FREEZING {
            if read(dir, held.0).is_ok_and(|text| text.contains(held.1)) {
                break;
            }
            sleep(Duration::from_millis(1));
        }
    }
    for pid in read(dir, "cgroup.procs").unwrap_or_default().lines() {
        if let Some(pid) = pid.parse().ok().filter(|pid| Some(*pid) != except).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let _ = write(dir, file, release.as_bytes());
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

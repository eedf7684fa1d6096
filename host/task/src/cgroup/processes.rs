//! Who is in a task's control groups, and the end of them.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::Groups;
use super::dir::Dir;
use crate::error::StepError;

/// How long processes may take to freeze; one that waits for a device does not.
const FREEZE: Duration = Duration::from_millis(5);

impl Groups {
    /// All processes of the task, those of commands included. None where it has no groups, or they are gone.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        if let Some(path) = self.main() {
            collect(path, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Kills everything once, except this process. What forks meanwhile is met by the next call. Blocks for a few milliseconds.
    ///
    /// Of version 2 `cgroup.kill` would do it at one blow. But then no process can be cloned into the group any more (Linux 6.18 kills
    /// it on arrival), and an agent uses the directory again for the next start of a task. So it is for the `obstinate`.
    pub(crate) fn kill_once(&self, obstinate: bool, except: Option<u32>) {
        let Some(dir) = self.main().and_then(|path| Dir::open(path).ok()) else { return };
        let v2 = matches!(self, Groups::V2(_));
        if v2 && obstinate && except.is_none() && dir.write("cgroup.kill", "1").is_ok() {
            return;
        }
        if self.processes().is_empty() {
            return;
        }
        // Nobody forks meanwhile. Groups below freeze along.
        let (file, freeze, thaw) = if v2 { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
        let _ = dir.write(file, freeze);
        let until = Instant::now() + FREEZE;
        while !is_frozen(&dir, v2) && Instant::now() < until {
            sleep(Duration::from_micros(100));
        }
        self.processes().into_iter().filter(|pid| Some(*pid) != except).for_each(kill);
        let _ = dir.write(file, thaw);
        thaw_below(&dir.path, file, thaw);
    }

    /// Kills what an earlier task left, everywhere but in a `cpuset` that others share. Blocks.
    pub(super) fn clear_leftovers(&self, within: Duration) -> Result<(), StepError> {
        let until = Instant::now() + within;
        let mut pause = Duration::from_micros(500);
        loop {
            let left = self.leftovers();
            if left.is_empty() {
                return Ok(());
            }
            tracing::warn!(groups = ?self.main(), processes = ?left, "killing what an earlier task left");
            self.kill_once(false, None);
            left.iter().copied().for_each(kill);
            if Instant::now() > until {
                let mut late = StepError::text("killing what an earlier task left", format!("{left:?}"), "");
                late.reason = crate::error::Reason::Late(format!("they did not end within {within:?}"));
                return Err(late);
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn leftovers(&self) -> Vec<u32> {
        let mut left = self.processes();
        if let Groups::V1(groups) = self {
            for group in groups.iter().filter(|group| !group.has("cpuset") && !group.has("freezer")) {
                collect(&group.path, &mut left);
            }
        }
        left.retain(|pid| may_be_killed(*pid));
        left.sort_unstable();
        left.dedup();
        left
    }
}

/// Neither process 1 nor ourselves, whoever put them there.
fn may_be_killed(pid: u32) -> bool {
    pid > 1 && pid != std::process::id()
}

fn kill(pid: u32) {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| may_be_killed(pid)) else { return };
    match kill_process(number, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => tracing::warn!(pid, "cannot kill it: {}", std::io::Error::from(errno)),
    }
}

fn is_frozen(dir: &Dir, v2: bool) -> bool {
    if v2 {
        // A kernel without it does not freeze.
        dir.table("cgroup.events").is_none_or(|events| events.get("frozen") != Some(0))
    } else {
        dir.read("freezer.state").is_ok_and(|state| state.trim() == "FROZEN")
    }
}

/// A command's group that was frozen by itself.
fn thaw_below(path: &Path, file: &str, thaw: &str) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::write(entry.path().join(file), thaw);
            thaw_below(&entry.path(), file, thaw);
        }
    }
}

/// Processes of a directory and of all below it. Zombies are not listed by the kernel; processes of other namespaces are, as 0.
fn collect(path: &Path, into: &mut Vec<u32>) {
    let listed = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    into.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid > 0));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), into);
        }
    }
}

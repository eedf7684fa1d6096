//! Before a task starts: its directories are there, nobody is in them, limits stand.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::devices::{self, Rule};
use super::dir::Dir;
use super::{Group, Groups, Hierarchies};
use crate::error::StepError;
use crate::launch::{Cgroup, Limits};

/// How long processes that an earlier task left may take to die.
const LEFTOVERS: Duration = Duration::from_secs(5);

/// Control groups that a task can be started in.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) groups: Groups,
    /// In the order of the groups.
    pub(crate) dirs: Vec<Dir>,
    /// Those that this room has to remove.
    pub(crate) made: Vec<PathBuf>,
}

/// Makes what is missing, kills what an earlier task left, sets limits. After an error nothing made here is left. `rules`: the devices
/// of a task with a root of its own. Blocks.
pub(crate) fn prepare(
    wanted: &Cgroup,
    hierarchies: &Hierarchies,
    limits: &Limits,
    rules: Option<&[Rule]>,
) -> Result<Prepared, StepError> {
    let mut prepared = Prepared { groups: Groups::None, dirs: Vec::new(), made: Vec::new() };
    let done = match wanted {
        Cgroup::None => Ok(()),
        Cgroup::V2(path) => prepared.v2(path, limits, rules),
        Cgroup::V1 { name, cpuset } => prepared.v1(name, cpuset, hierarchies, limits, rules),
    };
    match done {
        Ok(()) => Ok(prepared),
        Err(why) => {
            remove(&prepared.groups, &prepared.made);
            Err(why)
        }
    }
}

impl Prepared {
    fn v2(&mut self, path: &Path, limits: &Limits, rules: Option<&[Rule]>) -> Result<(), StepError> {
        self.groups = Groups::V2(path.to_owned());
        // Not what is above it: without the agent's hand there, nothing is counted here.
        match fs::create_dir(path) {
            Ok(()) => self.made.push(path.to_owned()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(not_made(path, &e)),
        }
        let dir = open(path)?;
        self.groups.clear_leftovers(LEFTOVERS)?;
        if let Some(most) = limits.memory_max {
            dir.set("memory.max", most)?;
            // Swap would only be a slower way to exceed it.
            dir.set_if_there("memory.swap.max", 0)?;
        }
        if let Some(low) = limits.memory_low {
            dir.set("memory.low", low)?;
        }
        if let Some(shares) = limits.cpu_shares {
            dir.set("cpu.weight", weight(shares))?;
        }
        if let Some(cpus) = &limits.cpuset {
            dir.set("cpuset.cpus", cpus)?;
        }
        if let Some(most) = limits.pids_max {
            dir.set("pids.max", most)?;
        }
        if let Some(rules) = rules {
            devices::allow_v2(&dir, rules)?;
        }
        self.dirs.push(dir);
        Ok(())
    }

    fn v1(
        &mut self,
        name: &Path,
        cpuset: &Path,
        hierarchies: &Hierarchies,
        limits: &Limits,
        rules: Option<&[Rule]>,
    ) -> Result<(), StepError> {
        let mut groups = Vec::new();
        for hierarchy in &hierarchies.v1 {
            let group = Group { controllers: hierarchy.controllers.clone(), path: hierarchy.mount.join(name) };
            if !group.has("cpuset") {
                // The agent does not make the others: one that is there is what an earlier start left.
                if make(&group.path)? || !group.is_agents() {
                    self.made.push(group.path.clone());
                }
                groups.push(group);
            } else if !cpuset.as_os_str().is_empty() {
                groups.push(Group { path: cpuset.to_owned(), ..group });
            }
            self.groups = Groups::V1(groups.clone());
        }
        if self.groups.main().is_none() {
            return Err(StepError::text(
                "preparing control groups",
                "freezer",
                "it is not mounted, and without it a task of version 1 cannot be killed as a whole",
            ));
        }
        for group in &groups {
            self.dirs.push(open(&group.path)?);
        }
        self.groups.clear_leftovers(LEFTOVERS)?;
        for (group, dir) in groups.iter().zip(&self.dirs) {
            limit_v1(group, dir, limits, rules)?;
        }
        Ok(())
    }
}

fn limit_v1(group: &Group, dir: &Dir, limits: &Limits, rules: Option<&[Rule]>) -> Result<(), StepError> {
    if group.has("memory") {
        if let Some(most) = limits.memory_max {
            dir.set("memory.limit_in_bytes", most)?;
            let _ = dir.write("memory.swappiness", "0");
        }
        if let Some(low) = limits.memory_low {
            dir.set("memory.soft_limit_in_bytes", low)?;
        }
    }
    if let Some(shares) = limits.cpu_shares.filter(|_| group.has("cpu")) {
        dir.set("cpu.shares", shares)?;
    }
    if let Some(most) = limits.pids_max.filter(|_| group.has("pids")) {
        dir.set("pids.max", most)?;
    }
    if group.has("cpuset") {
        if let Some(cpus) = &limits.cpuset {
            dir.set("cpuset.cpus", cpus)?;
        }
        inherit_cpuset(&group.path, dir)?;
    }
    if let Some(rules) = rules.filter(|_| group.has("devices")) {
        devices::allow_v1(dir, rules)?;
    }
    Ok(())
}

/// A new directory in `cpuset` may hold nobody before it has processors and memory: it gets its parent's.
pub(super) fn inherit_cpuset(path: &Path, dir: &Dir) -> Result<(), StepError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if dir.read(file).is_ok_and(|set| set.trim().is_empty())
            && let Some(set) = path.parent().and_then(|parent| fs::read_to_string(parent.join(file)).ok())
            && !set.trim().is_empty()
        {
            dir.set(file, set.trim())?;
        }
    }
    Ok(())
}

/// Shares of version 1, 2 to 262144, as a weight of version 2, 1 to 10000.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn open(path: &Path) -> Result<Dir, StepError> {
    Dir::open(path).map_err(|errno| StepError::errno("opening the control group", path.display().to_string(), errno))
}

fn not_made(path: &Path, e: &io::Error) -> StepError {
    let errno = Errno::from_io_error(e).unwrap_or(Errno::IO);
    StepError::errno("making the control group", path.display().to_string(), errno)
}

/// Makes a directory, and the one above it where that is missing; whether it was not there.
pub(super) fn make(path: &Path) -> Result<bool, StepError> {
    let failed = |e: io::Error| not_made(path, &e);
    // The one above may be removed by the end of another task just now.
    for _ in 0..10 {
        match fs::create_dir(path) {
            Ok(()) => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().ok_or(e).and_then(|parent| match fs::create_dir(parent) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
                    _ => Ok(()),
                });
                parent.map_err(failed)?;
            }
            Err(e) => return Err(failed(e)),
        }
    }
    Err(failed(io::ErrorKind::NotFound.into()))
}

/// Removes directories that this room made, and of hierarchies that the agent leaves alone the one above, once it is empty. What
/// somebody is still in stays; whether nothing stays.
pub(crate) fn remove(groups: &Groups, made: &[PathBuf]) -> bool {
    let mut gone = true;
    for path in made {
        remove_below(path);
        let removed = fs::remove_dir(path);
        gone &= removed.is_ok() || removed.is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        let Groups::V1(groups) = groups else { continue };
        let ours = groups.iter().any(|group| group.path == *path && !group.is_agents());
        if let Some(parent) = path.parent().filter(|_| ours) {
            let _ = fs::remove_dir(parent);
        }
    }
    gone
}

/// Removes what commands and the task itself left below a directory.
pub(crate) fn remove_below(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn shares_become_weights_over_the_whole_range() {
        assert_eq!([0, 2, 1024, 262_144, u64::MAX].map(weight), [1, 1, 39, 10_000, 10_000]);
    }
}

//! Before a task starts: its directories are there, nobody is in them, limits stand.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::devices::{self, Rule};
use super::dir::Dir;
use super::limits::{Written, check_v1, set_v1, set_v2};
use super::{Group, Groups, Hierarchies};
use crate::error::StepError;
use crate::launch::{Cgroup, Elsewhere, Limits};

/// How long processes that an earlier task left may take to die.
const LEFTOVERS: Duration = Duration::from_secs(5);

/// What a task asks for.
pub(crate) struct Wish<'a> {
    pub(crate) wanted: &'a Cgroup,
    /// Groups instead of the agent's.
    pub(crate) elsewhere: &'a [Elsewhere],
    pub(crate) hierarchies: &'a Hierarchies,
    pub(crate) limits: &'a Limits,
    /// The devices of a task with a root of its own.
    pub(crate) rules: Option<&'a [Rule]>,
    /// Is told of directories before they are made: whoever dies then leaves them.
    pub(crate) note: &'a dyn Fn(&[PathBuf]) -> Result<(), StepError>,
}

/// Control groups that a task can be started in.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) groups: Groups,
    /// In the order of the groups.
    pub(crate) dirs: Vec<Dir>,
    /// Those that this room has to remove.
    pub(crate) made: Vec<PathBuf>,
    /// What a start that fails has to take back.
    pub(crate) written: Written,
}

/// Makes what is missing, kills what an earlier task left, sets limits. After an error nothing made here is left, and limits are what they
/// were. Blocks.
pub(crate) fn prepare(wish: &Wish<'_>) -> Result<Prepared, StepError> {
    let mut prepared =
        Prepared { groups: Groups::None, dirs: Vec::new(), made: Vec::new(), written: Written::default() };
    let done = match wish.wanted {
        Cgroup::None if wish.elsewhere.is_empty() => Ok(()),
        Cgroup::None => Err(not_there("this plugin may use no control groups", wish.elsewhere)),
        Cgroup::V2(path) => prepared.v2(path, wish),
        Cgroup::V1 { name, cpuset } => prepared.v1(name, cpuset, wish),
    };
    match done {
        Ok(()) => Ok(prepared),
        Err(why) => {
            prepared.written.take_back();
            remove(&prepared.groups, &prepared.made);
            Err(why)
        }
    }
}

impl Prepared {
    fn v2(&mut self, path: &Path, wish: &Wish<'_>) -> Result<(), StepError> {
        let Wish { elsewhere, hierarchies, limits, rules, note, .. } = *wish;
        let (path, limits) = match (elsewhere, &hierarchies.v2) {
            ([], _) => (path.to_owned(), limits.clone()),
            ([Elsewhere { controller: None, path: other }], Some(mount)) => {
                (below(&mount.join(other), path)?, limits.without_the_agent_s())
            }
            _ => {
                return Err(not_there(
                    "this machine has version 2 of control groups, a task is in one of it",
                    elsewhere,
                ));
            }
        };
        self.groups = Groups::V2(path.clone());
        if !path.exists() {
            note(std::slice::from_ref(&path))?;
        }
        // Not what is above it: without the agent's hand there, nothing is counted here.
        match fs::create_dir(&path) {
            Ok(()) => self.made.push(path.clone()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && elsewhere.is_empty() => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.made.push(path.clone()),
            Err(e) => return Err(not_made(&path, &e)),
        }
        let dir = open(&path)?;
        self.groups.clear_leftovers(LEFTOVERS)?;
        set_v2(&mut self.written, &dir, &limits)?;
        if let Some(rules) = rules {
            devices::allow_v2(&dir, rules)?;
        }
        self.dirs.push(dir);
        Ok(())
    }

    fn v1(&mut self, name: &Path, cpuset: &Path, wish: &Wish<'_>) -> Result<(), StepError> {
        let Wish { elsewhere, hierarchies, limits, rules, note, .. } = *wish;
        let there = |other: &&Elsewhere| other.controller.as_ref().is_some_and(|name| hierarchies.has(name));
        if elsewhere.iter().filter(there).count() < elsewhere.len() {
            return Err(not_there("this machine has version 1 of control groups, and no such controller", elsewhere));
        }
        let theirs = limits.without_the_agent_s();
        let (mut groups, mut bounds, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for hierarchy in &hierarchies.v1 {
            let group = Group { controllers: hierarchy.controllers.clone(), path: hierarchy.mount.join(name) };
            let other = elsewhere.iter().find(|other| other.controller.as_ref().is_some_and(|name| group.has(name)));
            let group = match other {
                Some(other) => Group { path: below(&hierarchy.mount.join(&other.path), name)?, ..group },
                None if !group.has("cpuset") => group,
                None if !cpuset.as_os_str().is_empty() => Group { path: cpuset.to_owned(), ..group },
                None => continue,
            };
            // The agent does not make the others: one that is there is what an earlier start left.
            let ours = other.is_some() || !group.is_agents();
            if ours || (!group.has("cpuset") && !group.path.exists()) {
                missing.push(group.path.clone());
            }
            bounds.push(if other.is_some() { &theirs } else { limits });
            groups.push(group);
        }
        note(&missing)?;
        self.groups = Groups::V1(groups.clone());
        for path in missing {
            make(&path)?;
            self.made.push(path);
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
        let of_memory = groups.iter().zip(&bounds).find(|(group, _)| group.has("memory"));
        check_v1(&groups, of_memory.map_or(limits, |(_, limits)| limits))?;
        for ((group, dir), limits) in groups.iter().zip(&self.dirs).zip(bounds) {
            set_v1(&mut self.written, group, dir, limits)?;
            if group.has("cpuset") {
                inherit_cpuset(&group.path, dir)?;
            }
            if let Some(rules) = rules.filter(|_| group.has("devices")) {
                devices::allow_v1(dir, rules)?;
            }
        }
        Ok(())
    }
}

/// A directory of the task's own, named as the agent names its, in one that is there: who else is in that one is nobody's to kill.
fn below(there: &Path, agents: &Path) -> Result<PathBuf, StepError> {
    if !there.is_dir() {
        let why = format!("{} is not there: whoever grants it has to make it", there.display());
        return Err(StepError::text(ELSEWHERE, "no such file or directory", why));
    }
    Ok(there.join(agents.file_name().unwrap_or_default()))
}

/// In Nomad's words.
const ELSEWHERE: &str = "unable to configure cgroups";

fn not_there(why: &str, elsewhere: &[Elsewhere]) -> StepError {
    let asked: Vec<String> = elsewhere
        .iter()
        .map(|one| match &one.controller {
            Some(controller) => format!("{} of {controller}", one.path.display()),
            None => format!("{} of version 2", one.path.display()),
        })
        .collect();
    StepError::text(ELSEWHERE, asked.join(", "), why)
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
        // Never one of somebody else's.
        if let Some(parent) = path.parent().filter(|parent| ours && parent.ends_with("nomad")) {
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

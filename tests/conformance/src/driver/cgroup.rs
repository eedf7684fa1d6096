//! Control groups as an agent makes them for a task, in whichever hierarchy is mounted.
//!
//! Version 1: `/nomad/<alloc>.<task>` of freezer, cpu and memory, and of cpuset the common `/nomad/share` (or one below
//! `/nomad/reserve` for whole cores). Version 2: `/nomad.slice/share.slice/<alloc>.<task>.scope`. The parents stay, as they do after
//! an agent: another one on this machine may use them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::status_field;
use crate::patience;

const ROOT: &str = "/sys/fs/cgroup";
const CONTROLLERS: [&str; 3] = ["freezer", "cpu", "memory"];
const ACTIVATE: &str = "+cpuset +cpu +io +memory +pids";

/// Which version the machine has at `/sys/fs/cgroup`, by the rule that agents go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// A tmpfs with a directory per controller.
    V1,
    /// One tree.
    V2,
}

impl Hierarchy {
    /// Of this machine.
    pub fn here() -> Hierarchy {
        static HERE: OnceLock<Hierarchy> = OnceLock::new();
        *HERE.get_or_init(|| {
            let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
            let mut at_root = mounts.lines().filter(|line| line.split(' ').nth(4) == Some(ROOT));
            let kind = at_root.next_back().and_then(|line| line.split(" - ").nth(1)).unwrap_or_default();
            let hierarchy = match kind.split(' ').next() {
                Some("tmpfs") => Hierarchy::V1,
                Some("cgroup2") => Hierarchy::V2,
                other => panic!("no control groups at {ROOT} but {other:?}"),
            };
            hierarchy.prepare().unwrap_or_else(|why| panic!("the agent's part of {ROOT}: {why}"));
            hierarchy
        })
    }

    /// What an agent makes at its start.
    fn prepare(self) -> io::Result<()> {
        match self {
            Hierarchy::V1 => {
                for controller in CONTROLLERS {
                    fs::create_dir_all(format!("{ROOT}/{controller}/nomad"))?;
                }
                let root = PathBuf::from(format!("{ROOT}/cpuset"));
                for dir in ["nomad", "nomad/share", "nomad/reserve"] {
                    fs::create_dir_all(root.join(dir))?;
                    for file in ["cpuset.mems", "cpuset.cpus"] {
                        let own = root.join(dir).join(file);
                        if fs::read_to_string(&own)?.trim().is_empty() && dir != "nomad/reserve" {
                            fs::write(&own, fs::read_to_string(root.join(file))?)?;
                        }
                    }
                }
                let mems = fs::read_to_string(root.join("cpuset.mems"))?;
                fs::write(root.join("nomad/reserve/cpuset.mems"), mems)?;
                fs::write(root.join("nomad/reserve/cpuset.cpus"), fs::read_to_string(root.join("cpuset.cpus"))?)
            }
            Hierarchy::V2 => {
                let root = Path::new(ROOT);
                fs::write(root.join("cgroup.subtree_control"), ACTIVATE)?;
                for dir in ["nomad.slice", "nomad.slice/share.slice", "nomad.slice/reserve.slice"] {
                    fs::create_dir_all(root.join(dir))?;
                    fs::write(root.join(dir).join("cgroup.subtree_control"), ACTIVATE)?;
                }
                Ok(())
            }
        }
    }
}

/// The control groups of one task.
#[derive(Debug)]
pub struct Cgroups {
    hierarchy: Hierarchy,
    scope: String,
    dirs: Vec<PathBuf>,
    told: PathBuf,
}

impl Cgroups {
    /// Made for a task. `cores`: it has whole ones.
    pub fn make(alloc_id: &str, task: &str, cores: bool) -> Cgroups {
        let hierarchy = Hierarchy::here();
        let scope = format!("{alloc_id}.{task}");
        let mut dirs: Vec<PathBuf>;
        let told;
        match hierarchy {
            Hierarchy::V1 => {
                dirs = CONTROLLERS.iter().map(|name| PathBuf::from(format!("{ROOT}/{name}/nomad/{scope}"))).collect();
                if cores {
                    told = PathBuf::from(format!("{ROOT}/cpuset/nomad/reserve/{scope}"));
                    dirs.push(told.clone());
                } else {
                    told = PathBuf::from(format!("{ROOT}/cpuset/nomad/share"));
                }
            }
            Hierarchy::V2 => {
                let part = if cores { "reserve.slice" } else { "share.slice" };
                told = PathBuf::from(format!("{ROOT}/nomad.slice/{part}/{scope}.scope"));
                dirs = vec![told.clone()];
            }
        }
        for dir in &dirs {
            fs::create_dir(dir).unwrap_or_else(|why| panic!("{}: {why}", dir.display()));
        }
        if hierarchy == Hierarchy::V1 && cores {
            let mems = fs::read_to_string(format!("{ROOT}/cpuset/nomad/reserve/cpuset.mems")).expect("memory nodes");
            fs::write(told.join("cpuset.mems"), mems).expect("memory nodes");
        }
        Cgroups { hierarchy, scope, dirs, told }
    }

    /// What the agent tells the driver.
    pub fn told(&self) -> &Path {
        &self.told
    }

    /// The directory that counts memory (or with version 2 all): for its limits.
    pub fn dir(&self, controller: &str) -> PathBuf {
        match self.hierarchy {
            Hierarchy::V1 if controller == "cpuset" => self.told.clone(),
            Hierarchy::V1 => PathBuf::from(format!("{ROOT}/{controller}/nomad/{}", self.scope)),
            Hierarchy::V2 => self.told.clone(),
        }
    }

    /// A file's content.
    pub fn read(&self, controller: &str, file: &str) -> String {
        let path = self.dir(controller).join(file);
        fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display())).trim().to_owned()
    }

    /// All processes in it and below it.
    pub fn processes(&self) -> Vec<u32> {
        let dir = if self.hierarchy == Hierarchy::V1 { self.dir("freezer") } else { self.told.clone() };
        below(&dir).iter().flat_map(|dir| members(dir)).collect()
    }

    /// What holds the task and is not part of it: the parent of the outermost process in there, if there is one.
    pub fn supervisor(&self) -> Option<u32> {
        let own = self.processes();
        let mut parents = own.iter().filter_map(|pid| status_field(*pid, "PPid")?.parse().ok());
        parents.find(|parent| !own.contains(parent))
    }

    /// Directories of this task in any hierarchy that the agent did not make.
    pub fn strange(&self) -> Vec<PathBuf> {
        strange([self])
    }

    /// As an agent does when a task has ended: whatever is left in there is killed, then the directories go.
    pub fn remove(&self) {
        let mut all = named([self]);
        all.sort_by_key(|dir| std::cmp::Reverse(dir.as_os_str().len()));
        let began = Instant::now();
        while !all.is_empty() && began.elapsed() < patience(Duration::from_secs(10)) {
            for dir in &all {
                kill(dir, self.hierarchy);
            }
            all.retain(|dir| matches!(fs::remove_dir(dir), Err(why) if why.kind() != io::ErrorKind::NotFound));
            std::thread::sleep(Duration::from_millis(if all.is_empty() { 0 } else { 2 }));
        }
    }
}

/// Directories of these tasks in any hierarchy that the agent did not make.
pub(super) fn strange<'a>(tasks: impl IntoIterator<Item = &'a Cgroups> + Clone) -> Vec<PathBuf> {
    let mut found = named(tasks.clone());
    found.retain(|dir| !tasks.clone().into_iter().any(|task| task.dirs.contains(dir)));
    found
}

/// Directories that bear the name of one of these tasks, in all hierarchies.
fn named<'a>(tasks: impl IntoIterator<Item = &'a Cgroups>) -> Vec<PathBuf> {
    let names: Vec<&str> = tasks.into_iter().map(|task| task.scope.as_str()).collect();
    let mut all = below(Path::new(ROOT));
    all.retain(|dir| names.iter().any(|name| dir.to_string_lossy().contains(name)));
    all
}

fn kill(dir: &Path, hierarchy: Hierarchy) {
    if hierarchy == Hierarchy::V2 {
        let _ = fs::write(dir.join("cgroup.kill"), "1");
        return;
    }
    let _ = fs::write(dir.join("freezer.state"), "FROZEN");
    for pid in members(dir) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    let _ = fs::write(dir.join("freezer.state"), "THAWED");
}

fn members(dir: &Path) -> Vec<u32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect()
}

/// A directory and all below it, except where links lead. One without directories, as its count of links tells, is not read: each of
/// hundreds of control groups has dozens of files.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(dir) = found.get(next) {
        next += 1;
        if fs::metadata(dir).is_ok_and(|about| about.nlink() == 2) {
            continue;
        }
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let dirs: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.extend(dirs);
    }
    found
}

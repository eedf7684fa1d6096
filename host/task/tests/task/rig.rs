//! What an agent does around a task: log pipes, control groups, a runtime directory.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use yurt_task::{Cgroup, Isolation, Launch, Limits, Seccomp, Secret, Task, Tasks};

static NUMBER: AtomicU32 = AtomicU32::new(0);
const ROOT: &str = "/sys/fs/cgroup";

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The node has control groups of version 2 only.
pub(crate) fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Where version 2 is mounted: alone, or beside version 1 and then without controllers.
fn v2_mount() -> PathBuf {
    if is_v2() { ROOT.into() } else { Path::new(ROOT).join("unified") }
}

pub(crate) struct Rig {
    v2: bool,
    pub(crate) dir: tempfile::TempDir,
    /// `<allocation>.<task>`
    pub(crate) name: String,
    log: OwnedFd,
    groups: Vec<PathBuf>,
}

impl Rig {
    /// With the node's control groups.
    pub(crate) fn new() -> Rig {
        Rig::with(is_v2())
    }

    /// With version 2 and with version 1, as far as they are there. Version 2 beside version 1 limits and counts nothing.
    pub(crate) fn both() -> Vec<Rig> {
        let versions = [(is_root() && v2_mount().join("cgroup.procs").exists(), true), (!is_v2(), false)];
        versions.into_iter().filter(|(there, _)| *there).map(|(_, v2)| Rig::with(v2)).collect()
    }

    fn with(v2: bool) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        rustix::fs::mknodat(CWD, &log, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let log = rustix::fs::open(&log, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let name = format!("yurt-test-{}-{}.task", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut rig = Rig { v2, dir, name, log, groups: Vec::new() };
        if is_root() {
            rig.make_groups();
        }
        rig
    }

    fn make_groups(&mut self) {
        if self.v2 && !is_v2() {
            self.groups.push(v2_mount().join("nomad").join(&self.name));
        } else if self.v2 {
            let mut at = PathBuf::from(ROOT);
            for part in ["nomad.slice", "share.slice"] {
                fs::write(at.join("cgroup.subtree_control"), "+cpuset +cpu +io +memory +pids").unwrap();
                at.push(part);
                let _ = fs::create_dir(&at);
            }
            fs::write(at.join("cgroup.subtree_control"), "+cpuset +cpu +io +memory +pids").unwrap();
            self.groups.push(at.join(format!("{}.scope", self.name)));
        } else {
            let within = |controller: &str| Path::new(ROOT).join(controller).join("nomad").join(&self.name);
            self.groups = ["freezer", "cpu", "memory"].map(within).to_vec();
        }
        for group in &self.groups {
            fs::create_dir_all(group).unwrap();
        }
    }

    pub(crate) fn cgroup(&self) -> Cgroup {
        match self.groups.first() {
            None => Cgroup::None,
            Some(group) if self.v2 => Cgroup::V2(group.clone()),
            Some(_) => Cgroup::V1 { name: Path::new("nomad").join(&self.name), cpuset: PathBuf::new() },
        }
    }

    /// The directory in which the task's processes are found.
    pub(crate) fn main_group(&self) -> PathBuf {
        self.groups.first().unwrap().clone()
    }

    /// Directories that the agent made.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &PathBuf> {
        self.groups.iter()
    }

    /// Those of version 1 that this room has made.
    pub(crate) fn groups_beside_the_agents(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir(ROOT).into_iter().flatten().flatten();
        let groups = hierarchies.map(|hierarchy| hierarchy.path().join("nomad").join(&self.name));
        groups.filter(|group| group.exists() && !self.groups.contains(group)).collect()
    }

    pub(crate) fn tasks(&self) -> Tasks {
        Tasks::open(self.dir.path().join("run")).unwrap()
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn launch(&self, argv: &[&str]) -> Launch {
        Launch {
            id: format!("{}/{}", self.name, NUMBER.fetch_add(1, Ordering::Relaxed)),
            program: None,
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Secret(vec![
                ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
                ("WHO".to_owned(), "task".to_owned()),
            ]),
            makes: Vec::new(),
            work_dir: "/".to_owned(),
            identity: None,
            seccomp: Seccomp::None,
            isolation: Isolation::None,
            network: None,
            stdout: self.log_path(),
            stderr: self.log_path(),
            cgroup: self.cgroup(),
            elsewhere: Vec::new(),
            limits: Limits::default(),
            request: b"request".to_vec(),
            memo: b"memo".to_vec(),
        }
    }

    pub(crate) fn shell(&self, script: &str) -> Launch {
        self.launch(&["/bin/sh", "-c", script])
    }

    /// What was logged until now.
    pub(crate) fn log(&self) -> String {
        let mut all = Vec::new();
        let mut piece = [0; 65536];
        while let Ok(read @ 1..) = rustix::io::read(&self.log, &mut piece) {
            all.extend_from_slice(&piece[..read]);
        }
        String::from_utf8(all).unwrap()
    }

    /// Waits for a line in the log.
    pub(crate) async fn logged(&self, line: &str) {
        let mut log = String::new();
        let logged = eventually(|| {
            log.push_str(&self.log());
            log.lines().any(|one| one == line)
        });
        assert!(logged.await, "{line:?} is not in {log:?}");
    }

    /// As an agent does that is through with a task.
    pub(crate) async fn remove_groups(&mut self) {
        for group in std::mem::take(&mut self.groups) {
            assert!(eventually(|| fs::remove_dir(&group).is_ok()).await, "{group:?}");
        }
    }

    /// Asserts that nothing of any task is left.
    /// Of its tasks.
    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        entries_in(&self.dir.path().join("run"))
    }

    pub(crate) fn nothing_is_left(&self) {
        assert_eq!(self.entries(), Vec::<PathBuf>::new());
        for group in &self.groups {
            assert_eq!(fs::read_to_string(group.join("cgroup.procs")).unwrap(), "");
            let below = fs::read_dir(group).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
            assert_eq!(below, 0);
        }
        assert_eq!(self.groups_beside_the_agents(), Vec::<PathBuf>::new());
        assert_eq!(self.processes(), Vec::<u32>::new());
    }

    /// Keepers whose entry is here, and whatever holds the log. A child of this process that another test is just making holds
    /// everything for a moment.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = self.holders();
        for _ in 0..20 {
            if found.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            let still = self.holders();
            found.retain(|pid| still.contains(pid));
        }
        found
    }

    fn holders(&self) -> Vec<u32> {
        let here = self.dir.path().to_str().unwrap().to_owned();
        let mut found = Vec::new();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|pid| pid.parse().ok()) else { continue };
            let fds = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
            let mut targets = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
            if pid != process::id() && targets.any(|target| target.to_string_lossy().starts_with(&here)) {
                found.push(pid);
            }
        }
        found
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(),
                rustix::process::Signal::KILL,
            );
        }
        for group in &self.groups {
            let _ = fs::write(group.join("cgroup.kill"), "1");
            for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            for _ in 0..200 {
                if fs::remove_dir(group).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // What a test that plays a reboot, or fails, leaves of the room's own.
        for hierarchy in fs::read_dir(ROOT).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join("nomad").join(&self.name));
        }
    }
}

/// How long something may take: longer where `YURT_TEST_PATIENCE` says that the machine is slow by that factor.
pub(crate) fn patience(usual: Duration) -> Duration {
    usual * std::env::var("YURT_TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience(Duration::from_secs(10));
    while Instant::now() < until {
        if holds() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    holds()
}

/// Waits for the end, and forgets.
pub(crate) async fn end(task: &Task) -> yurt_task::Exit {
    let exit = tokio::time::timeout(patience(Duration::from_secs(30)), task.wait()).await.expect("the task ends");
    task.forget().await.unwrap();
    exit
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let mut stat = String::new();
    let read = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read_to_string(&mut stat));
    read.is_ok() && !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// What stands in a runtime directory of tasks.
pub(crate) fn entries_in(run: &Path) -> Vec<PathBuf> {
    fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// The keeper's process, by the state file.
pub(crate) fn keeper_of(rig: &Rig) -> u32 {
    use prost::Message as _;
    let entry = rig.entries().pop().unwrap();
    let state = yurt_keeper::State::decode(fs::read(entry.join("state")).unwrap().as_slice()).unwrap();
    state.keeper.unwrap().pid
}

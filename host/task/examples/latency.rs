//! How long the parts of a task's life take, and what its keeper holds:
//!
//! ```text
//! cargo run --release -p yurt-task --example latency -- [ROUNDS]
//! ```
//!
//! As root on version 1 it makes the control groups that an agent would; else tasks run without.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};
use tokio::io::AsyncReadExt as _;
use yurt_task::{
    Cgroup, ExecOptions, Isolation, Launch, Limits, Namespaces, RootDirectory, Seccomp, Secret, Task, Tasks, Whom,
};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(50, |rounds| rounds.parse().expect("a number of rounds"));
    let root = rustix::process::geteuid().is_root();
    let v1 = root && Path::new("/sys/fs/cgroup/freezer").exists();
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::open(dir.path().join("run")).unwrap();
    let log = dir.path().join("log");
    rustix::fs::mknodat(CWD, &log, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let tree = dir.path().join("root");
    if root {
        copy_programs(&tree);
    }
    for (isolated, seccomp) in [(false, Seccomp::None), (true, Seccomp::None), (true, Seccomp::Default)] {
        if isolated && !root {
            continue;
        }
        let mut times = Times::default();
        for round in 0..rounds {
            let name = format!("nomad/yurt-latency-{}.{round}", std::process::id());
            let groups: Vec<PathBuf> =
                ["freezer", "cpu", "memory"].map(|one| Path::new("/sys/fs/cgroup").join(one).join(&name)).into();
            if v1 {
                groups.iter().for_each(|group| fs::create_dir_all(group).unwrap());
            }
            let launch = Launch {
                id: format!("{isolated}/{seccomp:?}/{round}"),
                program: None,
                argv: ["sleep", "1000"].map(str::to_owned).into(),
                env: Secret(vec![("PATH".into(), "/usr/bin:/bin".into())]),
                makes: Vec::new(),
                work_dir: "/".into(),
                identity: None,
                seccomp: seccomp.clone(),
                isolation: if isolated { isolation(&tree) } else { Isolation::None },
                network: None,
                stdout: log.clone(),
                stderr: log.clone(),
                cgroup: if v1 { Cgroup::V1 { name: name.into(), cpuset: PathBuf::new() } } else { Cgroup::None },
                elsewhere: Vec::new(),
                limits: Limits { memory_max: Some(64 << 20), cpu_shares: Some(100), ..Limits::default() },
                request: Vec::new(),
                memo: Vec::new(),
            };
            times.round(&tasks, launch).await;
            if v1 {
                groups.iter().for_each(|group| fs::remove_dir(group).unwrap());
            }
        }
        println!(
            "isolation {}{}, {rounds} rounds, control groups {}",
            if isolated { "chroot" } else { "none" },
            if seccomp == Seccomp::Default { " with a filter of system calls" } else { "" },
            if v1 { "v1" } else { "none" }
        );
        times.print();
    }
}

fn isolation(tree: &Path) -> Isolation {
    let namespaces = Namespaces { pid: true, init: true, ipc: true, ..Namespaces::default() };
    Isolation::Chroot(Box::new(RootDirectory::of(tree.to_owned(), namespaces)))
}

/// `sleep`, `true` and what they load.
fn copy_programs(tree: &Path) {
    for program in ["/bin/sleep", "/bin/true"] {
        let loads = std::process::Command::new("ldd").arg(program).output().unwrap();
        let loads = String::from_utf8(loads.stdout).unwrap();
        let files = loads.split_whitespace().filter(|word| word.starts_with('/')).chain([program]);
        for file in files {
            let to = tree.join(file.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file, to).unwrap();
        }
    }
}

#[derive(Default)]
struct Times(Vec<(&'static str, Vec<Duration>)>, Vec<u64>);

impl Times {
    async fn round(&mut self, tasks: &Tasks, launch: Launch) {
        let at = Instant::now();
        let task = tasks.start(launch).await.unwrap();
        self.note("start", at);
        self.1.extend(keeper_memory(&task));

        let at = Instant::now();
        let mut command = task.exec(ExecOptions { argv: vec!["true".into()], ..ExecOptions::default() }).await.unwrap();
        let mut said = Vec::new();
        command.stdout.take().unwrap().read_to_end(&mut said).await.unwrap();
        command.wait().await;
        self.note("exec true", at);

        let at = Instant::now();
        task.stats().unwrap();
        self.note("stats", at);

        let at = Instant::now();
        task.signal(9, Whom::Main).unwrap();
        task.wait().await;
        self.note("signal to exit", at);

        let at = Instant::now();
        task.kill(Duration::from_secs(5)).await.unwrap();
        self.note("kill what is left", at);

        let at = Instant::now();
        task.forget().await.unwrap();
        self.note("forget", at);
    }

    fn note(&mut self, what: &'static str, since: Instant) {
        let took = since.elapsed();
        match self.0.iter_mut().find(|(name, _)| *name == what) {
            Some((_, times)) => times.push(took),
            None => self.0.push((what, vec![took])),
        }
    }

    fn print(&mut self) {
        for (what, times) in &mut self.0 {
            times.sort_unstable();
            let ninety = times[times.len() * 9 / 10];
            let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
            println!("  {what:18} least {least:>9.3?}  median {median:>9.3?}  90 % {ninety:>9.3?}  most {most:>9.3?}");
        }
        self.1.sort_unstable();
        if let Some(kib) = self.1.get(self.1.len() / 2) {
            println!("  keeper             {kib} KiB resident");
        }
    }
}

/// KiB resident of the task's keeper: its parent, or the parent of its init.
fn keeper_memory(task: &Task) -> Option<u64> {
    let line = |pid: u32, key: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(key))?.to_owned();
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let mut pid = task.pid();
    loop {
        pid = u32::try_from(line(pid, "PPid:")?).ok()?;
        let parent = u32::try_from(line(pid, "PPid:")?).ok()?;
        if parent == std::process::id() {
            return line(pid, "VmRSS:");
        }
    }
}

//! A task's place on the node, as an agent makes it before StartTask: directories, mounts, log pipes, control groups.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{MountFlags, UnmountFlags};
use yurt_nomad::driver::{Env, LinuxResources, MemoryMax, Resources, TaskConfig};

use super::cgroup::Cgroups;
use super::chroot::Template;
use super::logs::Log;
use super::subject::{Isolation, Program, Subject};

/// The name of the task in all rows.
const TASK: &str = "web";
/// Whom an agent invents for a task that names no user.
const DYNAMIC_USER: &str = "nomad-80123";
/// The agent's own `PATH`, which tasks without an image get to see.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a row asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is to run.
    pub program: Program,
    /// The job's `user`.
    pub user: Option<String>,
    /// MiB.
    pub memory_mb: u64,
    /// MiB; more than `memory_mb`.
    pub memory_max: MemoryMax,
    /// MHz, and relative weight.
    pub cpu: u64,
    /// Whole cores, `0,1`.
    pub cores: Option<String>,
    /// Further variables.
    pub env: BTreeMap<String, String>,
}

impl Request {
    /// Of this program, with nothing special.
    pub fn of(program: Program) -> Request {
        Request {
            program,
            user: None,
            memory_mb: 128,
            memory_max: MemoryMax::Reserved,
            cpu: 100,
            cores: None,
            env: BTreeMap::new(),
        }
    }

    /// As this user.
    #[must_use]
    pub fn user(mut self, user: &str) -> Request {
        self.user = Some(user.to_owned());
        self
    }

    /// With so many MiB.
    #[must_use]
    pub fn memory(mut self, mb: u64) -> Request {
        self.memory_mb = mb;
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Request {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl From<Program> for Request {
    fn from(program: Program) -> Request {
        Request::of(program)
    }
}

/// The place. Gone without a trace when dropped, together with every process of the task.
#[derive(Debug)]
pub struct Site {
    /// The allocation's id, which is in the name of all that belongs to the task.
    pub alloc_id: String,
    /// `<alloc dir>`, as the agent has it.
    pub alloc_dir: PathBuf,
    /// Its control groups.
    pub cgroups: Cgroups,
    /// Its standard output.
    pub stdout: Log,
    /// Its standard error.
    pub stderr: Log,
    isolation: Isolation,
    mounts: Mutex<Vec<PathBuf>>,
    removed: Mutex<bool>,
}

impl Site {
    /// Made below this directory.
    pub fn make(base: &Path, subject: Subject, cores: bool) -> Site {
        let alloc_id = new_alloc_id();
        let alloc_dir = base.join(&alloc_id);
        let task = alloc_dir.join(TASK);
        for dir in ["alloc", "alloc/data", "alloc/logs", "alloc/tmp", TASK] {
            open_dir(&alloc_dir.join(dir));
        }
        for dir in ["local", "secrets", "tmp", "private"] {
            open_dir(&task.join(dir));
        }
        if subject.isolation == Isolation::Chroot {
            open_dir(&task.join("alloc"));
            Template::shared().link_into(&task);
        }
        let logs = alloc_dir.join("alloc/logs");
        let log = |kind| Log::new(logs.join(format!(".{TASK}.{kind}.fifo")));
        let site = Site {
            cgroups: Cgroups::make(&alloc_id, TASK, cores),
            stdout: log("stdout"),
            stderr: log("stderr"),
            alloc_id,
            alloc_dir,
            isolation: subject.isolation,
            mounts: Mutex::default(),
            removed: Mutex::default(),
        };
        for dir in ["secrets", "private"] {
            site.mount_secrets(&task.join(dir));
        }
        match subject.isolation {
            Isolation::Chroot => site.bind(&site.alloc_dir.join("alloc"), &task.join("alloc")),
            Isolation::Landlock => site.unveil(&task),
            Isolation::Overlay | Isolation::None => {}
        }
        site
    }

    fn mount_secrets(&self, at: &Path) {
        let size = std::ffi::CString::new("size=1m").expect("no zero in it");
        rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::NOEXEC, Some(size.as_c_str())).expect("a tmpfs");
        self.mounts.lock().expect("no panic").push(at.to_owned());
        fs::set_permissions(at, fs::Permissions::from_mode(0o777)).expect("a mode");
    }

    /// Where a task finds its directories that must not see where allocations lie.
    fn unveil(&self, task: &Path) {
        let own = self.own_dir();
        fs::create_dir_all(&own).expect("a directory");
        self.bind(task, &own);
        open_dir(&own.join("alloc"));
        self.bind(&self.alloc_dir.join("alloc"), &own.join("alloc"));
        self.bind(&task.join("secrets"), &own.join("secrets"));
    }

    fn bind(&self, what: &Path, at: &Path) {
        rustix::mount::mount_bind(what, at).expect("a bind mount");
        self.mounts.lock().expect("no panic").push(at.to_owned());
    }

    /// The task's own directory, which is its root where it has one.
    pub fn task_dir(&self) -> PathBuf {
        self.alloc_dir.join(TASK)
    }

    /// The directory in which `local` lies, as the task sees it.
    pub fn own_dir(&self) -> PathBuf {
        match self.isolation {
            Isolation::Chroot | Isolation::Overlay => "/".into(),
            Isolation::None => self.task_dir(),
            Isolation::Landlock => {
                let mounts = self.alloc_dir.parent().expect("a parent").join("mounts");
                mounts.join(format!("{}-{TASK}", self.alloc_id))
            }
        }
    }

    /// A directory of the task's, as the task sees it.
    fn seen(&self, name: &str) -> PathBuf {
        match (self.isolation, name) {
            (Isolation::None, "alloc") => self.alloc_dir.join("alloc"),
            _ => self.own_dir().join(name),
        }
    }

    /// A path of the shared directory, as the task sees it.
    pub fn alloc_path(&self, path: &str) -> String {
        self.seen("alloc").join(path).display().to_string()
    }

    /// A path of the task's own `local`, as the task sees it.
    pub fn local_path(&self, path: &str) -> String {
        self.seen("local").join(path).display().to_string()
    }

    /// A path of the task's `tmp`, as the task sees it.
    pub fn tmp_path(&self, path: &str) -> String {
        let of_all = self.isolation == Isolation::None;
        let tmp = if of_all { PathBuf::from("/tmp") } else { self.seen("tmp") };
        tmp.join(path).display().to_string()
    }

    /// Puts a file below the task's directory, as a template does.
    pub fn put(&self, path: &str, content: &str) {
        let path = self.task_dir().join(path);
        fs::create_dir_all(path.parent().expect("below the task's directory")).expect("a directory");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    }

    /// What an agent sends for the task. `config` is the evaluated `config` block.
    pub fn task_config(&self, request: &Request, config: Vec<u8>) -> TaskConfig {
        let dir = |name: &str| self.seen(name).display().to_string();
        let mut env = BTreeMap::from([
            ("NOMAD_ALLOC_DIR", dir("alloc")),
            ("NOMAD_TASK_DIR", dir("local")),
            ("NOMAD_SECRETS_DIR", dir("secrets")),
            ("NOMAD_ALLOC_ID", self.alloc_id.clone()),
            ("NOMAD_SHORT_ALLOC_ID", self.alloc_id[..8].to_owned()),
            ("NOMAD_ALLOC_NAME", "rows.group[0]".to_owned()),
            ("NOMAD_ALLOC_INDEX", "0".to_owned()),
            ("NOMAD_TASK_NAME", TASK.to_owned()),
            ("NOMAD_GROUP_NAME", "group".to_owned()),
            ("NOMAD_JOB_NAME", "rows".to_owned()),
            ("NOMAD_JOB_ID", "rows".to_owned()),
            ("NOMAD_NAMESPACE", "default".to_owned()),
            ("NOMAD_REGION", "global".to_owned()),
            ("NOMAD_DC", "dc1".to_owned()),
            ("NOMAD_CPU_LIMIT", request.cpu.to_string()),
            ("NOMAD_MEMORY_LIMIT", request.memory_mb.to_string()),
            ("PATH", PATH.to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
        ])
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect::<BTreeMap<_, _>>();
        if self.isolation == Isolation::Overlay {
            // Of the host's environment an agent passes on nothing.
            env.retain(|name, _| !["PATH", "LANG"].contains(&name.as_str()));
        }
        env.extend(request.env.clone());
        let most = match request.memory_max {
            MemoryMax::Mb(max) => max.max(request.memory_mb),
            _ => request.memory_mb,
        };
        TaskConfig {
            id: format!("{}/{TASK}/{:08x}", self.alloc_id, counter()),
            name: TASK.to_owned(),
            group: "group".to_owned(),
            job_name: "rows".to_owned(),
            job_id: "rows".to_owned(),
            namespace: "default".to_owned(),
            node_name: "here".to_owned(),
            node_id: "8a1c8a3e-0000-4000-8000-000000000000".to_owned(),
            alloc_id: self.alloc_id.clone(),
            driver_config: yurt_nomad::driver::Opaque(config),
            env: Env(env),
            resources: Resources {
                cpu_mhz: request.cpu,
                memory_mb: request.memory_mb,
                memory_max: request.memory_max,
                linux: LinuxResources {
                    cpu_shares: i64::try_from(request.cpu).expect("a small number"),
                    memory_limit_bytes: i64::try_from(most << 20).expect("a small number"),
                    cpuset_cpus: request.cores.clone().unwrap_or_default(),
                    percent_ticks: 0.02,
                    cgroup: self.cgroups.told().display().to_string(),
                    ..LinuxResources::default()
                },
                ..Resources::default()
            },
            user: request.user.clone().or((self.isolation == Isolation::Landlock).then(|| DYNAMIC_USER.to_owned())),
            alloc_dir: self.alloc_dir.display().to_string(),
            stdout_path: self.stdout.path().display().to_string(),
            stderr_path: self.stderr.path().display().to_string(),
            ..TaskConfig::default()
        }
    }

    /// How many mounts the agent made for it.
    pub fn mounts(&self) -> usize {
        self.mounts.lock().expect("no panic").len()
    }

    /// What an agent made goes: control groups first, then mounts. The directories stay until the drop.
    pub fn remove(&self) {
        if std::mem::replace(&mut *self.removed.lock().expect("no panic"), true) {
            return;
        }
        self.cgroups.remove();
        for mount in self.mounts.lock().expect("no panic").drain(..).rev() {
            let _ = rustix::mount::unmount(&mount, UnmountFlags::DETACH);
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.remove();
        self.stdout.stop();
        self.stderr.stop();
        let _ = fs::remove_dir_all(&self.alloc_dir);
    }
}

/// A directory for everybody, as all of a task's are.
fn open_dir(dir: &Path) {
    fs::create_dir_all(dir).expect("a directory");
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).expect("a mode");
}

/// Of the form of a real one, and none that this machine had before.
fn new_alloc_id() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let (now, process) = (since.as_nanos(), std::process::id());
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        now as u32,
        process as u16,
        process >> 16,
        counter() & 0xfff,
        now >> 32
    )
}

fn counter() -> u32 {
    static COUNTER: AtomicU32 = AtomicU32::new(1);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

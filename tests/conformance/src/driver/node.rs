//! A node with one driver plugin and its tasks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;
use yurt_go_plugin::client::Ended;
use yurt_nomad::client::{Agent, Base, CallError, Driver, Launched};
use yurt_nomad::config::{from_hcl, to_msgpack};
use yurt_nomad::driver::{AgentConfig, Core, TaskConfig, Topology};
use yurt_nomad::schema::Spec;

use super::cgroup;
use super::processes::exists;
use super::script::put_program;
use super::site::{Request, Site};
use super::subject::{Subject, link_into};
use super::task::Task;
use super::traces::{mounts_of, traces_of};
use super::{soon, until, within};
use crate::patience;
use crate::place::Workshop;

/// A plugin that serves, its directories and its tasks. What is left of them is killed and removed when it is dropped, whatever
/// happened before.
#[derive(Debug)]
pub struct Node {
    /// What is under test.
    pub subject: Subject,
    /// The driver's calls.
    pub driver: Driver,
    /// The calls of every plugin.
    pub base: Base,
    launched: Option<Launched>,
    agent: Agent,
    program: PathBuf,
    schema: Spec,
    tasks: Vec<Task>,
    sites: Vec<Arc<Site>>,
    dir: TempDir,
    runtime: TempDir,
}

impl Node {
    /// A plugin with the usual configuration.
    pub async fn start(subject: Subject) -> Node {
        Node::configured(subject, subject.plugin_config()).await
    }

    /// A plugin with this configuration.
    pub async fn configured(subject: Subject, config: &str) -> Node {
        let mut node = Node::launched(subject).await;
        node.configure(config).await.unwrap_or_else(|why| panic!("{why}"));
        node.learn().await;
        node
    }

    /// A plugin that has not been configured.
    pub async fn launched(subject: Subject) -> Node {
        Node::launch(subject, None, &[]).await
    }

    /// The same, started with arguments.
    pub async fn with_args(subject: Subject, args: &[&str]) -> Node {
        Node::launch(subject, None, args).await
    }

    /// A plugin with the usual configuration, served by this file whatever the environment says, with directories of its own alone.
    pub async fn served_by(subject: Subject, binary: &Path) -> Node {
        let mut node = Node::launch(subject, Some(binary), &[]).await;
        node.configure(subject.plugin_config()).await.unwrap_or_else(|why| panic!("{why}"));
        node.learn().await;
        node
    }

    async fn launch(subject: Subject, binary: Option<&Path>, args: &[&str]) -> Node {
        let dir = tempfile::Builder::new().prefix("yurt-rows-").tempdir().expect("a temporary directory");
        // Tasks of another user find their directories here.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode).expect("a mode");
        let runtime = in_memory(dir.path());
        let mut agent = agent_of(subject, binary, dir.path(), runtime.path());
        agent.args = args.iter().map(Into::into).collect();
        let launched = soon(agent.launch()).await.unwrap_or_else(|why| panic!("{why}"));
        Node {
            subject,
            driver: launched.driver.clone(),
            base: launched.base.clone(),
            launched: Some(launched),
            program: agent.program.clone(),
            agent,
            schema: Spec::empty(),
            tasks: Vec::new(),
            sites: Vec::new(),
            dir,
            runtime,
        }
    }

    /// SetConfig with what an operator wrote, as the copy that serves gets it.
    pub async fn configure(&mut self, config: &str) -> Result<(), CallError> {
        self.configure_with(config, agent_config(2000)).await
    }

    /// The usual configuration, on a node with cores of this speed.
    pub async fn configure_with_mhz(&mut self, mhz: u64) {
        let config = self.subject.plugin_config();
        self.configure_with(config, agent_config(mhz)).await.unwrap_or_else(|why| panic!("{why}"));
    }

    async fn configure_with(&mut self, config: &str, agent: AgentConfig) -> Result<(), CallError> {
        let schema = soon(self.base.config_schema()).await?.unwrap_or_else(Spec::empty);
        let config = from_hcl(config, "agent.hcl", &schema).unwrap_or_else(|why| panic!("{why}"));
        soon(self.base.set_config(&config, Some(agent))).await
    }

    /// The schema of jobs, by which `config` blocks are evaluated.
    pub async fn learn(&mut self) {
        self.schema = soon(self.driver.task_schema()).await.expect("TaskConfigSchema");
    }

    /// A directory of this node's own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the plugin keeps what it must not lose over its own end, but not over the machine's.
    pub fn runtime_dir(&self) -> &Path {
        self.runtime.path()
    }

    /// In the paths of all that is this node's.
    fn name(&self) -> String {
        self.dir().file_name().expect("a name").to_string_lossy().into_owned()
    }

    /// Yurt, not a peer.
    pub fn is_yurt(&self) -> bool {
        self.subject.flavour.is_yurt()
    }

    /// How the agent starts its plugin.
    pub fn agent(&mut self) -> &mut Agent {
        &mut self.agent
    }

    /// The plugin's process.
    pub fn plugin_pid(&self) -> u32 {
        self.launched.as_ref().expect("a plugin").plugin.pid()
    }

    /// The connection to the plugin.
    pub fn channel(&self) -> Channel {
        self.launched.as_ref().expect("a plugin").plugin.channel()
    }

    /// The end of what the plugin logged.
    pub fn last_words(&self) -> String {
        self.launched.as_ref().map(|launched| launched.plugin.last_words()).unwrap_or_default()
    }

    /// All that the plugin logged so far.
    pub fn log(&self) -> Vec<String> {
        let mut log = self.launched.as_ref().expect("a plugin").plugin.log();
        std::iter::from_fn(|| log.ready()).map(|line| format!("{line:?}")).collect()
    }

    /// Kills the plugin as `kill -9` does, and waits for its end.
    pub async fn kill_plugin(&mut self) {
        let launched = self.launched.take().expect("a plugin");
        let pid = i32::try_from(launched.plugin.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, Signal::KILL).expect("a plugin to kill");
        soon(launched.plugin.died()).await;
    }

    /// Ends the plugin in order.
    pub async fn end_plugin(&mut self) -> Ended {
        soon(self.launched.take().expect("a plugin").end()).await
    }

    /// Places of tasks that are destroyed: removed.
    pub fn forget_sites(&mut self) {
        self.tasks.clear();
        // The kernel has whoever removes a control group wait a little, but not all one after the other.
        std::thread::scope(|threads| {
            for site in self.sites.drain(..) {
                threads.spawn(move || site.remove());
            }
        });
    }

    /// Has the plugin start in a mount namespace of its own, after this shell text, from the next launch on. What is mounted on the host
    /// afterwards does not arrive there.
    pub fn hide(&mut self, setup: &str) {
        let dir = self.dir().join("wrapped");
        let _ = std::fs::create_dir(&dir);
        let wrapper = dir.join(self.subject.flavour.file_name());
        let inner = self.program.display();
        let text = format!(
            "#!/bin/sh\nexec unshare --mount --propagation private /bin/sh -ec '{setup}\nexec \"$0\" \"$@\"' {inner} \"$@\"\n"
        );
        put_program(&wrapper, &text);
        self.agent.program = wrapper;
    }

    /// Starts the plugin again, as an agent does after its death.
    pub async fn relaunch(&mut self) {
        self.launch_again().await;
        self.configure(self.subject.plugin_config()).await.unwrap_or_else(|why| panic!("{why}"));
    }

    /// Starts the plugin again and tells it nothing.
    pub async fn launch_again(&mut self) {
        let launched = soon(self.agent.launch()).await.unwrap_or_else(|why| panic!("{why}"));
        (self.driver, self.base) = (launched.driver.clone(), launched.base.clone());
        self.launched = Some(launched);
        for task in &mut self.tasks {
            task.driver = self.driver.clone();
        }
    }

    /// A place for a task.
    pub fn site(&mut self, cores: bool) -> Arc<Site> {
        let site = Arc::new(Site::make(self.dir.path(), self.subject, cores));
        self.sites.push(Arc::clone(&site));
        site
    }

    /// A `config` block evaluated by the driver's schema, as the agent does.
    pub fn evaluated(&self, config: &str) -> Value {
        from_hcl(config, "job.hcl", &self.schema).unwrap_or_else(|why| panic!("{why}:\n{config}"))
    }

    /// The whole of what an agent would send.
    pub fn task_config(&self, site: &Site, request: &Request) -> TaskConfig {
        let config = self.evaluated(&self.subject.job_config(&request.program));
        site.task_config(request, to_msgpack(&config))
    }

    /// Starts a task that must start.
    pub async fn run(&mut self, request: impl Into<Request>) -> Task {
        let task = self.try_run(request).await;
        task.unwrap_or_else(|why| panic!("{why}; the plugin's last words: {}", self.last_words()))
    }

    /// Starts a task.
    pub async fn try_run(&mut self, request: impl Into<Request>) -> Result<Task, CallError> {
        let request = request.into();
        let site = self.site(request.cores.is_some());
        let config = self.task_config(&site, &request);
        self.start_at(&site, config).await
    }

    /// Starts a task at a place that is there.
    pub async fn start_at(&mut self, site: &Arc<Site>, config: TaskConfig) -> Result<Task, CallError> {
        let (handle, _) = soon(self.driver.start(&config)).await?;
        let task = Task { config, handle, site: Arc::clone(site), driver: self.driver.clone() };
        self.tasks.push(task.clone());
        Ok(task)
    }

    /// A task by the present connection.
    pub fn renewed(&self, task: &Task) -> Task {
        Task { driver: self.driver.clone(), ..task.clone() }
    }

    /// RecoverTask with what an agent still has after its own restart: no evaluated `config` block.
    pub async fn recover(&mut self, task: &Task) -> Result<Task, CallError> {
        let mut handle = task.handle.clone();
        handle.config.driver_config.0.clear();
        soon(self.driver.recover(&handle)).await?;
        Ok(self.renewed(task))
    }

    /// What an agent does in the end: all tasks destroyed, the plugin ended. Nothing may be left of either.
    pub async fn finish(mut self) {
        if self.launched.is_none() {
            return;
        }
        for task in std::mem::take(&mut self.tasks) {
            let destroyed = soon(self.driver.destroy(task.id(), true)).await;
            // Nomad's own drivers do not know what was destroyed before.
            assert!(destroyed.is_ok() || !self.is_yurt(), "DestroyTask: {destroyed:?}");
        }
        self.nothing_is_left().await;
        self.sites.drain(..).for_each(|site| site.remove());
        let own = self.name();
        assert_eq!(mounts_of(&[&own]), Vec::<String>::new(), "mounts are left");
        let ended = soon(self.launched.take().expect("a plugin").end()).await;
        assert!(ended.graceful, "the plugin did not end in two seconds");
        if !within(Duration::from_secs(5), || traces_of(&[&own], &[]).is_empty()).await {
            panic!("after the plugin's end there is left: {:#?}", traces_of(&[&own], &[]));
        }
    }

    /// Where no task is any more: no process of one, no open file, no control group that the agent did not make, no mount that it did
    /// not make, no entry of one in the plugin's directory.
    pub async fn nothing_is_left(&self) {
        let plugin = [self.plugin_pid()];
        let names: Vec<&str> = self.sites.iter().map(|site| site.alloc_id.as_str()).collect();
        let left = || traces_of(&names, &plugin).into_iter().filter(|trace| !trace.starts_with("mount "));
        if !within(Duration::from_secs(10), || left().next().is_none()).await {
            panic!("of tasks there is left: {:#?}", left().collect::<Vec<_>>());
        }
        let strange = || cgroup::strange(self.sites.iter().map(|site| &site.cgroups));
        if !within(Duration::from_secs(5), || strange().is_empty()).await {
            panic!("control groups are left: {:?}", strange());
        }
        let mounts = mounts_of(&names);
        let made: usize = self.sites.iter().map(|site| site.mounts()).sum();
        assert_eq!(mounts.len(), made, "mounts are left: {mounts:#?}");
        let entries = || entries_below(self.runtime_dir());
        if !within(Duration::from_secs(5), || entries().is_empty()).await {
            panic!("entries are left: {:?}", entries());
        }
    }

    /// Waits until a process is gone.
    pub async fn gone(&self, pid: u32) {
        until(&format!("the end of process {pid}"), || !exists(pid)).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Kills the plugin, if it still runs.
        self.launched = None;
        self.tasks.clear();
        self.sites.drain(..).for_each(|site| site.remove());
        let own = self.name();
        let began = Instant::now();
        while began.elapsed() < patience(Duration::from_secs(5)) {
            let pids = super::traces::processes_of(&own);
            if pids.is_empty() {
                return;
            }
            for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()).filter_map(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The directories that a plugin keeps of its tasks, one each: called by sixteen bytes in hexadecimal digits.
fn entries_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for below in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = below.file_name().to_string_lossy().into_owned();
        if name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            found.push(below.path());
        } else {
            found.extend(entries_below(&below.path()));
        }
    }
    found
}

/// As `/run` is on most machines. Of the same name as this directory, which it stands for.
fn in_memory(dir: &Path) -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory } else { dir };
    let name = dir.file_name().expect("a name");
    tempfile::Builder::new().prefix(name).rand_bytes(0).tempdir_in(parent).expect("a directory in memory")
}

fn agent_of(subject: Subject, binary: Option<&Path>, dir: &Path, runtime: &Path) -> Agent {
    let mut env = vec![("TMPDIR".into(), dir.into())];
    let as_usual = binary.is_none() && std::env::var_os("YURT_DRIVER").is_none();
    let program = if subject.flavour.is_yurt() && as_usual {
        let workshop = Workshop::of_this_program(subject.flavour.file_name());
        workshop.state_into(&dir.join("state"));
        workshop.program()
    } else {
        std::fs::create_dir(dir.join("plugins")).expect("a directory");
        let binary = binary.map_or_else(|| subject.flavour.binary(), Path::to_owned);
        link_into(&dir.join("plugins"), subject.flavour, &binary)
    };
    if subject.flavour.is_yurt() {
        env.push(("YURT_STATE_DIR".into(), dir.join("state").into()));
        env.push(("YURT_RUNTIME_DIR".into(), runtime.into()));
    }
    Agent { program, env, ..Agent::default() }
}

/// As of a node with this machine's processors at one speed.
fn agent_config(mhz: u64) -> AgentConfig {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let core = |id| Core { id, base_mhz: mhz, max_mhz: mhz, guess_mhz: mhz, ..Core::default() };
    let cores = (0..u32::try_from(cores).expect("a small number")).map(core).collect();
    AgentConfig { min_port: 14_000, max_port: 14_512, topology: Some(Topology { cores, ..Topology::default() }) }
}

/// What a call that must be refused was refused with.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, CallError>) -> (Code, String, bool) {
    match result {
        Err(CallError::Refused { code, message, recoverable, .. }) => (code, message, recoverable),
        other => panic!("not refused: {other:?}"),
    }
}

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

use super::processes::exists;
use super::site::{Request, Site};
use super::subject::{Flavour, Subject, link_into};
use super::task::Task;
use super::traces::{mounts_of, traces_of};
use super::{soon, until, within};
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
    schema: Spec,
    tasks: Vec<Task>,
    sites: Vec<Arc<Site>>,
    dir: TempDir,
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
        let dir = tempfile::Builder::new().prefix("yurt-rows-").tempdir().expect("a temporary directory");
        // Tasks of another user find their directories here.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode).expect("a mode");
        let agent = agent_of(subject, dir.path());
        let launched = soon(agent.launch()).await.unwrap_or_else(|why| panic!("{why}"));
        Node {
            subject,
            driver: launched.driver.clone(),
            base: launched.base.clone(),
            launched: Some(launched),
            agent,
            schema: Spec::empty(),
            tasks: Vec::new(),
            sites: Vec::new(),
            dir,
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
    async fn learn(&mut self) {
        self.schema = soon(self.driver.task_schema()).await.expect("TaskConfigSchema");
    }

    /// A directory of this node's own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the plugin keeps what it must not lose over its own end, but not over the machine's.
    pub fn runtime_dir(&self) -> PathBuf {
        self.dir().join("run")
    }

    /// Yurt, not a peer.
    pub fn is_yurt(&self) -> bool {
        self.subject.flavour == Flavour::Python
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
        self.sites.drain(..).for_each(|site| site.remove());
    }

    /// Starts the plugin again, as an agent does after its death.
    pub async fn relaunch(&mut self) {
        let launched = soon(self.agent.launch()).await.unwrap_or_else(|why| panic!("{why}"));
        (self.driver, self.base) = (launched.driver.clone(), launched.base.clone());
        self.launched = Some(launched);
        for task in &mut self.tasks {
            task.driver = self.driver.clone();
        }
        self.configure(self.subject.plugin_config()).await.unwrap_or_else(|why| panic!("{why}"));
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
        let own = self.dir.path().display().to_string();
        assert_eq!(mounts_of(&own), Vec::<String>::new(), "mounts are left");
        let ended = soon(self.launched.take().expect("a plugin").end()).await;
        assert!(ended.graceful, "the plugin did not end in two seconds");
        if !within(Duration::from_secs(5), || traces_of(&own, &[]).is_empty()).await {
            panic!("after the plugin's end there is left: {:#?}", traces_of(&own, &[]));
        }
    }

    /// No process of a task, no open file of one, no control group that the agent did not make, no mount that it did not make.
    pub async fn nothing_is_left(&self) {
        let plugin = [self.plugin_pid()];
        for site in &self.sites {
            let left = || traces_of(&site.alloc_id, &plugin).into_iter().filter(|trace| !trace.starts_with("mount "));
            if !within(Duration::from_secs(10), || left().next().is_none()).await {
                panic!("of the task there is left: {:#?}", left().collect::<Vec<_>>());
            }
            if !within(Duration::from_secs(5), || site.cgroups.strange().is_empty()).await {
                panic!("control groups are left: {:?}", site.cgroups.strange());
            }
            let mounts = mounts_of(&site.alloc_id);
            assert_eq!(mounts.len(), site.mounts(), "mounts are left: {mounts:#?}");
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
        let own = self.dir.path().display().to_string();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
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

fn agent_of(subject: Subject, dir: &Path) -> Agent {
    let mut env = vec![("TMPDIR".into(), dir.into())];
    let program = if subject.flavour == Flavour::Python && std::env::var_os("YURT_DRIVER").is_none() {
        let workshop = Workshop::of_this_program(subject.flavour.file_name());
        workshop.state_into(&dir.join("state"));
        workshop.program()
    } else {
        std::fs::create_dir(dir.join("plugins")).expect("a directory");
        link_into(&dir.join("plugins"), subject.flavour)
    };
    if subject.flavour == Flavour::Python {
        env.push(("YURT_STATE_DIR".into(), dir.join("state").into()));
        env.push(("YURT_RUNTIME_DIR".into(), dir.join("run").into()));
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

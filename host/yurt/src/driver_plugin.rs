//! The task driver as Nomad sees it, wired from its parts: schema and configuration here, looks at the node in `driver/fingerprint.rs`,
//! starts in `driver/start.rs`. Tasks themselves are the task room's; this keeps those that Nomad has spoken of.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use yurt_guest::driver as wit;
use yurt_nomad::config::from_msgpack;
use yurt_nomad::driver::{
    AgentConfig, Capabilities, Exec, ExecInput, ExecOutput, ExecResult, ExitResult, Fingerprint, FsIsolation, Info,
    NetworkMode, Opaque, PluginError, StartError, Started, TaskConfig, TaskDriver, TaskEvent, TaskHandle, TaskState,
    TaskStats, TaskStatus, Topology, WaitResult,
};
use yurt_nomad::schema::Spec;
use yurt_task::{Handle, Task, Tasks};

use crate::choice::Driver;
use crate::driver::component;
use crate::driver::config::{self, DriverConfig, Isolation};
use crate::driver::devices;
use crate::driver::exec::{self, exit};
use crate::driver::fingerprint::{self, Looked, Looks};
use crate::driver::memo::Memo;
use crate::driver::start::{self, Failure, Planned, Terms};
use crate::driver::stats::{Before, figures};
use crate::driver::{signals, stop};
use crate::driver_side::{DriverHost, DriverSide, Serving};
use crate::exchange::{self, Kept, Parts, Serves as _, Side as _};
use crate::guest_call::blocking;
use crate::host_config;
use crate::plugin::Begun;

/// Of what stands in a handle's `driver_state`: [`Handle`].
const HANDLE_VERSION: i32 = 1;
/// Events that a slow reader may be behind.
const EVENTS: usize = 256;
/// Longest that a start waits for the first look at the node.
const FIRST_LOOK: Duration = Duration::from_secs(20);
/// Longest that a start waits for one of the same task that is under way: as long as a keeper may take.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// How often it looks.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a task may take to die that is destroyed.
const KILL: Duration = Duration::from_secs(15);

/// The configuration in force: the guest's own keys as JSON text, and the host's block.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) guest: Arc<str>,
    pub(crate) host: DriverHost,
}

/// One task driver: a guest, a runtime directory, the tasks that Nomad has spoken of.
pub(crate) struct DriverPlugin {
    side: Arc<DriverSide>,
    /// Until the exchange begins.
    exchange: Mutex<Option<Parts<DriverSide>>>,
    topology: RwLock<Option<Topology>>,
    looked: Arc<Looks>,
    told: watch::Sender<Option<Arc<Fingerprint>>>,
    looking: OnceLock<()>,
    events: broadcast::Sender<TaskEvent>,
    runtime_dir: PathBuf,
    tasks: OnceLock<Result<Arc<Tasks>, String>>,
    known: Arc<Mutex<BTreeMap<String, Known>>>,
    begun: Arc<Begun>,
}

/// What is known of an id.
#[derive(Clone)]
enum Known {
    /// It is being started.
    Starting,
    /// It was started or found again.
    Task(Arc<Running>),
}

struct Running {
    task: Task,
    memo: Memo,
    before: Mutex<Before>,
}

impl DriverPlugin {
    /// Touches nothing.
    pub(crate) fn new(driver: Driver, begun: Begun) -> DriverPlugin {
        let (side, undone) = DriverSide::new(driver, Kept::open(&begun.places));
        let side = Arc::new(side);
        let parts = Parts {
            side: Arc::clone(&side),
            runtime: begun.runtime.clone(),
            source: begun.source.clone(),
            pin: begun.pin.clone(),
            known: begun.known.clone(),
            places: begun.places.clone(),
            recorder: Arc::clone(&begun.recorder),
            undone,
        };
        DriverPlugin {
            side,
            exchange: Mutex::new(Some(parts)),
            topology: RwLock::default(),
            looked: Arc::new(watch::Sender::new(None)),
            told: watch::Sender::new(None),
            looking: OnceLock::new(),
            events: broadcast::Sender::new(EVENTS),
            runtime_dir: begun.places.tasks(),
            tasks: OnceLock::new(),
            known: Arc::default(),
            begun: Arc::new(begun),
        }
    }

    fn serving(&self) -> Arc<Serving> {
        Arc::clone(&self.side.turns().now().serving)
    }

    /// The runtime directory, made by the first call that needs it.
    fn tasks(&self) -> Result<Arc<Tasks>, PluginError> {
        let open = || Tasks::open(self.runtime_dir.clone()).map(Arc::new).map_err(|why| why.to_string());
        self.tasks.get_or_init(open).clone().map_err(PluginError::internal)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, id: &str) -> Result<Arc<Running>, PluginError> {
        match self.known().get(id) {
            Some(Known::Task(running)) => Ok(Arc::clone(running)),
            Some(Known::Starting) => {
                Err(PluginError::failed_precondition(format!("task {id:?} is still being started")))
            }
            None => Err(PluginError::not_found("task not found for given id")),
        }
    }

    /// Also a task that an earlier process started and Nomad never spoke of to this one: to end it, not to use it.
    async fn running_or_left(&self, id: &str) -> Result<Arc<Running>, PluginError> {
        match self.running(id) {
            Err(why) if why.kind == yurt_nomad::driver::ErrorKind::NotFound => {
                let left = self.tasks()?.adopt(id).await.map_err(|why| PluginError::internal(why.to_string()))?;
                left.map(|task| self.keep(task)).ok_or(why)
            }
            other => other,
        }
    }

    fn keep(&self, task: Task) -> Arc<Running> {
        let id = task.id().to_owned();
        let running = Arc::new(Running { memo: Memo::from_bytes(task.memo()), task, before: Mutex::default() });
        self.known().insert(id, Known::Task(Arc::clone(&running)));
        devices::follow(running.task.clone(), running.memo.devices.clone());
        self.watch(Arc::clone(&running));
        running
    }

    /// Tells what a task's end means, once.
    fn watch(&self, running: Arc<Running>) {
        if running.task.exit().is_some() {
            return;
        }
        let events = self.events.clone();
        tokio::spawn(async move {
            let exit = running.task.wait().await;
            for message in told_at_the_end(&exit, &running.memo) {
                tell(&events, &running, message);
            }
        });
    }

    /// Forgets what an agent asked another process of this plugin to forget that died just then: as often as the node is looked at.
    fn sweep(&self) {
        // Every start tells what is wrong with the directory.
        let Ok(tasks) = self.tasks() else { return };
        let (known, side) = (Arc::clone(&self.known), Arc::clone(&self.side));
        tokio::spawn(async move {
            loop {
                let ids = known.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect::<BTreeSet<_>>();
                for id in tasks.sweep(|id| ids.contains(id)).await {
                    tracing::info!(task = id, "it had ended and nobody asks for it any more: it is forgotten");
                }
                let period = side.turns().now().serving.host.block.fingerprint_period;
                tokio::time::sleep(period).await;
            }
        });
    }

    /// The last look at the node that is not of the turn `over`; plans are made from it. An agent asks for the first long before a start.
    async fn looked(&self, over: u64) -> Arc<Looked> {
        drop(TaskDriver::fingerprint(self));
        let mut looks = self.looked.subscribe();
        let fits = |looked: &Option<Arc<Looked>>| looked.as_ref().is_some_and(|looked| looked.turn.number != over);
        let waited = tokio::time::timeout(FIRST_LOOK, looks.wait_for(fits)).await;
        let looked = waited.ok().and_then(Result::ok).and_then(|looked| looked.clone());
        looked.unwrap_or_else(|| Arc::new(Looked { turn: self.side.turns().now(), findings: Arc::from([]) }))
    }

    /// Starts the task, or takes up what an earlier process of this plugin started by the same request: an agent whose plugin dies
    /// during a start asks once more, and by then that start may be under way, through, or its task ended.
    async fn begin(&self, task: TaskConfig, config: Value) -> Result<Started, StartError> {
        let tasks = self.tasks()?;
        let request = start::request_digest(&task, &config);
        let end = Instant::now() + UNDER_WAY;
        let mut planned = None;
        loop {
            if let Some(left) = tasks.adopt(&task.id).await.map_err(|why| PluginError::internal(why.to_string()))? {
                if left.request() != request {
                    return Err(PluginError::failed_precondition(format!(
                        "task {:?} was started by an earlier process of this plugin, from another request: it must be destroyed first",
                        task.id
                    ))
                    .into());
                }
                tracing::info!(task = task.id, "the task was started by an earlier process of this plugin: it goes on");
                return Ok(started(&self.keep(left)));
            }
            let plan = match planned.take() {
                Some(plan) => plan,
                None => self.plan(&task, &config).await?,
            };
            match tasks.start(plan.launch.clone()).await {
                Ok(begun) => {
                    let running = self.keep(begun);
                    let read_only = running.task.read_only().map(|why| {
                        format!(
                            "The host's directories are read-only in the task, and hide what its own hold there: {why}"
                        )
                    });
                    for message in plan.warnings.into_iter().chain(read_only).chain(plan.note) {
                        tell(&self.events, &running, message);
                    }
                    return Ok(started(&running));
                }
                // A keeper of that earlier process is at it.
                Err(yurt_task::StartError::AlreadyRunning { .. }) if Instant::now() < end => {
                    planned = Some(plan);
                    tokio::time::sleep(AGAIN).await;
                }
                Err(why) if why.recoverable() => return Err(StartError::recoverable(why.to_string())),
                Err(why) => return Err(PluginError::failed_precondition(start::sentence_on(&why)).into()),
            }
        }
    }

    /// If the guest fails and the one before it takes over again, that one plans.
    async fn plan(&self, task: &TaskConfig, config: &Value) -> Result<Planned, StartError> {
        let topology = self.topology.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut over = 0;
        loop {
            let looked = self.looked(over).await;
            let now = self.side.turns().now();
            // A new configuration of the same guest holds at once, before the node is looked at by it.
            let same = Arc::ptr_eq(&now.serving.guest, &looked.turn.serving.guest);
            let turn = if same { &now } else { &looked.turn };
            let serving = &turn.serving;
            let terms = Terms {
                side: &self.side,
                serving,
                findings: &looked.findings,
                topology: topology.as_ref(),
                runtime: &self.begun.runtime,
            };
            match start::plan(&terms, task, config).await {
                Ok(planned) => return Ok(planned),
                Err(Failure::Start(why)) => return Err(why),
                Err(Failure::Guest(why)) if over == 0 && self.side.turns().failed(turn, &why) => {
                    over = turn.number;
                }
                Err(Failure::Guest(why)) => return Err(PluginError::internal(why.to_string()).into()),
            }
        }
    }
}

fn started(running: &Running) -> Started {
    Started { version: HANDLE_VERSION, driver_state: Opaque(running.task.handle().to_bytes()), network: None }
}

fn told_at_the_end(exit: &yurt_task::Exit, memo: &Memo) -> Vec<String> {
    let mut told = Vec::new();
    if exit.oom_killed {
        told.push("The kernel killed a process of the task: its memory limit was reached".to_owned());
    }
    if let Some(why) = &exit.unknown {
        told.push(format!("The exit code is not known: {why}"));
    }
    if let Some(note) = memo.exit_note(exit.code) {
        told.push(format!("Exit code {}: {note}", exit.code));
    }
    if exit.log_bytes_dropped > 0 {
        told.push(format!("{} bytes of output were dropped: nobody read the task's logs", exit.log_bytes_dropped));
    }
    told
}

/// An event of a task. Nobody listening is no failure.
fn tell(events: &broadcast::Sender<TaskEvent>, running: &Running, message: String) {
    tracing::info!(task = running.task.id(), "{message}");
    let _ = events.send(TaskEvent {
        task_id: running.task.id().to_owned(),
        alloc_id: running.memo.alloc_id.clone(),
        task_name: running.memo.task_name.clone(),
        at: SystemTime::now(),
        message,
        annotations: BTreeMap::new(),
    });
}

/// The guest's keys with the host's block beside them.
pub(crate) fn schema(guest: &str) -> Result<Spec, yurt_nomad::schema::SpecError> {
    host_config::beside(guest, config::spec()?)
}

/// What a schema makes of a stanza without `config`.
pub(crate) fn defaults(schema: &Spec, wanted: wit::Isolation) -> Result<Config, String> {
    let config = from_msgpack(&[], schema).map_err(|why| why.to_string())?;
    let (keys, host) = split(config, wanted)?;
    Ok(Config { guest: keys.to_string().into(), host })
}

/// Takes the host's block out; the rest is the guest's.
pub(crate) fn split(mut config: Value, wanted: wit::Isolation) -> Result<(Value, DriverHost), String> {
    let block = DriverConfig::from_json(&host_config::taken_from(&mut config))?;
    let isolation = match (block.isolation, wanted) {
        (Some(isolation), _) => isolation,
        (None, wit::Isolation::None) => Isolation::None,
        (None, wit::Isolation::Chroot) => Isolation::Chroot,
        (None, wit::Isolation::Overlay) => Isolation::Overlay,
        (None, wit::Isolation::Landlock) => Isolation::Landlock,
    };
    Ok((config, DriverHost { block, isolation }))
}

#[tonic::async_trait]
impl TaskDriver for DriverPlugin {
    fn info(&self) -> Info {
        let guest = self.serving().guest();
        Info { name: guest.name, version: guest.version }
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        Ok(Some(self.serving().guest.schema.clone()))
    }

    async fn set_config(&self, msgpack: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError> {
        let (side, begun, msgpack) = (Arc::clone(&self.side), Arc::clone(&self.begun), msgpack.to_vec());
        blocking(move || side.configure(&msgpack, &begun)).await??;
        if let Some(topology) = agent.and_then(|agent| agent.topology) {
            *self.topology.write().unwrap_or_else(PoisonError::into_inner) = Some(topology);
        }
        self.begun.configured(self.serving().common());
        Ok(())
    }

    async fn task_schema(&self) -> Result<Spec, PluginError> {
        Ok(self.serving().guest.task_schema.clone())
    }

    async fn capabilities(&self) -> Result<Capabilities, PluginError> {
        let serving = self.serving();
        let wanted = &serving.guest.logic.description().capabilities;
        let isolation = serving.host.isolation;
        Ok(Capabilities {
            signals: wanted.signals,
            exec: wanted.exec,
            isolation: match isolation {
                Isolation::None => FsIsolation::None,
                Isolation::Chroot => FsIsolation::Chroot,
                // The agent makes directories only: it has no chroot to fill.
                Isolation::Overlay => FsIsolation::Image,
                Isolation::Landlock => FsIsolation::Unveil,
            },
            networks: if wanted.group_network { vec![NetworkMode::Group] } else { Vec::new() },
            makes_network: false,
            // Without a root of its own there is no place in a task to mount anything at.
            mounts: wanted.mounts && isolation.has_a_root(),
            collects_logs: false,
            // The agent gives the mounts of what it unveils to the task's user, and so needs one.
            dynamic_users: isolation == Isolation::Landlock,
        })
    }

    fn fingerprint(&self) -> watch::Receiver<Option<Arc<Fingerprint>>> {
        self.looking.get_or_init(|| {
            if let Some(parts) = self.exchange.lock().unwrap_or_else(PoisonError::into_inner).take() {
                exchange::start(parts);
            }
            self.begun.serve_metrics(None);
            fingerprint::start(Arc::clone(&self.side), Arc::clone(&self.looked), self.told.clone());
            self.sweep();
        });
        self.told.subscribe()
    }

    fn events(&self) -> broadcast::Receiver<TaskEvent> {
        self.events.subscribe()
    }

    async fn start(&self, task: TaskConfig, config: Value) -> Result<Started, StartError> {
        let id = task.id.clone();
        match self.known().entry(id.clone()) {
            Entry::Vacant(free) => {
                free.insert(Known::Starting);
            }
            Entry::Occupied(_) => {
                return Err(PluginError::failed_precondition(format!("task with ID {id:?} already started")).into());
            }
        }
        let begun = self.begin(task, config).await;
        if begun.is_err() {
            self.known().remove(&id);
        }
        begun
    }

    async fn recover(&self, handle: TaskHandle) -> Result<(), PluginError> {
        let id = handle.config.id;
        if self.known().contains_key(&id) {
            return Ok(());
        }
        if handle.version != HANDLE_VERSION {
            return Err(PluginError::invalid_argument(format!(
                "the handle of task {id:?} is of version {}, and this plugin knows {HANDLE_VERSION}: it was written by another driver or a later release",
                handle.version
            )));
        }
        let known = Handle::from_bytes(&handle.driver_state.0)
            .map_err(|why| PluginError::invalid_argument(format!("the handle of task {id:?}: {why}")))?;
        let task =
            self.tasks()?.recover(&known).await.map_err(|why| PluginError::failed_precondition(why.to_string()))?;
        if task.id() != id {
            return Err(PluginError::invalid_argument(format!(
                "the handle of task {id:?} leads to another task, {:?}: nothing was touched",
                task.id()
            )));
        }
        self.keep(task);
        Ok(())
    }

    async fn wait(&self, id: &str) -> Result<WaitResult, PluginError> {
        let running = self.running(id)?;
        let ended = running.task.wait().await;
        Ok(WaitResult { exit: exit(&ended), unknown: ended.unknown })
    }

    async fn stop(&self, id: &str, timeout: Duration, signal: Option<&str>) -> Result<(), PluginError> {
        let running = self.running_or_left(id).await?;
        stop::stop(&running.task, &running.memo, timeout, signal).await
    }

    async fn destroy(&self, id: &str, force: bool) -> Result<(), PluginError> {
        let running = self.running_or_left(id).await?;
        if running.task.exit().is_none() {
            if !force {
                return Err(PluginError::failed_precondition("cannot destroy running task"));
            }
            running.task.kill(KILL).await.map_err(|why| PluginError::internal(why.to_string()))?;
            if tokio::time::timeout(KILL, running.task.wait()).await.is_err() {
                return Err(PluginError::internal(format!(
                    "task {id:?} was killed and does not end: the kernel holds it"
                )));
            }
        }
        running.task.forget().await.map_err(|why| PluginError::internal(why.to_string()))?;
        self.known().remove(id);
        Ok(())
    }

    async fn inspect(&self, id: &str) -> Result<TaskStatus, PluginError> {
        let running = self.running(id)?;
        let ended = running.task.exit();
        Ok(TaskStatus {
            id: id.to_owned(),
            name: running.memo.task_name.clone(),
            state: if ended.is_some() { TaskState::Exited } else { TaskState::Running },
            started_at: Some(running.task.started_at()),
            completed_at: ended.as_ref().map(|ended| ended.at),
            exit: ended.as_ref().map(exit),
            attributes: BTreeMap::from([("pid".to_owned(), running.task.pid().to_string())]),
            network: None,
        })
    }

    async fn stats(&self, id: &str) -> Result<Option<TaskStats>, PluginError> {
        let running = self.running(id)?;
        if running.task.exit().is_some() {
            return Ok(None);
        }
        let now = running.task.stats().map_err(|why| PluginError::internal(why.to_string()))?;
        let topology = self.topology.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut before = running.before.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(figures(&now, &mut before, topology.as_ref())))
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<(), PluginError> {
        let running = self.running(id)?;
        let number = signals::number(signal).map_err(PluginError::invalid_argument)?;
        if running.task.exit().is_some() {
            return Err(PluginError::failed_precondition(format!(
                "the task has ended: {} was not sent",
                signals::name(number)
            )));
        }
        if running.memo.component {
            component::takes(number).map_err(PluginError::failed_precondition)?;
        }
        stop::act(&running.task, &running.memo, &running.memo.action(number), KILL).await
    }

    async fn exec(&self, id: &str, command: Vec<String>, timeout: Option<Duration>) -> Result<ExecResult, PluginError> {
        let running = self.running(id)?;
        exec::run(&running.task, &running.memo, command, timeout).await
    }

    async fn exec_stream(
        &self,
        exec: Exec,
        input: mpsc::Receiver<ExecInput>,
        output: ExecOutput,
    ) -> Result<ExitResult, PluginError> {
        let running = self.running(&exec.task_id)?;
        exec::stream(&running.task, &running.memo, exec.command, exec.tty, input, output).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_of(code: i32) -> yurt_task::Exit {
        yurt_task::Exit {
            code,
            signal: 0,
            oom_killed: false,
            at: SystemTime::UNIX_EPOCH,
            unknown: None,
            user: Duration::ZERO,
            system: Duration::ZERO,
            max_rss: 0,
            log_bytes_dropped: 0,
        }
    }

    #[test]
    fn the_end_of_a_task_is_told_with_what_is_out_of_the_ordinary() {
        let memo = Memo { exit_notes: vec![(2, "wrong usage".to_owned())], ..Memo::default() };
        assert_eq!(told_at_the_end(&exit_of(0), &memo), Vec::<String>::new());
        assert_eq!(told_at_the_end(&exit_of(2), &memo), ["Exit code 2: wrong usage"]);
        let killed = yurt_task::Exit { oom_killed: true, log_bytes_dropped: 7, ..exit_of(137) };
        let told = told_at_the_end(&killed, &memo);
        assert!(told.len() == 2 && told.iter().any(|line| line.contains("7 bytes of output")), "{told:?}");
    }

    #[test]
    fn the_operator_s_isolation_goes_before_the_guest_s_wish() {
        let block = |text: &str| serde_json::json!({ "yurt": { "isolation": text }, "interpreters": [] });
        let (keys, host) = split(block("none"), wit::Isolation::Chroot).unwrap();
        assert_eq!((host.isolation, keys), (Isolation::None, serde_json::json!({ "interpreters": [] })));
        let (_, host) = split(Value::Object(Default::default()), wit::Isolation::Chroot).unwrap();
        assert_eq!(host.isolation, Isolation::Chroot);
        let (_, host) = split(serde_json::json!({}), wit::Isolation::Overlay).unwrap();
        assert_eq!(host.isolation, Isolation::Overlay);
    }
}

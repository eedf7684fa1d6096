//! The task driver as Nomad sees it, wired from its parts: schema and configuration here, looks at the node in `driver/fingerprint.rs`,
//! starts in `begin.rs`, tasks that nobody asks for in `orphans.rs`. Tasks themselves are the task room's, those that Nomad has spoken of
//! stand in `driver/known.rs`.

mod begin;
mod orphans;

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use yurt_guest::driver as wit;
use yurt_nomad::config::from_msgpack;
use yurt_nomad::driver::{
    AgentConfig, Capabilities, Exec, ExecInput, ExecOutput, ExecResult, ExitResult, Fingerprint, FsIsolation, Info,
    NetworkMode, PluginError, StartError, Started, TaskConfig, TaskDriver, TaskEvent, TaskHandle, TaskState, TaskStats,
    TaskStatus, Topology, WaitResult,
};
use yurt_nomad::schema::Spec;
use yurt_task::{Handle, Tasks};

use crate::choice::Driver;
use crate::driver::component;
use crate::driver::config::{self, DriverConfig, Isolation};
use crate::driver::exec::{self, exit};
use crate::driver::fingerprint::{self, Looks};
use crate::driver::known::{Known, Running};
use crate::driver::stats::{attributes, figures};
use crate::driver::{signals, stop};
use crate::driver_side::{DriverHost, DriverSide, Serving};
use crate::exchange::{self, Kept, Parts, Serves as _, Side as _};
use crate::guest_call::blocking;
use crate::host_config;
use crate::metrics;
use crate::plugin::Begun;

/// Of what stands in a handle's `driver_state`: [`Handle`].
const HANDLE_VERSION: i32 = 1;
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
    runtime_dir: PathBuf,
    tasks: OnceLock<Result<Arc<Tasks>, String>>,
    known: Arc<Known>,
    /// How many tasks nobody asks for.
    orphans: Arc<AtomicUsize>,
    begun: Arc<Begun>,
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
            runtime_dir: begun.places.tasks(),
            tasks: OnceLock::new(),
            known: Known::new(),
            orphans: Arc::default(),
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

    /// Also a task that an earlier process started and Nomad never spoke of to this one: to end it, not to use it.
    async fn running_or_left(&self, id: &str) -> Result<Arc<Running>, PluginError> {
        match self.known.running(id) {
            Err(why) if why.kind == yurt_nomad::driver::ErrorKind::NotFound => {
                let left = self.tasks()?.adopt(id).await.map_err(|why| PluginError::internal(why.to_string()))?;
                left.map(|task| self.known.keep(task)).ok_or(why)
            }
            other => other,
        }
    }
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
            let tasks = metrics::Tasks { known: Arc::clone(&self.known), orphans: Arc::clone(&self.orphans) };
            self.begun.serve_metrics(None, Some(tasks));
            fingerprint::start(Arc::clone(&self.side), Arc::clone(&self.looked), self.told.clone());
            tokio::spawn(Arc::clone(&self.known).tell_of_guests(self.side.turns().subscribe()));
            self.sweep();
        });
        self.told.subscribe()
    }

    fn events(&self) -> broadcast::Receiver<TaskEvent> {
        self.known.events()
    }

    async fn start(&self, task: TaskConfig, config: Value) -> Result<Started, StartError> {
        self.started(task, config).await
    }

    fn given_up(&self, id: &str) {
        self.known.give_up(id);
    }

    async fn recover(&self, handle: TaskHandle) -> Result<(), PluginError> {
        let id = handle.config.id;
        if self.known.has(&id) {
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
        self.known.keep(task);
        Ok(())
    }

    async fn wait(&self, id: &str) -> Result<WaitResult, PluginError> {
        let running = self.known.running(id)?;
        let ended = running.task.wait().await;
        Ok(WaitResult { exit: exit(&ended), unknown: ended.unknown })
    }

    async fn stop(&self, id: &str, timeout: Duration, signal: Option<&str>) -> Result<(), PluginError> {
        self.known.given_up(id, KILL).await;
        let running = self.running_or_left(id).await?;
        stop::stop(&running.task, &running.memo, timeout, signal).await
    }

    async fn destroy(&self, id: &str, force: bool) -> Result<(), PluginError> {
        self.known.given_up(id, KILL).await;
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
        self.known.forget(id);
        Ok(())
    }

    async fn inspect(&self, id: &str) -> Result<TaskStatus, PluginError> {
        let running = self.known.running(id)?;
        let ended = running.task.exit();
        Ok(TaskStatus {
            id: id.to_owned(),
            name: running.memo.task_name.clone(),
            state: if ended.is_some() { TaskState::Exited } else { TaskState::Running },
            started_at: Some(running.task.started_at()),
            completed_at: ended.as_ref().map(|ended| ended.at),
            exit: ended.as_ref().map(exit),
            attributes: attributes(&running.task),
            network: None,
        })
    }

    async fn stats(&self, id: &str) -> Result<Option<TaskStats>, PluginError> {
        let running = self.known.running(id)?;
        if running.task.exit().is_some() {
            return Ok(None);
        }
        let now = running.task.stats().map_err(|why| PluginError::internal(why.to_string()))?;
        let topology = self.topology.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut before = running.before.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(figures(&now, &mut before, topology.as_ref())))
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<(), PluginError> {
        let running = self.known.running(id)?;
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
        let running = self.known.running(id)?;
        exec::run(&running.task, &running.memo, command, timeout).await
    }

    async fn exec_stream(
        &self,
        exec: Exec,
        input: mpsc::Receiver<ExecInput>,
        output: ExecOutput,
    ) -> Result<ExitResult, PluginError> {
        let running = self.known.running(&exec.task_id)?;
        exec::stream(&running.task, &running.memo, exec.command, exec.tty, input, output).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! A driver that does as it is told, also when that is wrong. What it is to do stands in the task's `config` and, for running
//! tasks, in front of the `:` of the id.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use yurt_nomad::config::to_msgpack;
use yurt_nomad::driver::{
    AgentConfig, Capabilities, CpuUsage, CreatedNetwork, Exec, ExecInput, ExecOutput, ExecResult, ExitResult,
    Fingerprint, FsIsolation, Info, MemoryUsage, NetworkIsolation, NetworkMode, NetworkOverride, Opaque, OutputKind,
    PluginError, StartError, Started, TaskConfig, TaskDriver, TaskEvent, TaskHandle, TaskState, TaskStats, TaskStatus,
    Usage, WaitResult,
};
use yurt_nomad::schema::Spec;

pub(crate) const TASK_SPEC: &str = r#"object {
  default "do" {
    attr {
      type = string
    }
    literal {
      value = "run"
    }
  }
  attr "args" {
    type = list(string)
  }
}"#;

pub(crate) struct Fake {
    pub(crate) looks: watch::Sender<Option<Arc<Fingerprint>>>,
    pub(crate) events: broadcast::Sender<TaskEvent>,
    /// Everything that was asked of it, in order.
    pub(crate) calls: Mutex<Vec<String>>,
    pub(crate) started: Mutex<Vec<(TaskConfig, Json)>>,
    pub(crate) recovered: Mutex<Vec<TaskHandle>>,
    pub(crate) ends: watch::Sender<BTreeMap<String, WaitResult>>,
    pub(crate) measured: Mutex<Vec<Result<Option<TaskStats>, PluginError>>>,
    /// Lets those go on that are told to be slow.
    pub(crate) go: Notify,
    /// How many calls that wait are in it.
    pub(crate) waiting: AtomicUsize,
    pub(crate) inputs: Mutex<Vec<ExecInput>>,
    pub(crate) written: AtomicUsize,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake {
            looks: watch::Sender::new(None),
            events: broadcast::Sender::new(64),
            calls: Mutex::default(),
            started: Mutex::default(),
            recovered: Mutex::default(),
            ends: watch::Sender::default(),
            measured: Mutex::default(),
            go: Notify::new(),
            waiting: AtomicUsize::new(0),
            inputs: Mutex::default(),
            written: AtomicUsize::new(0),
        }
    }
}

/// Counts itself as long as it is there.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Waiting<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn task(id: &str, config: &Json) -> TaskConfig {
    let driver_config = Opaque(to_msgpack(config));
    TaskConfig { id: id.to_owned(), name: "t".to_owned(), driver_config, ..TaskConfig::default() }
}

pub(crate) fn to_do(what: &str) -> Json {
    json!({ "do": what })
}

impl Fake {
    pub(crate) fn called(&self, call: &str) -> bool {
        self.calls.lock().unwrap().iter().any(|known| known == call)
    }

    pub(crate) fn waits(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn end(&self, id: &str, result: WaitResult) {
        self.ends.send_modify(|ends| {
            ends.insert(id.to_owned(), result);
        });
    }

    /// Notes the call down and does what the id says.
    async fn at(&self, call: &str, id: &str) -> Result<(), PluginError> {
        self.calls.lock().unwrap().push(format!("{call} {id}"));
        self.obey(id.split(':').next().unwrap_or_default()).await
    }

    async fn obey(&self, what: &str) -> Result<(), PluginError> {
        match what {
            "panic" => panic!("as told"),
            "hang" => std::future::pending().await,
            "fail" => Err(PluginError::internal("it is broken\nthrough and through")),
            "unknown" => Err(PluginError::not_found("task not found for given id")),
            "slow" => {
                let _waiting = Waiting::new(&self.waiting);
                self.go.notified().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl TaskDriver for Fake {
    fn info(&self) -> Info {
        Info { name: "fake".to_owned(), version: "1.2.3".to_owned() }
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        Ok(None)
    }

    async fn set_config(&self, _: &[u8], _: Option<AgentConfig>) -> Result<(), PluginError> {
        Ok(())
    }

    async fn task_schema(&self) -> Result<Spec, PluginError> {
        Ok(Spec::parse(TASK_SPEC).unwrap())
    }

    async fn capabilities(&self) -> Result<Capabilities, PluginError> {
        Ok(Capabilities {
            signals: true,
            exec: true,
            isolation: FsIsolation::Unveil,
            networks: vec![NetworkMode::Host, NetworkMode::Group],
            makes_network: true,
            mounts: false,
            collects_logs: true,
            dynamic_users: true,
        })
    }

    fn fingerprint(&self) -> watch::Receiver<Option<Arc<Fingerprint>>> {
        self.looks.subscribe()
    }

    fn events(&self) -> broadcast::Receiver<TaskEvent> {
        self.events.subscribe()
    }

    async fn start(&self, task: TaskConfig, config: Json) -> Result<Started, StartError> {
        let id = task.id.clone();
        self.calls.lock().unwrap().push(format!("start {id}"));
        if config["do"] == "retry" {
            return Err(StartError::recoverable("the image is locked"));
        }
        self.obey(config["do"].as_str().unwrap()).await?;
        self.started.lock().unwrap().push((task, config));
        let network = NetworkOverride {
            ports: [("http".to_owned(), 8080)].into(),
            address: "10.0.0.7".to_owned(),
            advertise: true,
        };
        Ok(Started { version: 3, driver_state: Opaque(id.into_bytes()), network: Some(network) })
    }

    async fn recover(&self, handle: TaskHandle) -> Result<(), PluginError> {
        self.at("recover", &handle.config.id).await?;
        self.recovered.lock().unwrap().push(handle);
        Ok(())
    }

    async fn wait(&self, id: &str) -> Result<WaitResult, PluginError> {
        let _waiting = Waiting::new(&self.waiting);
        self.at("wait", id).await?;
        let mut ends = self.ends.subscribe();
        let ends = ends.wait_for(|ends| ends.contains_key(id)).await.expect("the sender is there");
        Ok(ends[id].clone())
    }

    async fn stop(&self, id: &str, timeout: Duration, signal: Option<&str>) -> Result<(), PluginError> {
        self.at("stop", id).await?;
        self.calls.lock().unwrap().push(format!("stopped {id} {timeout:?} {signal:?}"));
        Ok(())
    }

    async fn destroy(&self, id: &str, force: bool) -> Result<(), PluginError> {
        self.at("destroy", id).await?;
        self.calls.lock().unwrap().push(format!("destroyed {id} {force}"));
        Ok(())
    }

    async fn inspect(&self, id: &str) -> Result<TaskStatus, PluginError> {
        self.at("inspect", id).await?;
        let ended = self.ends.borrow().get(id).map(|end| end.exit);
        Ok(TaskStatus {
            id: id.to_owned(),
            name: "t".to_owned(),
            state: if ended.is_some() { TaskState::Exited } else { TaskState::Running },
            started_at: Some(UNIX_EPOCH + Duration::new(1_700_000_000, 5)),
            completed_at: ended.map(|_| UNIX_EPOCH + Duration::from_secs(1_700_000_009)),
            exit: ended,
            attributes: [("pid".to_owned(), "77".to_owned())].into(),
            network: None,
        })
    }

    async fn stats(&self, id: &str) -> Result<Option<TaskStats>, PluginError> {
        self.at("stats", id).await?;
        let mut measured = self.measured.lock().unwrap();
        if measured.is_empty() { Ok(Some(figures())) } else { measured.remove(0) }
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<(), PluginError> {
        self.at("signal", id).await?;
        self.calls.lock().unwrap().push(format!("signalled {id} {signal}"));
        Ok(())
    }

    async fn exec(&self, id: &str, command: Vec<String>, timeout: Option<Duration>) -> Result<ExecResult, PluginError> {
        let _waiting = Waiting::new(&self.waiting);
        self.at("exec", id).await?;
        Ok(ExecResult {
            stdout: format!("{command:?} {timeout:?}").into_bytes(),
            stderr: b"\xff\x00".to_vec(),
            exit: ExitResult::signal(9),
        })
    }

    async fn exec_stream(
        &self,
        exec: Exec,
        mut input: mpsc::Receiver<ExecInput>,
        output: ExecOutput,
    ) -> Result<ExitResult, PluginError> {
        let _waiting = Waiting::new(&self.waiting);
        self.at("exec_stream", &exec.task_id).await?;
        let word = |at: usize| exec.command.get(at).map(String::as_str).unwrap_or_default();
        match word(0) {
            "cat" => {
                while let Some(ExecInput::Stdin(bytes)) = input.recv().await {
                    output
                        .write(OutputKind::Stdout, bytes)
                        .await
                        .map_err(|why| PluginError::internal(why.to_string()))?;
                }
            }
            "flood" => {
                for n in 0..word(1).parse::<usize>().unwrap() {
                    let bytes = vec![n as u8; 1 << 16];
                    if output.write(OutputKind::Stdout, bytes).await.is_err() {
                        return Ok(ExitResult::code(1));
                    }
                    self.written.fetch_add(1 << 16, Ordering::SeqCst);
                }
            }
            "record" => {
                while let Some(next) = input.recv().await {
                    self.inputs.lock().unwrap().push(next);
                }
                return Ok(ExitResult::code(i32::from(exec.tty)));
            }
            "deaf" => {
                drop(input);
                self.go.notified().await;
            }
            "idle" => {
                // Holds its input without reading.
                self.go.notified().await;
                drop(input);
            }
            "late" => {
                output.write(OutputKind::Stdout, b"late ".to_vec()).await.unwrap();
                tokio::spawn(async move {
                    while output.write(OutputKind::Stdout, b"late ".to_vec()).await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                });
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            "both" => {
                output.write(OutputKind::Stdout, b"out".to_vec()).await.unwrap();
                output.write(OutputKind::Stderr, b"err".to_vec()).await.unwrap();
                output.close(OutputKind::Stderr).await.unwrap();
                assert!(output.write(OutputKind::Stderr, b"more".to_vec()).await.is_err());
                output.write(OutputKind::Stdout, vec![]).await.unwrap();
                return Ok(ExitResult { code: 137, signal: 9, oom_killed: true });
            }
            what => {
                output.write(OutputKind::Stdout, b"before".to_vec()).await.unwrap();
                self.obey(what).await?;
            }
        }
        Ok(ExitResult::code(0))
    }

    async fn create_network(&self, alloc_id: &str, hostname: &str) -> Result<CreatedNetwork, PluginError> {
        self.at("create_network", alloc_id).await?;
        let labels = [("host".to_owned(), hostname.to_owned())].into();
        let network = NetworkIsolation { mode: NetworkMode::Group, path: "/run/ns".to_owned(), labels, hosts: None };
        Ok(CreatedNetwork { network, created: true })
    }

    async fn destroy_network(&self, alloc_id: &str, network: Option<NetworkIsolation>) -> Result<(), PluginError> {
        self.at("destroy_network", alloc_id).await?;
        let path = network.map(|network| network.path).unwrap_or_default();
        self.calls.lock().unwrap().push(format!("unmade {alloc_id} {path}"));
        Ok(())
    }

    async fn init(&self) -> Result<(), PluginError> {
        self.at("init", "").await
    }

    async fn shutdown(&self) -> Result<(), PluginError> {
        self.at("shutdown", "").await
    }
}

pub(crate) fn figures() -> TaskStats {
    let cpu = CpuUsage { user: Some(12.5), throttled_periods: Some(0), ..CpuUsage::default() };
    let memory = MemoryUsage { rss: Some(1 << 40), swap: Some(0), ..MemoryUsage::default() };
    TaskStats {
        at: UNIX_EPOCH + Duration::new(1_700_000_000, 5),
        total: Usage { cpu, memory },
        by_pid: [("77".to_owned(), Usage { memory, ..Usage::default() })].into(),
    }
}

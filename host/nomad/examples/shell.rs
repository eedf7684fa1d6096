//! The smallest whole task driver: a task is a child process, `sh -c`. Put it into an agent's `plugin_dir`, name it in a
//! `plugin "shell" {}` stanza, and a job can say
//!
//! ```hcl
//! driver = "shell"
//! config {
//!   command = "echo hello; sleep 60"
//! }
//! ```
//!
//! It keeps nothing: its tasks cannot be found again after its own end. No isolation either.

#![allow(clippy::expect_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use yurt_go_plugin::log;
use yurt_go_plugin::server::{Invocation, ServeOptions, invocation, serve};
use yurt_nomad::HANDSHAKE;
use yurt_nomad::attribute::Attribute;
use yurt_nomad::driver::{
    AgentConfig, Capabilities, Env, Exec, ExecInput, ExecOutput, ExecResult, ExitResult, Fingerprint, Health, Info,
    MemoryUsage, Opaque, OutputKind, PluginError, StartError, Started, TaskConfig, TaskDriver, TaskHandle, TaskState,
    TaskStats, TaskStatus, Usage, WaitResult, routes,
};
use yurt_nomad::schema::Spec;

const SHELL: &str = "/bin/sh";
const TASK_SCHEMA: &str = r#"object {
  attr "command" {
    type     = string
    required = true
  }
}"#;

struct Shell {
    look: watch::Sender<Option<Arc<Fingerprint>>>,
    tasks: Mutex<BTreeMap<String, Arc<Task>>>,
}

struct Task {
    name: String,
    env: Env,
    pid: u32,
    started_at: SystemTime,
    end: watch::Receiver<Option<(ExitResult, SystemTime)>>,
}

fn main() -> ExitCode {
    let environment = match invocation(&HANDSHAKE) {
        Ok(Invocation::Plugin(environment)) => environment,
        Ok(_) => {
            eprintln!("This is a plugin for HashiCorp Nomad: the agent starts it from its plugin_dir.");
            return ExitCode::FAILURE;
        }
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    log::install("shell", tracing::Level::INFO);
    let shell = Arc::new(Shell { look: watch::Sender::new(Some(Arc::new(look()))), tasks: Mutex::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(async { serve(&HANDSHAKE, environment, routes(shell), ServeOptions::default()).await }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn look() -> Fingerprint {
    let health = if Path::new(SHELL).exists() {
        Health::Healthy { note: "Healthy".to_owned() }
    } else {
        Health::Undetected { reason: format!("there is no {SHELL}") }
    };
    Fingerprint { attributes: BTreeMap::from([("driver.shell.path".to_owned(), Attribute::text(SHELL))]), health }
}

impl Shell {
    fn task(&self, id: &str) -> Result<Arc<Task>, PluginError> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.get(id).cloned().ok_or_else(|| PluginError::not_found("task not found for given id"))
    }
}

impl Task {
    async fn ended(&self) -> ExitResult {
        let mut end = self.end.clone();
        // The sender goes only with the process.
        end.wait_for(Option::is_some).await.ok().and_then(|end| *end).map(|(exit, _)| exit).unwrap_or_default()
    }

    fn runs(&self) -> bool {
        self.end.borrow().is_none()
    }

    fn kill(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw).filter(|_| self.runs()) {
            let _ = kill_process_group(group, signal);
        }
    }

    fn command(&self, words: &[String]) -> Result<Command, PluginError> {
        let (program, args) = words.split_first().ok_or_else(|| PluginError::invalid_argument("no command"))?;
        if !self.runs() {
            return Err(PluginError::failed_precondition("the task has ended"));
        }
        let mut command = Command::new(program);
        command.args(args).env_clear().envs(&self.env.0).stdin(Stdio::piped()).kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }
}

fn exit(status: ExitStatus) -> ExitResult {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitResult::code(code),
        (None, signal) => ExitResult::signal(signal.unwrap_or_default()),
    }
}

fn signal(name: &str) -> Result<Signal, PluginError> {
    match name.to_ascii_uppercase().trim_start_matches("SIG") {
        "HUP" => Ok(Signal::HUP),
        "INT" => Ok(Signal::INT),
        "KILL" => Ok(Signal::KILL),
        "TERM" => Ok(Signal::TERM),
        "USR1" => Ok(Signal::USR1),
        _ => Err(PluginError::invalid_argument(format!("there is no signal {name:?}"))),
    }
}

fn failed(what: &str) -> impl FnOnce(std::io::Error) -> PluginError {
    move |why| PluginError::failed_precondition(format!("{what}: {why}"))
}

/// A pipe's or file's writing end, as the agent made it.
fn log_file(path: &str) -> Result<Stdio, PluginError> {
    Ok(OpenOptions::new().append(true).open(path).map_err(failed(path))?.into())
}

async fn pump(mut from: impl AsyncRead + Unpin, kind: OutputKind, to: &ExecOutput) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..length) else { return };
        if to.write(kind, bytes.to_vec()).await.is_err() {
            return;
        }
    }
}

async fn feed(mut input: mpsc::Receiver<ExecInput>, child: &mut Child) {
    let mut stdin = child.stdin.take();
    while let Some(next) = input.recv().await {
        match (next, stdin.as_mut()) {
            (ExecInput::Stdin(bytes), Some(open)) => {
                if open.write_all(&bytes).await.is_err() {
                    stdin = None;
                }
            }
            (ExecInput::CloseStdin, _) => stdin = None,
            (ExecInput::Resize { .. } | ExecInput::Stdin(_), _) => {}
        }
    }
}

#[tonic::async_trait]
impl TaskDriver for Shell {
    fn info(&self) -> Info {
        Info { name: "shell".to_owned(), version: "1.0.0".to_owned() }
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        Ok(None)
    }

    async fn set_config(&self, _: &[u8], _: Option<AgentConfig>) -> Result<(), PluginError> {
        Ok(())
    }

    async fn task_schema(&self) -> Result<Spec, PluginError> {
        Spec::parse(TASK_SCHEMA).map_err(|why| PluginError::internal(why.to_string()))
    }

    async fn capabilities(&self) -> Result<Capabilities, PluginError> {
        Ok(Capabilities { signals: true, exec: true, ..Capabilities::default() })
    }

    fn fingerprint(&self) -> watch::Receiver<Option<Arc<Fingerprint>>> {
        self.look.subscribe()
    }

    async fn start(&self, task: TaskConfig, config: Value) -> Result<Started, StartError> {
        if self.task(&task.id).is_ok() {
            let why = format!("task with ID {:?} already started", task.id);
            return Err(PluginError::failed_precondition(why).into());
        }
        let line = config.get("command").and_then(Value::as_str).unwrap_or_default();
        let mut command = Command::new(SHELL);
        command.args(["-c", line]).env_clear().envs(&task.env.0).process_group(0).stdin(Stdio::null());
        command.stdout(log_file(&task.stdout_path)?).stderr(log_file(&task.stderr_path)?);
        let mut child = command.spawn().map_err(failed(SHELL))?;
        let (ended, end) = watch::channel(None);
        let pid = child.id().unwrap_or_default();
        tokio::spawn(async move {
            let how = child.wait().await.map(exit).unwrap_or(ExitResult::code(-1));
            ended.send_replace(Some((how, SystemTime::now())));
        });
        let started = Task { name: task.name, env: task.env, pid, started_at: SystemTime::now(), end };
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).insert(task.id, Arc::new(started));
        Ok(Started { version: 1, driver_state: Opaque(pid.to_string().into_bytes()), network: None })
    }

    async fn recover(&self, handle: TaskHandle) -> Result<(), PluginError> {
        let known = self.task(&handle.config.id);
        known.map(|_| ()).map_err(|_| PluginError::failed_precondition("this driver cannot find its tasks again"))
    }

    async fn wait(&self, id: &str) -> Result<WaitResult, PluginError> {
        Ok(WaitResult { exit: self.task(id)?.ended().await, unknown: None })
    }

    async fn stop(&self, id: &str, timeout: Duration, name: Option<&str>) -> Result<(), PluginError> {
        let (task, signal) = (self.task(id)?, signal(name.unwrap_or("SIGINT"))?);
        task.kill(signal);
        if tokio::time::timeout(timeout, task.ended()).await.is_err() {
            task.kill(Signal::KILL);
            task.ended().await;
        }
        Ok(())
    }

    async fn destroy(&self, id: &str, force: bool) -> Result<(), PluginError> {
        let task = self.task(id)?;
        if task.runs() && !force {
            return Err(PluginError::failed_precondition("cannot destroy running task"));
        }
        task.kill(Signal::KILL);
        task.ended().await;
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    async fn inspect(&self, id: &str) -> Result<TaskStatus, PluginError> {
        let task = self.task(id)?;
        let end = *task.end.borrow();
        Ok(TaskStatus {
            id: id.to_owned(),
            name: task.name.clone(),
            state: if end.is_some() { TaskState::Exited } else { TaskState::Running },
            started_at: Some(task.started_at),
            completed_at: end.map(|(_, at)| at),
            exit: end.map(|(exit, _)| exit),
            attributes: BTreeMap::from([("pid".to_owned(), task.pid.to_string())]),
            network: None,
        })
    }

    async fn stats(&self, id: &str) -> Result<Option<TaskStats>, PluginError> {
        let task = self.task(id)?;
        let text = std::fs::read_to_string(format!("/proc/{}/status", task.pid));
        let Some(text) = text.ok().filter(|_| task.runs()) else { return Ok(None) };
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        let rss = kib.map(|kib| kib * 1024);
        let total = Usage { memory: MemoryUsage { rss, ..MemoryUsage::default() }, ..Usage::default() };
        Ok(Some(TaskStats { at: SystemTime::now(), total, by_pid: BTreeMap::new() }))
    }

    async fn signal(&self, id: &str, name: &str) -> Result<(), PluginError> {
        let (task, signal) = (self.task(id)?, signal(name)?);
        task.kill(signal);
        Ok(())
    }

    async fn exec(&self, id: &str, words: Vec<String>, timeout: Option<Duration>) -> Result<ExecResult, PluginError> {
        let running = self.task(id)?.command(&words)?.stdin(Stdio::null()).output();
        let output = tokio::time::timeout(timeout.unwrap_or(Duration::MAX), running).await;
        let output = output.map_err(|_| PluginError::deadline_exceeded("the command took too long and was killed"))?;
        let output = output.map_err(failed("the command was not started"))?;
        Ok(ExecResult { stdout: output.stdout, stderr: output.stderr, exit: exit(output.status) })
    }

    async fn exec_stream(
        &self,
        exec: Exec,
        input: mpsc::Receiver<ExecInput>,
        output: ExecOutput,
    ) -> Result<ExitResult, PluginError> {
        if exec.tty {
            return Err(PluginError::failed_precondition("this driver has no terminals"));
        }
        let mut child =
            self.task(&exec.task_id)?.command(&exec.command)?.spawn().map_err(failed("the command was not started"))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(PluginError::internal("the command has no pipes"));
        };
        let written = async {
            tokio::join!(pump(stdout, OutputKind::Stdout, &output), pump(stderr, OutputKind::Stderr, &output))
        };
        tokio::select! {
            _ = written => {}
            () = async { feed(input, &mut child).await; std::future::pending().await } => {}
        }
        child.wait().await.map(exit).map_err(failed("the command was lost"))
    }
}

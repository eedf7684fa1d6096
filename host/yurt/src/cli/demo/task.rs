//! The driver half: a small Python task, played through the plugin as an agent would. It says hello, is looked into, loses its plugin
//! without noticing, is found again by the next one, is stopped, and tells its exit.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe;
use yurt_nomad::client::{Agent, Launched};
use yurt_nomad::config;
use yurt_nomad::driver::{Env, Health, Opaque, Resources, TaskConfig, TaskHandle};

use super::{launch, patient, show};
use crate::cli::term::{Out, Style};
use crate::places;

/// Of the demo's tasks.
const CONFIG: &str = "yurt {\n  isolation = \"none\"\n}\n";
const NAME: &str = "hello";
const ALLOCATION: &str = "00000000-demo";
/// Ends with a code of its own when it is asked to.
const PROGRAM: &str = r#"
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(f"hello from Python {sys.version.split()[0]}: process {os.getpid()}, user {os.getuid()}")
while True:
    time.sleep(60)
"#;

/// Plays the driver half with a plugin linked into `plugins`.
pub(super) async fn play(out: &mut Out, state: &Path, plugins: &Path) -> anyhow::Result<()> {
    let demo = Demo::new(state, plugins)?;
    out.heading("a task", "this binary as a Nomad task driver, file name python-driver")?;
    let (mut plugin, config) = launch::launched(out, &demo.agent, CONFIG).await?;
    if !detected(out, &mut plugin).await? {
        plugin.end().await;
        return Ok(());
    }
    let (task, mut log) = demo.prepared(&mut plugin).await?;

    let began = Instant::now();
    let (handle, _) = patient("the start", plugin.driver.start(&task)).await?;
    let started = began.elapsed();
    let hello = line(&mut log).await?;
    out.heading(
        "start",
        &format!("the task runs after {}, its log after {}", show::span(started), show::span(began.elapsed())),
    )?;
    out.line(&format!("  {}", out.paint(Style::Good, &hello)))?;

    let began = Instant::now();
    let ran = patient(
        "a command",
        plugin.driver.exec(&task.id, &["sh", "-c", "echo $NOMAD_TASK_NAME, user $(id -u)"], Duration::from_secs(10)),
    )
    .await?;
    out.heading("exec", &format!("a command in the task, answered after {}", show::span(began.elapsed())))?;
    out.line(&format!("  {}", String::from_utf8_lossy(&ran.stdout).trim_end()))?;

    let mut plugin = demo.lost_and_found(out, (plugin, &config), &task, &handle).await?;

    let began = Instant::now();
    let mut waiting = plugin.driver.clone();
    let (id, wait) = (
        task.id.clone(),
        tokio::spawn({
            let id = task.id.clone();
            async move { waiting.wait(&id).await }
        }),
    );
    patient("the stop", plugin.driver.stop(&id, Duration::from_secs(5), "SIGTERM")).await?;
    let ended = wait.await?.context("waiting for the task")?;
    out.heading("stop", &format!("SIGTERM, exit code {} after {}", ended.exit.code, show::span(began.elapsed())))?;
    ensure!(ended.exit.code == 7, "the task ends with code 7 when it is asked to, and came back with {:?}", ended.exit);
    patient("the end", plugin.driver.destroy(&task.id, false)).await?;
    let ended = plugin.end().await;
    ensure!(ended.graceful, "the plugin did not end when it was asked to, and was killed");
    Ok(())
}

struct Demo {
    agent: Agent,
    alloc: Allocation,
}

impl Demo {
    fn new(state: &Path, plugins: &Path) -> anyhow::Result<Demo> {
        let program = launch::linked(plugins, "python-driver")?;
        let alloc = Allocation::make()?;
        let env =
            vec![(places::STATE_DIR.into(), state.into()), (places::RUNTIME_DIR.into(), alloc.0.join("run").into())];
        Ok(Demo { agent: Agent { program, env, ..Agent::default() }, alloc })
    }

    /// The task, with its log open.
    async fn prepared(&self, plugin: &mut Launched) -> anyhow::Result<(TaskConfig, Lines<BufReader<pipe::Receiver>>)> {
        let schema = patient("the task's schema", plugin.driver.task_schema()).await?;
        let config = config::from_hcl(&format!("code = {}\n", json!(PROGRAM)), "demo.nomad.hcl", &schema)?;
        let [stdout, stderr] =
            ["stdout", "stderr"].map(|name| self.alloc.0.join(format!("alloc/logs/.{NAME}.{name}.fifo")));
        let log = pipe::OpenOptions::new().read_write(true).open_receiver(&stdout)?;
        let env = BTreeMap::from([("NOMAD_TASK_NAME".to_owned(), NAME.to_owned())]);
        let task = TaskConfig {
            id: format!("{ALLOCATION}/{NAME}/{:08x}", std::process::id()),
            name: NAME.to_owned(),
            alloc_id: ALLOCATION.to_owned(),
            alloc_dir: self.alloc.0.to_string_lossy().into_owned(),
            driver_config: Opaque(config::to_msgpack(&config)),
            env: Env(env),
            resources: Resources { cpu_mhz: 100, memory_mb: 64, ..Resources::default() },
            stdout_path: stdout.to_string_lossy().into_owned(),
            stderr_path: stderr.to_string_lossy().into_owned(),
            ..TaskConfig::default()
        };
        Ok((task, BufReader::new(log).lines()))
    }

    /// The plugin is killed as by accident; the next one finds the task by its handle.
    async fn lost_and_found(
        &self,
        out: &mut Out,
        (mut plugin, config): (Launched, &Value),
        task: &TaskConfig,
        handle: &TaskHandle,
    ) -> anyhow::Result<Launched> {
        let before = patient("the task's state", plugin.driver.inspect(&task.id)).await?;
        let pid = i32::try_from(plugin.plugin.pid()).ok().and_then(Pid::from_raw).context("the plugin's process id")?;
        kill_process(pid, Signal::KILL)?;
        plugin.plugin.died().await;
        drop(plugin);
        out.heading("kill -9", "the plugin is dead; the task does not notice")?;

        let mut plugin = launch::started(out, &self.agent, config, "launched").await?;
        let began = Instant::now();
        patient("finding it again", plugin.driver.recover(handle)).await?;
        let took = began.elapsed();
        let after = patient("the task's state", plugin.driver.inspect(&task.id)).await?;
        let pids = (before.attributes.get("pid"), after.attributes.get("pid"));
        let (Some(before), Some(after)) = pids else { bail!("a task without a process id: {pids:?}") };
        ensure!(before == after, "process {before} became {after}");
        let size = handle.driver_state.0.len();
        out.heading(
            "recover",
            &format!("process {after} found again after {}, by a handle of {size} bytes", show::span(took)),
        )?;
        Ok(plugin)
    }
}

async fn detected(out: &mut Out, plugin: &mut Launched) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut looks = patient("the look at the node", plugin.driver.fingerprint()).await?;
    let look = patient("the look at the node", looks.next()).await?;
    let (style, text) = match &look.health {
        Health::Healthy { note } => (Style::Good, note.clone()),
        Health::Unhealthy { reason } | Health::Undetected { reason } => (Style::Bad, reason.clone()),
    };
    out.heading("fingerprint", &format!("what the node would show, after {}", show::span(began.elapsed())))?;
    out.line(&format!("  {}", out.paint(style, &text)))?;
    for (name, attribute) in &look.attributes {
        out.line(&format!("  {}", out.paint(Style::Faint, &format!("{name}={}", show::attribute_text(attribute)))))?;
    }
    Ok(matches!(look.health, Health::Healthy { .. }))
}

async fn line(log: &mut Lines<BufReader<pipe::Receiver>>) -> anyhow::Result<String> {
    match tokio::time::timeout(super::PATIENCE, log.next_line()).await {
        Ok(line) => line?.context("the task's log ended"),
        Err(_) => bail!("the task did not say anything within {}", show::span(super::PATIENCE)),
    }
}

/// An allocation's directory, as an agent lays it out; gone at the end.
struct Allocation(PathBuf);

impl Allocation {
    fn make() -> anyhow::Result<Allocation> {
        let dir = Allocation(std::env::temp_dir().join(format!("yurt-demo-alloc-{}", std::process::id())));
        for part in ["alloc/logs", "alloc/data", "alloc/tmp"] {
            fs::create_dir_all(dir.0.join(part))?;
        }
        let own = dir.0.join(NAME);
        for part in ["local", "secrets", "tmp"] {
            fs::create_dir_all(own.join(part))?;
        }
        // The task runs as nobody.
        for open in [&dir.0, &own] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755))?;
        }
        for stream in ["stdout", "stderr"] {
            let fifo = dir.0.join(format!("alloc/logs/.{NAME}.{stream}.fifo"));
            mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        }
        Ok(dir)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

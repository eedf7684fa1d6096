//! A task that was started, with the calls about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use yurt_nomad::client::{CallError, Driver, ExecSession, TaskFigures};
use yurt_nomad::driver::{ExecResult, ExitResult, TaskConfig, TaskHandle, TaskState, TaskStatus, WaitResult};

use crate::patience;

use super::{Log, PATIENCE, Site, soon, status_field, until};

/// A task that was started. Its place stays until the end of the row.
#[derive(Debug, Clone)]
pub struct Task {
    /// As it was sent.
    pub config: TaskConfig,
    /// What the driver gave back.
    pub handle: TaskHandle,
    /// Where it lives.
    pub site: Arc<Site>,
    /// The connection over which it is spoken of.
    pub driver: Driver,
}

impl Task {
    /// Nomad's id of it.
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// What it writes there.
    pub fn stdout(&self) -> &Log {
        &self.site.stdout
    }

    /// What it writes there.
    pub fn stderr(&self) -> &Log {
        &self.site.stderr
    }

    /// Waits until it says `ready`.
    pub async fn ready(&self) {
        self.stdout().says("ready").await;
    }

    /// WaitTask.
    pub async fn wait(&self) -> WaitResult {
        soon(self.driver.clone().wait(self.id())).await.expect("WaitTask")
    }

    /// WaitTask, of a task that ends in a known way.
    pub async fn exit(&self) -> ExitResult {
        let result = self.wait().await;
        assert_eq!(result.unknown, None);
        result.exit
    }

    /// StopTask.
    pub async fn stop(&self, timeout: Duration, signal: &str) -> Result<(), CallError> {
        soon(self.driver.clone().stop(self.id(), timeout, signal)).await
    }

    /// StopTask while somebody waits, as an agent always does; how long it took, and how the task ended.
    pub async fn stopped(&self, timeout: Duration, signal: &str) -> (Duration, ExitResult) {
        let (mut driver, id) = (self.driver.clone(), self.id().to_owned());
        let wait = tokio::spawn(async move { driver.wait(&id).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let began = Instant::now();
        self.stop(timeout, signal).await.expect("StopTask");
        let took = began.elapsed();
        let result = soon(wait).await.expect("no panic").expect("WaitTask");
        assert_eq!(result.unknown, None);
        (took, result.exit)
    }

    /// SignalTask.
    pub async fn signal(&self, signal: &str) -> Result<(), CallError> {
        soon(self.driver.clone().signal(self.id(), signal)).await
    }

    /// DestroyTask.
    pub async fn destroy(&self, force: bool) -> Result<(), CallError> {
        soon(self.driver.clone().destroy(self.id(), force)).await
    }

    /// InspectTask.
    pub async fn inspect(&self) -> TaskStatus {
        soon(self.driver.clone().inspect(self.id())).await.expect("InspectTask")
    }

    /// Whether the driver says that it runs.
    pub async fn runs(&self) -> bool {
        self.inspect().await.state == TaskState::Running
    }

    /// The process id that InspectTask tells.
    pub async fn pid(&self) -> u32 {
        let attributes = self.inspect().await.attributes;
        attributes.get("pid").unwrap_or_else(|| panic!("no pid in {attributes:?}")).parse().expect("a number")
    }

    /// ExecTask without a limit.
    pub async fn exec(&self, command: &[&str]) -> ExecResult {
        soon(self.driver.clone().exec(self.id(), command, patience(PATIENCE))).await.expect("ExecTask")
    }

    /// ExecTask of a shell text that succeeds; what it printed, without spaces at the ends.
    pub async fn sh(&self, text: &str) -> String {
        let result = self.exec(&["/bin/sh", "-c", text]).await;
        let (out, err) = (String::from_utf8_lossy(&result.stdout), String::from_utf8_lossy(&result.stderr));
        assert_eq!(result.exit, ExitResult::code(0), "{text}: {out} {err}");
        out.trim().to_owned()
    }

    /// ExecTaskStreaming.
    pub async fn stream(&self, command: &[&str], tty: bool) -> ExecSession {
        soon(self.driver.clone().exec_stream(self.id(), command, tty)).await.expect("ExecTaskStreaming")
    }

    /// TaskStats.
    pub async fn stats(&self, interval: Duration) -> TaskFigures {
        soon(self.driver.clone().stats(self.id(), interval)).await.expect("TaskStats")
    }

    /// All that is in the task's control group, by the host's process ids.
    pub fn processes(&self) -> Vec<u32> {
        self.site.cgroups.processes()
    }

    /// What holds the task and is not part of it: the parent of the outermost process in its control group.
    pub fn supervisor(&self) -> u32 {
        self.site.cgroups.supervisor().expect("a parent")
    }

    /// Waits for a process of this name in the task's control group.
    pub async fn process(&self, name: &str) -> u32 {
        until(&format!("a process called {name}"), || self.process_called(name).is_some()).await;
        self.process_called(name).unwrap_or_else(|| panic!("{name} has ended"))
    }

    /// The process of this name in the task's control group, if there is one.
    pub fn process_called(&self, name: &str) -> Option<u32> {
        self.processes().into_iter().find(|pid| status_field(*pid, "Name").as_deref() == Some(name))
    }
}

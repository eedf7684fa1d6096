//! For tests of the streams: a driver that answers what it is given.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};

use super::{
    AgentConfig, Capabilities, Exec, ExecInput, ExecOutput, ExecResult, ExitResult, Fingerprint, Info, PluginError,
    StartError, Started, TaskConfig, TaskDriver, TaskEvent, TaskHandle, TaskStats, TaskStatus, WaitResult,
};
use crate::schema::Spec;

type Source = Option<watch::Receiver<Option<Arc<Fingerprint>>>>;

/// Answers in order; `None` panics, and so does an empty list. Knows no task.
#[derive(Default)]
pub(super) struct Stub {
    pub(super) sources: Mutex<VecDeque<Source>>,
    pub(super) events: Mutex<VecDeque<Option<broadcast::Receiver<TaskEvent>>>>,
    pub(super) stats: Mutex<VecDeque<Result<Option<TaskStats>, PluginError>>>,
}

pub(super) fn event(message: &str) -> TaskEvent {
    TaskEvent {
        task_id: "a/t/1".to_owned(),
        alloc_id: "a".to_owned(),
        task_name: "t".to_owned(),
        at: SystemTime::now(),
        message: message.to_owned(),
        annotations: [].into(),
    }
}

fn unknown<T>() -> Result<T, PluginError> {
    Err(PluginError::not_found("no such task"))
}

#[tonic::async_trait]
impl TaskDriver for Stub {
    fn info(&self) -> Info {
        Info { name: "stub".to_owned(), version: "0".to_owned() }
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        Ok(None)
    }

    async fn set_config(&self, _: &[u8], _: Option<AgentConfig>) -> Result<(), PluginError> {
        Ok(())
    }

    async fn task_schema(&self) -> Result<Spec, PluginError> {
        Ok(Spec::empty())
    }

    async fn capabilities(&self) -> Result<Capabilities, PluginError> {
        Ok(Capabilities::default())
    }

    fn fingerprint(&self) -> watch::Receiver<Option<Arc<Fingerprint>>> {
        let next = self.sources.lock().unwrap().pop_front().flatten();
        next.expect("a source")
    }

    fn events(&self) -> broadcast::Receiver<TaskEvent> {
        let next = self.events.lock().unwrap().pop_front().flatten();
        next.expect("a source")
    }

    async fn start(&self, _: TaskConfig, _: Value) -> Result<Started, StartError> {
        Ok(unknown()?)
    }

    async fn recover(&self, _: TaskHandle) -> Result<(), PluginError> {
        unknown()
    }

    async fn wait(&self, _: &str) -> Result<WaitResult, PluginError> {
        unknown()
    }

    async fn stop(&self, _: &str, _: Duration, _: Option<&str>) -> Result<(), PluginError> {
        unknown()
    }

    async fn destroy(&self, _: &str, _: bool) -> Result<(), PluginError> {
        unknown()
    }

    async fn inspect(&self, _: &str) -> Result<TaskStatus, PluginError> {
        unknown()
    }

    async fn stats(&self, _: &str) -> Result<Option<TaskStats>, PluginError> {
        let next = self.stats.lock().unwrap().pop_front();
        next.unwrap_or_else(unknown)
    }

    async fn signal(&self, _: &str, _: &str) -> Result<(), PluginError> {
        unknown()
    }

    async fn exec(&self, _: &str, _: Vec<String>, _: Option<Duration>) -> Result<ExecResult, PluginError> {
        unknown()
    }

    async fn exec_stream(
        &self,
        _: Exec,
        _: mpsc::Receiver<ExecInput>,
        _: ExecOutput,
    ) -> Result<ExitResult, PluginError> {
        unknown()
    }
}

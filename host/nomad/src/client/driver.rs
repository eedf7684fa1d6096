//! The calls that a task driver answers.

use std::time::Duration;

use tonic::transport::Channel;

use super::answers::Answers;
use super::exec::ExecSession;
use super::{CallError, MESSAGE_MAX, refused};
use crate::driver::{
    Capabilities, CreatedNetwork, ExecResult, Fingerprint, NetworkIsolation, NetworkOverride, TaskConfig, TaskEvent,
    TaskHandle, TaskStats, TaskStatus, WaitResult, wire,
};
use crate::proto::driver as proto;
use crate::proto::driver::driver_client::DriverClient;
use crate::schema::Spec;
use crate::time::span;

/// The calls that a task driver answers. Clones share the connection, over which any number of calls can wait at once.
#[derive(Debug, Clone)]
pub struct Driver {
    pub(super) client: DriverClient<Channel>,
}

impl Driver {
    /// Over a connection to a plugin.
    pub fn new(channel: Channel) -> Driver {
        let client =
            DriverClient::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX);
        Driver { client }
    }

    /// As agents do after every start, since Nomad 2.0.4.
    pub async fn init(&mut self) -> Result<(), CallError> {
        self.client.init(proto::InitRequest {}).await.map_err(refused("Init"))?;
        Ok(())
    }

    /// As agents do before the end, since Nomad 2.0.4.
    pub async fn shutdown(&mut self) -> Result<(), CallError> {
        self.client.shutdown(proto::ShutdownRequest {}).await.map_err(refused("Shutdown"))?;
        Ok(())
    }

    /// What a job's `config` block may hold.
    pub async fn task_schema(&mut self) -> Result<Spec, CallError> {
        let call = "TaskConfigSchema";
        let request = proto::TaskConfigSchemaRequest {};
        let answer = self.client.task_config_schema(request).await.map_err(refused(call))?.into_inner();
        Ok(Spec::from_proto(&answer.spec.ok_or(CallError::Lacking { call, missing: "spec" })?)?)
    }

    /// What the driver can do.
    pub async fn capabilities(&mut self) -> Result<Capabilities, CallError> {
        let call = "Capabilities";
        let request = proto::CapabilitiesRequest {};
        let answer = self.client.capabilities(request).await.map_err(refused(call))?.into_inner();
        let capabilities = answer.capabilities.ok_or(CallError::Lacking { call, missing: "capabilities" })?;
        Ok(wire::capabilities_from(&capabilities))
    }

    /// Opens a stream of looks at the node.
    pub async fn fingerprint(&mut self) -> Result<Fingerprints, CallError> {
        let request = proto::FingerprintRequest {};
        let mut client = self.client.clone();
        Ok(Fingerprints { stream: Answers::of(async move { client.fingerprint(request).await }) })
    }

    /// Opens a stream of all tasks' events.
    pub async fn events(&mut self) -> Result<Events, CallError> {
        let request = proto::TaskEventsRequest {};
        let mut client = self.client.clone();
        Ok(Events { stream: Answers::of(async move { client.task_events(request).await }) })
    }

    /// Starts a task.
    pub async fn start(&mut self, task: &TaskConfig) -> Result<(TaskHandle, Option<NetworkOverride>), CallError> {
        let call = "StartTask";
        let request = proto::StartTaskRequest { task: Some(wire::task(task)) };
        let answer = self.client.start_task(request).await.map_err(refused(call))?.into_inner();
        let handle = answer.handle.ok_or(CallError::Lacking { call, missing: "handle" })?;
        let handle = wire::handle_from(handle).ok_or(CallError::Lacking { call, missing: "handle.config" })?;
        Ok((handle, answer.network_override.map(wire::network_override_from)))
    }

    /// Has a task found again.
    pub async fn recover(&mut self, handle: &TaskHandle) -> Result<(), CallError> {
        // The id is in the handle: agents leave this field empty.
        let request = proto::RecoverTaskRequest { task_id: String::new(), handle: Some(wire::handle(handle)) };
        self.client.recover_task(request).await.map_err(refused("RecoverTask"))?;
        Ok(())
    }

    /// Waits for the end of a task.
    pub async fn wait(&mut self, id: &str) -> Result<WaitResult, CallError> {
        let call = "WaitTask";
        let request = proto::WaitTaskRequest { task_id: id.to_owned() };
        let answer = self.client.wait_task(request).await.map_err(refused(call))?.into_inner();
        wire::wait_result_from(answer).ok_or(CallError::Lacking { call, missing: "result" })
    }

    /// Stops a task. `signal` empty: the driver's own choice.
    pub async fn stop(&mut self, id: &str, timeout: Duration, signal: &str) -> Result<(), CallError> {
        let (task_id, signal) = (id.to_owned(), signal.to_owned());
        let request = proto::StopTaskRequest { task_id, timeout: span(timeout), signal };
        self.client.stop_task(request).await.map_err(refused("StopTask"))?;
        Ok(())
    }

    /// Has a task forgotten; agents always use force.
    pub async fn destroy(&mut self, id: &str, force: bool) -> Result<(), CallError> {
        let request = proto::DestroyTaskRequest { task_id: id.to_owned(), force };
        self.client.destroy_task(request).await.map_err(refused("DestroyTask"))?;
        Ok(())
    }

    /// What is known of a task.
    pub async fn inspect(&mut self, id: &str) -> Result<TaskStatus, CallError> {
        let call = "InspectTask";
        let request = proto::InspectTaskRequest { task_id: id.to_owned() };
        let answer = self.client.inspect_task(request).await.map_err(refused(call))?.into_inner();
        wire::status_from(answer).map_err(|missing| CallError::Lacking { call, missing })
    }

    /// Opens a stream of a task's figures.
    pub async fn stats(&mut self, id: &str, interval: Duration) -> Result<TaskFigures, CallError> {
        let request = proto::TaskStatsRequest { task_id: id.to_owned(), collection_interval: span(interval) };
        let mut client = self.client.clone();
        Ok(TaskFigures { stream: Answers::of(async move { client.task_stats(request).await }) })
    }

    /// Sends a signal to a task.
    pub async fn signal(&mut self, id: &str, signal: &str) -> Result<(), CallError> {
        let request = proto::SignalTaskRequest { task_id: id.to_owned(), signal: signal.to_owned() };
        self.client.signal_task(request).await.map_err(refused("SignalTask"))?;
        Ok(())
    }

    /// Runs a command in a task to its end. `timeout` zero: as long as it takes.
    pub async fn exec(&mut self, id: &str, command: &[&str], timeout: Duration) -> Result<ExecResult, CallError> {
        let call = "ExecTask";
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let request = proto::ExecTaskRequest { task_id: id.to_owned(), command, timeout: span(timeout) };
        let answer = self.client.exec_task(request).await.map_err(refused(call))?.into_inner();
        let exit = wire::exit_from(answer.result.ok_or(CallError::Lacking { call, missing: "result" })?);
        Ok(ExecResult { stdout: answer.stdout, stderr: answer.stderr, exit })
    }

    /// Runs a command in a task with its streams. Dropping the session ends the command.
    pub async fn exec_stream(&mut self, id: &str, command: &[&str], tty: bool) -> Result<ExecSession, CallError> {
        Ok(ExecSession::open(self.client.clone(), id, command, tty))
    }

    /// Has an allocation's network made.
    pub async fn create_network(&mut self, alloc_id: &str, hostname: &str) -> Result<CreatedNetwork, CallError> {
        let call = "CreateNetwork";
        let request = proto::CreateNetworkRequest { alloc_id: alloc_id.to_owned(), hostname: hostname.to_owned() };
        let answer = self.client.create_network(request).await.map_err(refused(call))?.into_inner();
        let network = answer.isolation_spec.ok_or(CallError::Lacking { call, missing: "isolation_spec" })?;
        Ok(CreatedNetwork { network: wire::network_from(network), created: answer.created })
    }

    /// Has it ended.
    pub async fn destroy_network(&mut self, alloc_id: &str, network: &NetworkIsolation) -> Result<(), CallError> {
        let isolation_spec = Some(wire::network(network));
        let request = proto::DestroyNetworkRequest { alloc_id: alloc_id.to_owned(), isolation_spec };
        self.client.destroy_network(request).await.map_err(refused("DestroyNetwork"))?;
        Ok(())
    }
}

/// A stream of looks at the node.
#[derive(Debug)]
pub struct Fingerprints {
    stream: Answers<proto::FingerprintResponse>,
}

impl Fingerprints {
    /// Waits for the next.
    pub async fn next(&mut self) -> Result<Fingerprint, CallError> {
        let message = self.stream.message().await.map_err(refused("Fingerprint"))?;
        message.map(wire::fingerprint_from).ok_or(CallError::AskedAgain("Fingerprint"))
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    stream: Answers<proto::DriverTaskEvent>,
}

impl Events {
    /// Waits for the next.
    pub async fn next(&mut self) -> Result<TaskEvent, CallError> {
        let call = "TaskEvents";
        let message = self.stream.message().await.map_err(refused(call))?.ok_or(CallError::AskedAgain(call))?;
        wire::event_from(message).ok_or(CallError::Lacking { call, missing: "timestamp" })
    }
}

/// A stream of a task's figures.
#[derive(Debug)]
pub struct TaskFigures {
    stream: Answers<proto::TaskStatsResponse>,
}

impl TaskFigures {
    /// Waits for the next beat; `None`: the task has ended.
    pub async fn next(&mut self) -> Result<Option<TaskStats>, CallError> {
        let call = "TaskStats";
        let message = self.stream.message().await.map_err(refused(call))?;
        let stats = message.map(wire::stats_from).transpose();
        stats.map_err(|missing| CallError::Lacking { call, missing })
    }
}

//! The gRPC side of a driver: the calls with one answer here and in `start.rs`, the streams in files of their own.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::{AgentConfig, ErrorKind, Info, PluginError, TaskDriver, events, exec, fingerprint, start, stats, wire};
use crate::base::{AnyPlugin, MESSAGE_MAX, server};
use crate::caught::{CALL_MAX, caught, caught_at_last, caught_within, to_its_end};
use crate::proto::base::PluginType;
use crate::proto::driver as proto;
use crate::proto::driver::driver_server::{Driver as DriverService, DriverServer};
use crate::schema::Spec;
use crate::text::cleaned;
use crate::time::{from_span, interval};

pub(super) const DESTROY: &str = "DestroyTask";

/// Serves a task driver: `BasePlugin` and `Driver`, to stand beside go-plugin's own services.
///
/// Must be called within a tokio runtime that has timers.
pub fn routes(driver: Arc<dyn TaskDriver>) -> Routes {
    let base = server(Arc::clone(&driver));
    let driver = DriverServer::new(Driver { driver })
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    Routes::new(base).add_service(driver)
}

#[tonic::async_trait]
impl AnyPlugin for dyn TaskDriver {
    const KIND: PluginType = PluginType::Driver;

    fn info(&self) -> Info {
        TaskDriver::info(self)
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        TaskDriver::schema(self).await
    }

    async fn set_config(&self, msgpack: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError> {
        TaskDriver::set_config(self, msgpack, agent).await
    }
}

pub(super) struct Driver {
    pub(super) driver: Arc<dyn TaskDriver>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DriverService for Driver {
    type FingerprintStream = Answers<proto::FingerprintResponse>;
    type TaskStatsStream = Answers<proto::TaskStatsResponse>;
    type TaskEventsStream = Answers<proto::DriverTaskEvent>;
    type ExecTaskStreamingStream = Answers<proto::ExecTaskStreamingResponse>;

    async fn init(&self, _request: Request<proto::InitRequest>) -> Result<Response<proto::InitResponse>, Status> {
        let driver = Arc::clone(&self.driver);
        changed("Init", CALL_MAX, async move { driver.init().await }).await?;
        Ok(Response::new(proto::InitResponse {}))
    }

    async fn task_config_schema(
        &self,
        _request: Request<proto::TaskConfigSchemaRequest>,
    ) -> Result<Response<proto::TaskConfigSchemaResponse>, Status> {
        let spec = caught("TaskConfigSchema", self.driver.task_schema()).await?;
        Ok(Response::new(proto::TaskConfigSchemaResponse { spec: Some(spec.to_proto()) }))
    }

    async fn capabilities(
        &self,
        _request: Request<proto::CapabilitiesRequest>,
    ) -> Result<Response<proto::CapabilitiesResponse>, Status> {
        let capabilities = caught("Capabilities", self.driver.capabilities()).await?;
        Ok(Response::new(proto::CapabilitiesResponse { capabilities: Some(wire::capabilities(&capabilities)) }))
    }

    async fn fingerprint(
        &self,
        _request: Request<proto::FingerprintRequest>,
    ) -> Result<Response<Self::FingerprintStream>, Status> {
        let answers = fingerprint::start(Arc::clone(&self.driver));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn recover_task(
        &self,
        request: Request<proto::RecoverTaskRequest>,
    ) -> Result<Response<proto::RecoverTaskResponse>, Status> {
        let request = request.into_inner();
        let handle = request.handle.and_then(wire::handle_from);
        let mut handle = handle.ok_or_else(|| {
            PluginError::invalid_argument("RecoverTask: the handle has no task: it cannot be told which one it is of")
        })?;
        if handle.config.id.is_empty() {
            handle.config.id = request.task_id;
        }
        let id = required_id("RecoverTask", &handle.config.id)?.to_owned();
        let driver = Arc::clone(&self.driver);
        let done = changed("RecoverTask", CALL_MAX, async move { driver.recover(handle).await }).await;
        done.inspect_err(|why| tracing::warn!(task = id_in_log(&id), "the task could not be found again: {why}"))?;
        Ok(Response::new(proto::RecoverTaskResponse {}))
    }

    async fn start_task(
        &self,
        request: Request<proto::StartTaskRequest>,
    ) -> Result<Response<proto::StartTaskResponse>, Status> {
        let request = request.into_inner();
        let id = request.task.as_ref().map(|task| id_in_log(&task.id)).unwrap_or_default();
        match start::start(&self.driver, request).await {
            Ok(response) => Ok(Response::new(response)),
            Err(why) => {
                tracing::warn!(task = id, recoverable = why.recoverable, "the task was not started: {why}");
                Err(why.into())
            }
        }
    }

    async fn wait_task(
        &self,
        request: Request<proto::WaitTaskRequest>,
    ) -> Result<Response<proto::WaitTaskResponse>, Status> {
        let id = request.into_inner().task_id;
        let result = caught_at_last("WaitTask", self.driver.wait(&id)).await;
        let result = result.inspect_err(|why| tracing::warn!(task = id_in_log(&id), "the task is lost: {why}"))?;
        Ok(Response::new(wire::wait_result(result)))
    }

    async fn stop_task(
        &self,
        request: Request<proto::StopTaskRequest>,
    ) -> Result<Response<proto::StopTaskResponse>, Status> {
        let request = request.into_inner();
        let timeout = from_span(request.timeout).unwrap_or_default();
        let signal = Some(request.signal).filter(|signal| !signal.is_empty());
        let (driver, id) = (Arc::clone(&self.driver), request.task_id.clone());
        let stopped = changed("StopTask", timeout.saturating_add(CALL_MAX), async move {
            driver.stop(&id, timeout, signal.as_deref()).await
        });
        let done = stopped.await.or_else(known_or_gone);
        done.inspect_err(|why| tracing::warn!(task = id_in_log(&request.task_id), "the task was not stopped: {why}"))?;
        Ok(Response::new(proto::StopTaskResponse {}))
    }

    async fn destroy_task(
        &self,
        request: Request<proto::DestroyTaskRequest>,
    ) -> Result<Response<proto::DestroyTaskResponse>, Status> {
        let request = request.into_inner();
        let id = id_in_log(&request.task_id);
        let done = destroyed(Arc::clone(&self.driver), request.task_id, request.force).await;
        done.inspect_err(|why| tracing::warn!(task = id, "the task was not destroyed: {why}"))?;
        Ok(Response::new(proto::DestroyTaskResponse {}))
    }

    async fn inspect_task(
        &self,
        request: Request<proto::InspectTaskRequest>,
    ) -> Result<Response<proto::InspectTaskResponse>, Status> {
        let id = request.into_inner().task_id;
        let status = caught("InspectTask", self.driver.inspect(&id)).await?;
        Ok(Response::new(wire::status(status)))
    }

    async fn task_stats(
        &self,
        request: Request<proto::TaskStatsRequest>,
    ) -> Result<Response<Self::TaskStatsStream>, Status> {
        let request = request.into_inner();
        let interval = interval(from_span(request.collection_interval));
        let answers = stats::start(Arc::clone(&self.driver), request.task_id, interval);
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn task_events(
        &self,
        _request: Request<proto::TaskEventsRequest>,
    ) -> Result<Response<Self::TaskEventsStream>, Status> {
        let answers = events::start(Arc::clone(&self.driver));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn signal_task(
        &self,
        request: Request<proto::SignalTaskRequest>,
    ) -> Result<Response<proto::SignalTaskResponse>, Status> {
        let request = request.into_inner();
        let driver = Arc::clone(&self.driver);
        changed("SignalTask", CALL_MAX, async move { driver.signal(&request.task_id, &request.signal).await }).await?;
        Ok(Response::new(proto::SignalTaskResponse {}))
    }

    async fn exec_task(
        &self,
        request: Request<proto::ExecTaskRequest>,
    ) -> Result<Response<proto::ExecTaskResponse>, Status> {
        let request = request.into_inner();
        exec::check("ExecTask", &request.command)?;
        let timeout = from_span(request.timeout).filter(|timeout| !timeout.is_zero());
        let running = self.driver.exec(&request.task_id, request.command, timeout);
        let result = match timeout {
            Some(timeout) => caught_within(timeout.saturating_add(CALL_MAX), "ExecTask", running).await?,
            None => caught_at_last("ExecTask", running).await?,
        };
        Ok(Response::new(proto::ExecTaskResponse {
            stdout: result.stdout,
            stderr: result.stderr,
            result: Some(wire::exit(result.exit)),
        }))
    }

    async fn exec_task_streaming(
        &self,
        request: Request<Streaming<proto::ExecTaskStreamingRequest>>,
    ) -> Result<Response<Self::ExecTaskStreamingStream>, Status> {
        let answers = exec::start(Arc::clone(&self.driver), request.into_inner());
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn create_network(
        &self,
        request: Request<proto::CreateNetworkRequest>,
    ) -> Result<Response<proto::CreateNetworkResponse>, Status> {
        let request = request.into_inner();
        let driver = Arc::clone(&self.driver);
        let made = changed("CreateNetwork", CALL_MAX, async move {
            driver.create_network(&request.alloc_id, &request.hostname).await
        });
        let made = made.await?;
        Ok(Response::new(proto::CreateNetworkResponse {
            isolation_spec: Some(wire::network(&made.network)),
            created: made.created,
        }))
    }

    async fn destroy_network(
        &self,
        request: Request<proto::DestroyNetworkRequest>,
    ) -> Result<Response<proto::DestroyNetworkResponse>, Status> {
        let request = request.into_inner();
        let network = request.isolation_spec.map(wire::network_from);
        let driver = Arc::clone(&self.driver);
        changed("DestroyNetwork", CALL_MAX, async move { driver.destroy_network(&request.alloc_id, network).await })
            .await?;
        Ok(Response::new(proto::DestroyNetworkResponse {}))
    }

    async fn shutdown(
        &self,
        _request: Request<proto::ShutdownRequest>,
    ) -> Result<Response<proto::ShutdownResponse>, Status> {
        let driver = Arc::clone(&self.driver);
        changed("Shutdown", CALL_MAX, async move { driver.shutdown().await }).await?;
        Ok(Response::new(proto::ShutdownResponse {}))
    }
}

/// A call that changes something, within `max`. When its caller goes away it is not cut, and a failure is logged.
async fn changed<T: Send + 'static>(
    call: &'static str,
    max: Duration,
    future: impl Future<Output = Result<T, PluginError>> + Send + 'static,
) -> Result<T, PluginError> {
    to_its_end(call, caught_within(max, call, future), move |result| async move {
        if let Err(why) = result {
            tracing::warn!("{call} failed after its caller had gone away: {why}");
        }
    })
    .await
}

pub(super) async fn destroyed(driver: Arc<dyn TaskDriver>, id: String, force: bool) -> Result<(), PluginError> {
    changed(DESTROY, CALL_MAX, async move { driver.destroy(&id, force).await }).await.or_else(known_or_gone)
}

/// Over the wire an agent cannot tell an unknown task from a failure, and would try again for minutes: what is not there needs no end.
fn known_or_gone(why: PluginError) -> Result<(), PluginError> {
    if why.kind == ErrorKind::NotFound { Ok(()) } else { Err(why) }
}

pub(super) fn required_id<'a>(call: &str, id: &'a str) -> Result<&'a str, PluginError> {
    if id.is_empty() { Err(PluginError::invalid_argument(format!("{call}: the task has no id"))) } else { Ok(id) }
}

pub(super) fn id_in_log(id: &str) -> String {
    cleaned(id, 400)
}

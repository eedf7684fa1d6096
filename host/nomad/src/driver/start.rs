//! StartTask: the job's `config` by the driver's own schema, the start, and a handle that never lacks what the agent relies on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::service::{DESTROY, destroyed, id_in_log, required_id};
use super::{NetworkMode, PluginError, StartError, Started, TaskConfig, TaskDriver, wire};
use crate::caught::{caught, caught_now, caught_within, to_its_end};
use crate::config::from_msgpack;
use crate::proto::driver as proto;
use crate::proto::driver::start_task_response::Result as StartResult;

const START: &str = "StartTask";
/// Longest that a start may take: a driver may have to fetch and prepare a lot.
const START_MAX: Duration = Duration::from_secs(600);

pub(super) async fn start(
    driver: &Arc<dyn TaskDriver>,
    request: proto::StartTaskRequest,
) -> Result<proto::StartTaskResponse, StartError> {
    let wanted = request.task.ok_or_else(|| PluginError::invalid_argument("StartTask: the request has no task"))?;
    required_id(START, &wanted.id)?;
    let config = config(&**driver, &wanted.msgpack_driver_config).await?;
    let task = wire::task_from(wanted.clone());
    if let Some(NetworkMode::Other(mode)) = task.network.as_ref().map(|network| network.mode) {
        let why = format!("the network isolation mode {mode} is not known to this plugin: it needs a newer one");
        return Err(PluginError::failed_precondition(why).into());
    }
    let started = started(Arc::clone(driver), task, config).await?;
    Ok(proto::StartTaskResponse {
        result: StartResult::Success.into(),
        driver_error_msg: String::new(),
        handle: Some(proto::TaskHandle {
            version: started.version,
            config: Some(wanted),
            state: proto::TaskState::Running.into(),
            driver_state: started.driver_state.0,
        }),
        network_override: started.network.map(wire::network_override),
    })
}

async fn config(driver: &dyn TaskDriver, msgpack: &[u8]) -> Result<Value, PluginError> {
    let schema = caught("TaskConfigSchema", driver.task_schema()).await?;
    from_msgpack(msgpack, &schema).map_err(|why| PluginError::invalid_argument(format!("the task's config: {why}")))
}

/// A task whose starter went away has no handle, so that nobody could ever find it again: it is ended.
async fn started(driver: Arc<dyn TaskDriver>, task: TaskConfig, config: Value) -> Result<Started, StartError> {
    let (id, ending) = (task.id.clone(), Arc::clone(&driver));
    let mut caller = Caller { driver: Arc::clone(&driver), id: task.id.clone(), answered: false };
    let begun = async move { caught_within(START_MAX, START, driver.start(task, config)).await };
    let started = to_its_end(START, begun, move |result| async move {
        if result.is_err() {
            return;
        }
        let task = id_in_log(&id);
        tracing::warn!(task, "a task was started for an agent that is gone: it is destroyed, since it has no handle");
        if let Err(why) = destroyed(ending, id.clone(), true).await {
            tracing::error!(task, "{DESTROY} failed, the task may still run: {why}");
        }
    })
    .await;
    caller.answered = true;
    started
}

/// Whoever waits for a start. Dropped before it is answered, it has gone away.
struct Caller {
    driver: Arc<dyn TaskDriver>,
    id: String,
    answered: bool,
}

impl Drop for Caller {
    fn drop(&mut self) {
        if !self.answered
            && let Err(why) = caught_now(START, || self.driver.given_up(&self.id))
        {
            tracing::error!(task = id_in_log(&self.id), "{why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::service::Driver;
    use crate::driver::stub::Stub;
    use crate::driver::{Env, Opaque};
    use crate::proto::driver::driver_server::Driver as _;
    use crate::testlog::Log;

    #[tokio::test]
    async fn no_value_of_the_environment_reaches_the_log() {
        let (log, _guard) = Log::listen();
        let driver: Arc<dyn TaskDriver> = Arc::new(Stub::default());
        let env = Env([("TOKEN".to_owned(), "s3cret".to_owned())].into());
        let task =
            TaskConfig { id: "a/t/1".to_owned(), env, driver_config: Opaque(vec![0x80]), ..TaskConfig::default() };
        let request = proto::StartTaskRequest { task: Some(wire::task(&task)) };
        let service = Driver { driver };
        let why = service.start_task(tonic::Request::new(request)).await.unwrap_err();
        assert_eq!(why.message(), "no such task");
        assert_eq!((log.with("the task was not started: no such task"), log.with("s3cret")), (1, 0));
    }
}

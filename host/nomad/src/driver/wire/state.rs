//! What became of a task.

use crate::driver::{ExitResult, NetworkOverride, TaskState, TaskStatus, WaitResult};
use crate::proto::driver as proto;
use crate::text::cleaned;
use crate::time::{from_timestamp, timestamp_or_never};

/// Longest reason for not knowing how a task ended, in characters.
const REASON_MAX: usize = 2048;

pub(crate) fn exit(from: ExitResult) -> proto::ExitResult {
    proto::ExitResult { exit_code: from.code, signal: from.signal, oom_killed: from.oom_killed }
}

pub(crate) fn exit_from(from: proto::ExitResult) -> ExitResult {
    ExitResult { code: from.exit_code, signal: from.signal, oom_killed: from.oom_killed }
}

/// The result is always there: older agents panic without.
pub(crate) fn wait_result(from: WaitResult) -> proto::WaitTaskResponse {
    proto::WaitTaskResponse {
        result: Some(exit(from.exit)),
        err: from.unknown.map(|why| cleaned(&why, REASON_MAX)).unwrap_or_default(),
    }
}

/// `None`: an older agent would have panicked.
pub(crate) fn wait_result_from(from: proto::WaitTaskResponse) -> Option<WaitResult> {
    Some(WaitResult { exit: exit_from(from.result?), unknown: Some(from.err).filter(|why| !why.is_empty()) })
}

pub(super) fn state(from: TaskState) -> proto::TaskState {
    match from {
        TaskState::Unknown => proto::TaskState::Unknown,
        TaskState::Running => proto::TaskState::Running,
        TaskState::Exited => proto::TaskState::Exited,
    }
}

pub(super) fn state_from(from: proto::TaskState) -> TaskState {
    match from {
        proto::TaskState::Unknown => TaskState::Unknown,
        proto::TaskState::Running => TaskState::Running,
        proto::TaskState::Exited => TaskState::Exited,
    }
}

/// Both times and the result are always there: without them there is an error, or a panic, where it is read.
pub(crate) fn status(from: TaskStatus) -> proto::InspectTaskResponse {
    proto::InspectTaskResponse {
        task: Some(proto::TaskStatus {
            id: from.id,
            name: from.name,
            state: state(from.state).into(),
            started_at: Some(timestamp_or_never(from.started_at)),
            completed_at: Some(timestamp_or_never(from.completed_at)),
            result: Some(exit(from.exit.unwrap_or_default())),
        }),
        driver: Some(proto::TaskDriverStatus { attributes: from.attributes }),
        network_override: from.network.map(network_override),
    }
}

/// `Err`: what a reader would have missed.
pub(crate) fn status_from(from: proto::InspectTaskResponse) -> Result<TaskStatus, &'static str> {
    let task = from.task.ok_or("task")?;
    let state = state_from(task.state());
    let exit = exit_from(task.result.ok_or("result")?);
    Ok(TaskStatus {
        id: task.id,
        name: task.name,
        state,
        started_at: from_timestamp(&task.started_at.ok_or("started_at")?),
        completed_at: from_timestamp(&task.completed_at.ok_or("completed_at")?),
        exit: (state == TaskState::Exited).then_some(exit),
        attributes: from.driver.unwrap_or_default().attributes,
        network: from.network_override.map(network_override_from),
    })
}

pub(crate) fn network_override(from: NetworkOverride) -> proto::NetworkOverride {
    proto::NetworkOverride { port_map: from.ports, addr: from.address, auto_advertise: from.advertise }
}

pub(crate) fn network_override_from(from: proto::NetworkOverride) -> NetworkOverride {
    NetworkOverride { ports: from.port_map, address: from.addr, advertise: from.auto_advertise }
}

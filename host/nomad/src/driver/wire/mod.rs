//! Domain types ⇄ messages: plain functions, both ways, so that what is always set is set in one place.

#[cfg(test)]
mod round_trips;
mod state;
mod task;
mod usage;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use state::{
    exit, exit_from, network_override, network_override_from, status, status_from, wait_result, wait_result_from,
};
pub(crate) use task::{handle, handle_from, network, network_from, task, task_from};
pub(crate) use usage::{stats, stats_from};

use super::{Capabilities, Fingerprint, FsIsolation, Health, NetworkMode, TaskEvent};
use crate::attribute::{Attribute, Value};
use crate::device::wire::{attribute, attribute_from};
use crate::proto::driver as proto;
use crate::proto::driver::driver_capabilities::{FsIsolation as WireIsolation, MountConfigs};
use crate::proto::driver::fingerprint_response::HealthState;
use crate::text::cleaned;
use crate::time::{from_timestamp, timestamp};

/// Longest health text, event and annotation, in characters.
const TEXT_MAX: usize = 512;

pub(crate) fn capabilities(from: &Capabilities) -> proto::DriverCapabilities {
    let isolation = match from.isolation {
        FsIsolation::None => WireIsolation::None,
        FsIsolation::Chroot => WireIsolation::Chroot,
        FsIsolation::Image => WireIsolation::Image,
        FsIsolation::Unveil => WireIsolation::Unveil,
    };
    let mounts = if from.mounts { MountConfigs::UnknownMounts } else { MountConfigs::NoMounts };
    proto::DriverCapabilities {
        send_signals: from.signals,
        exec: from.exec,
        fs_isolation: isolation.into(),
        network_isolation_modes: from.networks.iter().map(|mode| task::mode(*mode)).collect(),
        must_create_network: from.makes_network,
        mount_configs: mounts.into(),
        disable_log_collection: from.collects_logs,
        dynamic_workload_users: from.dynamic_users,
    }
}

/// A peer's; what came later than this code is no isolation, and no mounts.
pub(crate) fn capabilities_from(from: &proto::DriverCapabilities) -> Capabilities {
    let isolation = match from.fs_isolation() {
        WireIsolation::None => FsIsolation::None,
        WireIsolation::Chroot => FsIsolation::Chroot,
        WireIsolation::Image => FsIsolation::Image,
        WireIsolation::Unveil => FsIsolation::Unveil,
    };
    Capabilities {
        signals: from.send_signals,
        exec: from.exec,
        isolation,
        networks: from.network_isolation_modes.iter().map(|mode| task::mode_from(*mode)).collect::<Vec<NetworkMode>>(),
        makes_network: from.must_create_network,
        mounts: from.mount_configs == i32::from(MountConfigs::UnknownMounts),
        collects_logs: from.disable_log_collection,
        dynamic_users: from.dynamic_workload_users,
    }
}

/// `gone`: attributes of before, which the agent takes from the node where their text is empty.
pub(crate) fn fingerprint(from: &Fingerprint, gone: &BTreeSet<String>) -> proto::FingerprintResponse {
    let (health, text) = match &from.health {
        Health::Undetected { reason } => (HealthState::Undetected, reason),
        Health::Unhealthy { reason } => (HealthState::Unhealthy, reason),
        Health::Healthy { note } => (HealthState::Healthy, note),
    };
    let empty = Attribute::text("");
    let now = from.attributes.iter().map(|(name, value)| (name.clone(), attribute(value)));
    proto::FingerprintResponse {
        attributes: gone.iter().map(|name| (name.clone(), attribute(&empty))).chain(now).collect(),
        health: health.into(),
        health_description: cleaned(text, TEXT_MAX),
        // What is wrong is in the health: this would hide its text.
        err: String::new(),
    }
}

/// A peer's, without attributes that are empty; an error is bad health, as for an agent.
pub(crate) fn fingerprint_from(from: proto::FingerprintResponse) -> Fingerprint {
    let text = from.health_description.clone();
    let health = match from.health() {
        _ if !from.err.is_empty() => Health::Unhealthy { reason: from.err },
        HealthState::Undetected => Health::Undetected { reason: text },
        HealthState::Unhealthy => Health::Unhealthy { reason: text },
        HealthState::Healthy => Health::Healthy { note: text },
    };
    let attributes = from.attributes.into_iter().filter_map(|(name, value)| Some((name, attribute_from(value)?)));
    let attributes = attributes.filter(|(_, attribute)| attribute.value != Value::Text(String::new())).collect();
    Fingerprint { attributes, health }
}

pub(crate) fn event(from: TaskEvent) -> proto::DriverTaskEvent {
    let annotations = from.annotations.iter().map(|(name, text)| (cleaned(name, TEXT_MAX), cleaned(text, TEXT_MAX)));
    proto::DriverTaskEvent {
        task_id: from.task_id,
        alloc_id: from.alloc_id,
        task_name: from.task_name,
        timestamp: Some(timestamp(from.at)),
        message: cleaned(&from.message, TEXT_MAX),
        annotations: annotations.collect(),
    }
}

/// A peer's; `None`: it has no time.
pub(crate) fn event_from(from: proto::DriverTaskEvent) -> Option<TaskEvent> {
    Some(TaskEvent {
        task_id: from.task_id,
        alloc_id: from.alloc_id,
        task_name: from.task_name,
        at: from_timestamp(&from.timestamp?)?,
        message: from.message,
        annotations: from.annotations.into_iter().collect::<BTreeMap<_, _>>(),
    })
}

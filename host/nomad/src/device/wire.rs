//! Domain types ⇄ messages: plain functions, both ways, so that what is always set is set in one place.

use super::{DeviceNode, Group, GroupStats, Health, Instance, InstanceStats, Mount, Reservation, Stat, StatTree};
use crate::attribute::{Attribute, Value};
use crate::proto::device as proto;
use crate::proto::shared::{self, attribute};
use crate::text::cleaned;
use crate::time;

/// Longest name, unit or text of a figure, in characters.
const STAT_TEXT_MAX: usize = 512;
/// Figures nested deeper than this are left out: the agent's own decoder has a bound, too.
const STAT_DEPTH_MAX: usize = 32;

/// Checked groups as the agent gets them.
pub(crate) fn offer(groups: &[Group]) -> proto::FingerprintResponse {
    proto::FingerprintResponse { device_group: groups.iter().map(group).collect() }
}

fn group(group: &Group) -> proto::DeviceGroup {
    proto::DeviceGroup {
        vendor: group.vendor.clone(),
        device_type: group.kind.clone(),
        device_name: group.name.clone(),
        devices: group.instances.iter().map(instance).collect(),
        attributes: group.attributes.iter().map(|(name, value)| (name.clone(), attribute(value))).collect(),
    }
}

fn instance(instance: &Instance) -> proto::DetectedDevice {
    let (healthy, text) = match &instance.health {
        Health::Healthy { note } => (true, note),
        Health::Unhealthy { reason } => (false, reason),
    };
    proto::DetectedDevice {
        id: instance.id.clone(),
        healthy,
        health_description: text.clone(),
        hw_locality: instance.pci_bus_id.clone().map(|pci_bus_id| proto::DeviceLocality { pci_bus_id }),
    }
}

pub(crate) fn attribute(from: &Attribute) -> shared::Attribute {
    let value = match &from.value {
        Value::Text(text) => attribute::Value::StringVal(text.clone()),
        Value::Integer(number) => attribute::Value::IntVal(*number),
        Value::Float(number) => attribute::Value::FloatVal(*number),
        Value::Flag(flag) => attribute::Value::BoolVal(*flag),
    };
    shared::Attribute { value: Some(value), unit: from.unit.clone().unwrap_or_default() }
}

/// What a peer offers, as it is: nothing is checked. An attribute without a value is left out.
pub(crate) fn offer_from(response: proto::FingerprintResponse) -> Vec<Group> {
    response
        .device_group
        .into_iter()
        .map(|group| Group {
            vendor: group.vendor,
            kind: group.device_type,
            name: group.device_name,
            attributes: group
                .attributes
                .into_iter()
                .filter_map(|(name, value)| Some((name, attribute_from(value)?)))
                .collect(),
            instances: group.devices.into_iter().map(instance_from).collect(),
        })
        .collect()
}

fn instance_from(device: proto::DetectedDevice) -> Instance {
    let text = device.health_description;
    Instance {
        id: device.id,
        health: if device.healthy { Health::Healthy { note: text } } else { Health::Unhealthy { reason: text } },
        pci_bus_id: device.hw_locality.map(|locality| locality.pci_bus_id).filter(|id| !id.is_empty()),
    }
}

pub(crate) fn attribute_from(from: shared::Attribute) -> Option<Attribute> {
    let value = match from.value? {
        attribute::Value::StringVal(text) => Value::Text(text),
        attribute::Value::IntVal(number) => Value::Integer(number),
        attribute::Value::FloatVal(number) => Value::Float(number),
        attribute::Value::BoolVal(flag) => Value::Flag(flag),
    };
    Some(Attribute { value, unit: Some(from.unit).filter(|unit| !unit.is_empty()) })
}

/// A reservation; the part for the container is always there, because the agent relies on it.
pub(crate) fn reservation(from: Reservation) -> proto::ReserveResponse {
    let mounts = from.mounts.into_iter().map(|mount| proto::Mount {
        task_path: mount.task_path,
        host_path: mount.host_path,
        read_only: mount.read_only,
    });
    let devices = from.devices.into_iter().map(|device| proto::DeviceSpec {
        task_path: device.task_path,
        host_path: device.host_path,
        permissions: device.permissions,
    });
    proto::ReserveResponse {
        container_res: Some(proto::ContainerReservation {
            envs: from.envs,
            mounts: mounts.collect(),
            devices: devices.collect(),
        }),
    }
}

/// A peer's reservation; `None`: the part that an agent relies on is missing.
pub(crate) fn reservation_from(response: proto::ReserveResponse) -> Option<Reservation> {
    let container = response.container_res?;
    let mounts = container.mounts.into_iter().map(|mount| Mount {
        task_path: mount.task_path,
        host_path: mount.host_path,
        read_only: mount.read_only,
    });
    let devices = container.devices.into_iter().map(|device| DeviceNode {
        task_path: device.task_path,
        host_path: device.host_path,
        permissions: device.permissions,
    });
    Some(Reservation { envs: container.envs, mounts: mounts.collect(), devices: devices.collect() })
}

/// Figures as the agent gets them: texts cleaned, times always set, no number that JSON could not say.
pub(crate) fn stats(groups: Vec<GroupStats>) -> proto::StatsResponse {
    let groups = groups.into_iter().map(|group| proto::DeviceGroupStats {
        vendor: group.vendor,
        r#type: group.kind,
        name: group.name,
        instance_stats: group.instances.into_iter().map(|(id, stats)| (id, instance_stats(&stats))).collect(),
    });
    proto::StatsResponse { groups: groups.collect() }
}

fn instance_stats(from: &InstanceStats) -> proto::DeviceStats {
    proto::DeviceStats {
        summary: Some(stat(&from.summary)),
        stats: Some(tree(&from.stats, STAT_DEPTH_MAX)),
        timestamp: Some(time::timestamp(from.timestamp)),
    }
}

fn tree(from: &StatTree, depth: usize) -> shared::StatObject {
    let name = |name: &str| cleaned(name, STAT_TEXT_MAX);
    let nested = match depth.checked_sub(1) {
        Some(depth) => from.branches.iter().map(|(key, branch)| (name(key), tree(branch, depth))).collect(),
        None => Default::default(),
    };
    shared::StatObject { nested, attributes: from.values.iter().map(|(key, value)| (name(key), stat(value))).collect() }
}

fn stat(from: &Stat) -> shared::StatValue {
    let mut to = shared::StatValue {
        unit: cleaned(&from.unit, STAT_TEXT_MAX),
        desc: cleaned(&from.description, STAT_TEXT_MAX),
        ..Default::default()
    };
    let out_of = from.out_of.filter(|out_of| out_of.is_finite());
    match &from.value {
        Value::Text(text) => to.string_val = Some(cleaned(text, STAT_TEXT_MAX)),
        Value::Flag(flag) => to.bool_val = Some(*flag),
        Value::Integer(number) => match out_of.map(whole) {
            None => to.int_numerator_val = Some(*number),
            Some(Ok(out_of)) => {
                to.int_numerator_val = Some(*number);
                to.int_denominator_val = Some(out_of);
            }
            Some(Err(out_of)) => {
                to.float_numerator_val = Some(*number as f64);
                to.float_denominator_val = Some(out_of);
            }
        },
        // The agent's statistics are JSON, which has no word for these.
        Value::Float(number) if !number.is_finite() => to.string_val = Some(number.to_string()),
        Value::Float(number) => {
            to.float_numerator_val = Some(*number);
            to.float_denominator_val = out_of;
        }
    }
    to
}

/// A float as the integer that it exactly is, else itself. Up to 2^53, where that is certain.
fn whole(number: f64) -> Result<i64, f64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT { Ok(number as i64) } else { Err(number) }
}

/// A peer's figures. Those of instances without a timestamp are left out, as an agent does.
pub(crate) fn stats_from(response: proto::StatsResponse) -> Vec<GroupStats> {
    let groups = response.groups.into_iter().map(|group| GroupStats {
        vendor: group.vendor,
        kind: group.r#type,
        name: group.name,
        instances: group
            .instance_stats
            .into_iter()
            .filter_map(|(id, stats)| Some((id, instance_stats_from(stats)?)))
            .collect(),
    });
    groups.collect()
}

fn instance_stats_from(stats: proto::DeviceStats) -> Option<InstanceStats> {
    let timestamp = time::from_timestamp(&stats.timestamp?)?;
    Some(InstanceStats {
        summary: stats.summary.map(stat_from).unwrap_or_else(|| stat_from(shared::StatValue::default())),
        stats: stats.stats.map(tree_from).unwrap_or_default(),
        timestamp,
    })
}

fn tree_from(from: shared::StatObject) -> StatTree {
    StatTree {
        values: from.attributes.into_iter().map(|(name, value)| (name, stat_from(value))).collect(),
        branches: from.nested.into_iter().map(|(name, branch)| (name, tree_from(branch))).collect(),
    }
}

fn stat_from(from: shared::StatValue) -> Stat {
    let (value, out_of) = match from {
        shared::StatValue { int_numerator_val: Some(number), int_denominator_val: out_of, .. } => {
            (Value::Integer(number), out_of.map(|out_of| out_of as f64))
        }
        shared::StatValue { float_numerator_val: Some(number), float_denominator_val: out_of, .. } => {
            (Value::Float(number), out_of)
        }
        shared::StatValue { bool_val: Some(flag), .. } => (Value::Flag(flag), None),
        shared::StatValue { ref string_val, .. } => (Value::Text(string_val.clone().unwrap_or_default()), None),
    };
    Stat { value, out_of, unit: from.unit, description: from.desc }
}

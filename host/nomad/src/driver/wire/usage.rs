//! Figures of tasks. Beside each goes whether it was measured.

use crate::driver::{CpuUsage, MemoryUsage, TaskStats, Usage};
use crate::proto::driver as proto;
use crate::proto::driver::{cpu_usage, memory_usage};
use crate::time::{from_timestamp, timestamp};

/// The time and the total are always there: an agent panics without.
pub(crate) fn stats(id: &str, from: &TaskStats) -> proto::TaskStatsResponse {
    proto::TaskStatsResponse {
        stats: Some(proto::TaskStats {
            id: id.to_owned(),
            timestamp: Some(timestamp(from.at)),
            agg_resource_usage: Some(usage(&from.total)),
            resource_usage_by_pid: from.by_pid.iter().map(|(pid, of)| (pid.clone(), usage(of))).collect(),
        }),
    }
}

/// `Err`: what an agent would have missed.
pub(crate) fn stats_from(from: proto::TaskStatsResponse) -> Result<TaskStats, &'static str> {
    let stats = from.stats.ok_or("stats")?;
    Ok(TaskStats {
        at: stats.timestamp.and_then(|at| from_timestamp(&at)).ok_or("timestamp")?,
        total: usage_from(&stats.agg_resource_usage.ok_or("agg_resource_usage")?),
        by_pid: stats.resource_usage_by_pid.iter().map(|(pid, of)| (pid.clone(), usage_from(of))).collect(),
    })
}

fn usage(from: &Usage) -> proto::TaskResourceUsage {
    proto::TaskResourceUsage { cpu: Some(cpu(&from.cpu)), memory: Some(memory(&from.memory)) }
}

fn usage_from(from: &proto::TaskResourceUsage) -> Usage {
    Usage {
        cpu: from.cpu.as_ref().map(cpu_from).unwrap_or_default(),
        memory: from.memory.as_ref().map(memory_from).unwrap_or_default(),
    }
}

/// Notes down that a value was measured.
fn noted<T: Default, F: Into<i32>>(measured: &mut Vec<i32>, field: F, value: Option<T>) -> T {
    if value.is_some() {
        measured.push(field.into());
    }
    value.unwrap_or_default()
}

fn cpu(from: &CpuUsage) -> proto::CpuUsage {
    use cpu_usage::Fields;
    // The agent's statistics are JSON, which has no word for other numbers.
    let finite = |number: Option<f64>| number.filter(|number| number.is_finite());
    let mut measured = Vec::new();
    proto::CpuUsage {
        system_mode: noted(&mut measured, Fields::SystemMode, finite(from.system)),
        user_mode: noted(&mut measured, Fields::UserMode, finite(from.user)),
        total_ticks: noted(&mut measured, Fields::TotalTicks, finite(from.total_ticks)),
        throttled_periods: noted(&mut measured, Fields::ThrottledPeriods, from.throttled_periods),
        throttled_time: noted(&mut measured, Fields::ThrottledTime, from.throttled_time),
        percent: noted(&mut measured, Fields::Percent, finite(from.percent)),
        measured_fields: measured,
    }
}

fn cpu_from(from: &proto::CpuUsage) -> CpuUsage {
    use cpu_usage::Fields;
    let measured = |field: Fields| from.measured_fields.contains(&i32::from(field));
    CpuUsage {
        system: measured(Fields::SystemMode).then_some(from.system_mode),
        user: measured(Fields::UserMode).then_some(from.user_mode),
        percent: measured(Fields::Percent).then_some(from.percent),
        total_ticks: measured(Fields::TotalTicks).then_some(from.total_ticks),
        throttled_periods: measured(Fields::ThrottledPeriods).then_some(from.throttled_periods),
        throttled_time: measured(Fields::ThrottledTime).then_some(from.throttled_time),
    }
}

fn memory(from: &MemoryUsage) -> proto::MemoryUsage {
    use memory_usage::Fields;
    let mut measured = Vec::new();
    proto::MemoryUsage {
        rss: noted(&mut measured, Fields::Rss, from.rss),
        cache: noted(&mut measured, Fields::Cache, from.cache),
        max_usage: noted(&mut measured, Fields::MaxUsage, from.max_usage),
        kernel_usage: noted(&mut measured, Fields::KernelUsage, from.kernel_usage),
        kernel_max_usage: noted(&mut measured, Fields::KernelMaxUsage, from.kernel_max_usage),
        usage: noted(&mut measured, Fields::Usage, from.usage),
        swap: noted(&mut measured, Fields::Swap, from.swap),
        measured_fields: measured,
    }
}

fn memory_from(from: &proto::MemoryUsage) -> MemoryUsage {
    use memory_usage::Fields;
    let measured = |field: Fields| from.measured_fields.contains(&i32::from(field));
    MemoryUsage {
        rss: measured(Fields::Rss).then_some(from.rss),
        cache: measured(Fields::Cache).then_some(from.cache),
        swap: measured(Fields::Swap).then_some(from.swap),
        usage: measured(Fields::Usage).then_some(from.usage),
        max_usage: measured(Fields::MaxUsage).then_some(from.max_usage),
        kernel_usage: measured(Fields::KernelUsage).then_some(from.kernel_usage),
        kernel_max_usage: measured(Fields::KernelMaxUsage).then_some(from.kernel_max_usage),
    }
}

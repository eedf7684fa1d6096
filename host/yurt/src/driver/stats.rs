//! Figures of a task in Nomad's terms: percentages from one look to the next, ticks from the node's speed.

use std::collections::BTreeMap;
use std::time::Instant;

use yurt_nomad::driver::{CpuUsage, MemoryUsage, TaskStats, Topology, Usage};
use yurt_task::{Stats, Task};

use super::start::compute;

/// The look before, by process; the task as a whole is process 0.
#[derive(Debug, Default)]
pub(crate) struct Before(BTreeMap<u32, (Instant, u64, u64)>);

/// What a look says, beside the one before it.
pub(crate) fn figures(now: &Stats, before: &mut Before, topology: Option<&Topology>) -> TaskStats {
    let at = Instant::now();
    let mhz = topology.and_then(mhz_of_one_core);
    let mut next = Before::default();
    let mut usage = |pid: u32, cpu: &yurt_task::CpuTime| {
        let (user, system) = (cpu.user_nanos, cpu.system_nanos);
        next.0.insert(pid, (at, user, system));
        percentages(before.0.get(&pid), (at, user, system), mhz)
    };
    let mut total = Usage { cpu: usage(0, &now.cpu), memory: memory(&now.memory) };
    total.cpu.throttled_periods = now.throttled_periods;
    total.cpu.throttled_time = now.throttled_nanos;
    let by_pid = now.processes.iter().map(|process| {
        let memory = MemoryUsage { rss: Some(process.rss), ..MemoryUsage::default() };
        (process.pid.to_string(), Usage { cpu: usage(process.pid, &process.cpu), memory })
    });
    let by_pid = by_pid.collect();
    *before = next;
    TaskStats { at: now.at, total, by_pid }
}

/// What Nomad's figures have no place for, by name, beside the main process's number: a task that has ended has only that.
pub(crate) fn attributes(task: &Task) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("pid".to_owned(), task.pid().to_string())]);
    let Ok(now) = task.stats() else { return all };
    let more = task.more();
    let io = more.io;
    let mut figures = vec![
        ("pids.current".to_owned(), now.pids),
        ("pids.peak".to_owned(), more.pids_peak),
        ("memory.oom_kills".to_owned(), now.oom_kills),
        ("cpu.throttled_periods".to_owned(), now.throttled_periods),
        ("cpu.throttled_ns".to_owned(), now.throttled_nanos),
        ("io.read_bytes".to_owned(), io.map(|io| io.read_bytes)),
        ("io.written_bytes".to_owned(), io.map(|io| io.written_bytes)),
        ("io.reads".to_owned(), io.map(|io| io.reads)),
        ("io.writes".to_owned(), io.map(|io| io.writes)),
    ];
    for (what, waits) in [("cpu", more.pressure.cpu), ("memory", more.pressure.memory), ("io", more.pressure.io)] {
        figures.push((format!("{what}.pressure.some_us"), waits.map(|waits| waits.some_micros)));
        figures.push((format!("{what}.pressure.full_us"), waits.map(|waits| waits.full_micros)));
    }
    all.extend(figures.into_iter().filter_map(|(name, value)| Some((name, value?.to_string()))));
    all
}

fn memory(now: &yurt_task::Memory) -> MemoryUsage {
    MemoryUsage {
        rss: now.rss,
        cache: now.cache,
        swap: now.swap,
        usage: now.usage,
        max_usage: now.max_usage,
        kernel_usage: now.kernel_usage,
        kernel_max_usage: now.kernel_max_usage,
    }
}

type Look = (Instant, u64, u64);

/// Zero at the first look: there is nothing to compare with.
fn percentages(before: Option<&Look>, now: Look, mhz: Option<f64>) -> CpuUsage {
    let share = |then: u64, now: u64, over: f64| {
        if over <= 0.0 { 0.0 } else { now.saturating_sub(then) as f64 / over * 100.0 }
    };
    let (user, system) = match before {
        None => (0.0, 0.0),
        Some((at, user, system)) => {
            let over = now.0.saturating_duration_since(*at).as_nanos() as f64;
            (share(*user, now.1, over), share(*system, now.2, over))
        }
    };
    CpuUsage {
        system: Some(system),
        user: Some(user),
        percent: Some(user + system),
        total_ticks: mhz.map(|mhz| (user + system) / 100.0 * mhz),
        throttled_periods: None,
        throttled_time: None,
    }
}

fn mhz_of_one_core(topology: &Topology) -> Option<f64> {
    let cores = topology.cores.len();
    (cores > 0).then(|| compute(topology) as f64 / cores as f64).filter(|mhz| *mhz > 0.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_busy_cores_are_two_hundred_percent_and_twice_the_speed_of_one() {
        let began = Instant::now();
        let later = began + Duration::from_secs(2);
        let usage = percentages(Some(&(began, 0, 0)), (later, 3_000_000_000, 1_000_000_000), Some(2400.0));
        assert_eq!((usage.user, usage.system, usage.percent), (Some(150.0), Some(50.0), Some(200.0)));
        assert_eq!(usage.total_ticks, Some(4800.0));
    }

    #[test]
    fn a_first_look_and_a_counter_that_went_back_are_no_use_of_the_processor() {
        let now = Instant::now();
        assert_eq!(percentages(None, (now, 5, 5), None).percent, Some(0.0));
        let back = percentages(Some(&(now, 9, 9)), (now + Duration::from_secs(1), 5, 5), None);
        assert_eq!((back.percent, back.total_ticks), (Some(0.0), None));
    }
}

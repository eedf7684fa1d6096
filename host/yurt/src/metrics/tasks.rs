//! What the tasks of a driver use, and how many there are.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use yurt_task::{More, Stats, Waits};

use super::form::{begin, float, joined};
use crate::driver::known::Known;

/// What is asked for figures.
pub(crate) struct Tasks {
    pub(crate) known: Arc<Known>,
    /// How many nobody asks for.
    pub(crate) orphans: Arc<AtomicUsize>,
}

/// Labels of a task, and what it used until now.
type Used = (String, Stats, More);
/// More labels, and a value where there is one.
type Samples = Vec<(&'static str, Option<f64>)>;

/// Of this moment. Reads some twenty small files of each task.
pub(super) fn text(tasks: &Tasks) -> String {
    let all = tasks.known.all();
    let used: Vec<Used> = all
        .iter()
        .filter_map(|running| {
            let names = [("alloc_id", &running.memo.alloc_id), ("task", &running.memo.task_name)];
            Some((joined(&names), running.task.stats().ok()?, running.task.more()))
        })
        .collect();
    let mut text = String::new();
    begin(&mut text, "yurt_tasks", "gauge", "Tasks that the agent knows of, by whether they run.");
    let _ = writeln!(text, "yurt_tasks{{state=\"running\"}} {}", used.len());
    let _ = writeln!(text, "yurt_tasks{{state=\"ended\"}} {}", all.len().saturating_sub(used.len()));
    begin(&mut text, "yurt_tasks_orphaned", "gauge", "Tasks of earlier processes that no agent has asked for.");
    let _ = writeln!(text, "yurt_tasks_orphaned {}", tasks.orphans.load(Relaxed));
    type Of = fn(&Stats, &More) -> Samples;
    let figures: [(&str, &str, &str, Of); 9] = [
        ("yurt_task_cpu_seconds_total", "counter", "Processor time.", |now, _| {
            let seconds = |nanos| Some(float(nanos) / 1e9);
            vec![("mode=\"user\"", seconds(now.cpu.user_nanos)), ("mode=\"system\"", seconds(now.cpu.system_nanos))]
        }),
        ("yurt_task_throttled_seconds_total", "counter", "Time for which it was held back.", |now, _| {
            vec![("", now.throttled_nanos.map(|nanos| float(nanos) / 1e9))]
        }),
        ("yurt_task_memory_bytes", "gauge", "What counts against its limit.", |now, _| {
            vec![("", now.memory.usage.map(float))]
        }),
        ("yurt_task_oom_kills_total", "counter", "Its processes that were killed for memory.", |now, _| {
            vec![("", now.oom_kills.map(float))]
        }),
        ("yurt_task_pids", "gauge", "Its processes and threads.", |now, _| vec![("", now.pids.map(float))]),
        ("yurt_task_pids_peak", "gauge", "The most that it ever had.", |_, more| vec![("", more.pids_peak.map(float))]),
        ("yurt_task_io_bytes_total", "counter", "Bytes of block devices.", |_, more| {
            let of = |which: fn(&yurt_task::Io) -> u64| more.io.as_ref().map(|io| float(which(io)));
            vec![("direction=\"read\"", of(|io| io.read_bytes)), ("direction=\"written\"", of(|io| io.written_bytes))]
        }),
        ("yurt_task_io_operations_total", "counter", "Operations of block devices.", |_, more| {
            let of = |which: fn(&yurt_task::Io) -> u64| more.io.as_ref().map(|io| float(which(io)));
            vec![("direction=\"read\"", of(|io| io.reads)), ("direction=\"written\"", of(|io| io.writes))]
        }),
        ("yurt_task_pressure_seconds_total", "counter", "Time in which some or all of it waited for it.", |_, more| {
            let of =
                |waits: &Option<Waits>, which: fn(&Waits) -> u64| waits.as_ref().map(|waits| float(which(waits)) / 1e6);
            let some = |one: &Waits| one.some_micros;
            let full = |one: &Waits| one.full_micros;
            let pressure = &more.pressure;
            vec![
                ("for=\"cpu\",kind=\"some\"", of(&pressure.cpu, some)),
                ("for=\"cpu\",kind=\"full\"", of(&pressure.cpu, full)),
                ("for=\"memory\",kind=\"some\"", of(&pressure.memory, some)),
                ("for=\"memory\",kind=\"full\"", of(&pressure.memory, full)),
                ("for=\"io\",kind=\"some\"", of(&pressure.io, some)),
                ("for=\"io\",kind=\"full\"", of(&pressure.io, full)),
            ]
        }),
    ];
    for (name, kind, help, of) in figures {
        begin(&mut text, name, kind, help);
        for (labels, now, more) in &used {
            for (also, value) in of(now, more) {
                let comma = if also.is_empty() { "" } else { "," };
                let Some(value) = value else { continue };
                let _ = writeln!(text, "{name}{{{labels}{comma}{also}}} {value}");
            }
        }
    }
    text
}

//! What the control groups of a task have counted.

use std::path::Path;

use super::dir::{Dir, Table};
use super::{Groups, of};
use crate::stats::{CpuTime, Memory};

/// Figures of all processes together.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) cpu: Option<CpuTime>,
    pub(crate) memory: Memory,
    pub(crate) throttled_periods: Option<u64>,
    pub(crate) throttled_nanos: Option<u64>,
    pub(crate) pids: Option<u64>,
}

impl Groups {
    /// Reads what there is to read; what is missing is `None`.
    pub(crate) fn counted(&self) -> Counted {
        match self {
            Groups::None => Counted::default(),
            Groups::V2(path) => Dir::open(path).map(|dir| v2(&dir)).unwrap_or_default(),
            Groups::V1(groups) => {
                let open = |controller| of(groups, controller).and_then(|path| Dir::open(path).ok());
                let mut counted = Counted::default();
                if let Some(dir) = open("memory") {
                    counted.memory = memory_v1(&dir);
                }
                if let Some(dir) = open("cpuacct") {
                    counted.cpu = cpu_v1(&dir);
                }
                if let Some(table) = open("cpu").and_then(|dir| dir.table("cpu.stat")) {
                    counted.throttled_periods = table.get("nr_throttled");
                    counted.throttled_nanos = table.get("throttled_time");
                }
                counted.pids = open("pids").and_then(|dir| dir.number("pids.current"));
                counted
            }
        }
    }

    /// How many processes were killed because the memory of the group was used up, ever.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let (path, file) = match self {
            Groups::None => return None,
            Groups::V2(path) => (path, "memory.events"),
            Groups::V1(groups) => (of(groups, "memory")?, "memory.oom_control"),
        };
        table(path, file)?.get("oom_kill")
    }
}

fn table(path: &Path, file: &str) -> Option<Table> {
    Dir::open(path).ok()?.table(file)
}

fn v2(dir: &Dir) -> Counted {
    let stat = dir.table("memory.stat");
    let bytes = |key: &str| stat.as_ref().and_then(|stat| stat.get(key));
    let memory = Memory {
        rss: bytes("anon"),
        cache: bytes("file"),
        swap: dir.number("memory.swap.current"),
        mapped_file: bytes("file_mapped"),
        usage: dir.number("memory.current"),
        max_usage: dir.number("memory.peak"),
        kernel_usage: bytes("kernel"),
        kernel_max_usage: None,
    };
    let cpu = dir.table("cpu.stat");
    let micros = |key: &str| Some(cpu.as_ref()?.get(key)?.saturating_mul(1000));
    Counted {
        cpu: micros("user_usec")
            .zip(micros("system_usec"))
            .map(|(user_nanos, system_nanos)| CpuTime { user_nanos, system_nanos }),
        memory,
        throttled_periods: cpu.as_ref().and_then(|cpu| cpu.get("nr_throttled")),
        throttled_nanos: micros("throttled_usec"),
        pids: dir.number("pids.current"),
    }
}

fn memory_v1(dir: &Dir) -> Memory {
    let stat = dir.table("memory.stat");
    let bytes = |key: &str| stat.as_ref().and_then(|stat| stat.get(key));
    Memory {
        rss: bytes("total_rss"),
        cache: bytes("total_cache"),
        swap: bytes("total_swap"),
        mapped_file: bytes("total_mapped_file"),
        usage: dir.number("memory.usage_in_bytes"),
        max_usage: dir.number("memory.max_usage_in_bytes"),
        kernel_usage: dir.number("memory.kmem.usage_in_bytes"),
        kernel_max_usage: dir.number("memory.kmem.max_usage_in_bytes"),
    }
}

fn cpu_v1(dir: &Dir) -> Option<CpuTime> {
    if let Some((user_nanos, system_nanos)) = dir.number("cpuacct.usage_user").zip(dir.number("cpuacct.usage_sys")) {
        return Some(CpuTime { user_nanos, system_nanos });
    }
    let stat = dir.table("cpuacct.stat")?;
    let nanos =
        |key: &str| Some(stat.get(key)?.saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)));
    Some(CpuTime { user_nanos: nanos("user")?, system_nanos: nanos("system")? })
}

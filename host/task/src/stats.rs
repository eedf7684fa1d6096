//! What a task uses: of its control groups, and of each process.

use std::time::SystemTime;

/// What a task uses. `None`: not measured here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// When this was read.
    pub at: SystemTime,
    /// Processor time of all its processes since it started.
    pub cpu: CpuTime,
    /// Memory of all its processes.
    pub memory: Memory,
    /// Periods in which it was held back.
    pub throttled_periods: Option<u64>,
    /// Nanoseconds for which it was held back.
    pub throttled_nanos: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Processes killed for memory since it started.
    pub oom_kills: Option<u64>,
    /// Each process.
    pub processes: Vec<ProcessStats>,
}

/// What is asked for less often. `None`: not known here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct More {
    /// Most processes and threads that it ever had.
    pub pids_peak: Option<u64>,
    /// Block devices.
    pub io: Option<Io>,
    /// What it waited for.
    pub pressure: Pressure,
}

/// What was read from block devices and written to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes.
    pub read_bytes: u64,
    /// Bytes.
    pub written_bytes: u64,
    /// Operations.
    pub reads: u64,
    /// Operations.
    pub writes: u64,
}

/// How long it waited for what it lacked: Linux's pressure stall information.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pressure {
    /// A processor.
    pub cpu: Option<Waits>,
    /// Memory.
    pub memory: Option<Waits>,
    /// Block devices.
    pub io: Option<Waits>,
}

/// Time in which processes could not go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// Microseconds in which at least one of them could not.
    pub some_micros: u64,
    /// Microseconds in which none of them could.
    pub full_micros: u64,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In its own code.
    pub user_nanos: u64,
    /// In the kernel.
    pub system_nanos: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// What is no copy of a file.
    pub rss: Option<u64>,
    /// Files in memory.
    pub cache: Option<u64>,
    /// Swapped out.
    pub swap: Option<u64>,
    /// Files that are mapped.
    pub mapped_file: Option<u64>,
    /// What counts against the limit.
    pub usage: Option<u64>,
    /// Most that ever counted.
    pub max_usage: Option<u64>,
    /// The kernel's on behalf of the task.
    pub kernel_usage: Option<u64>,
    /// Most of that.
    pub kernel_max_usage: Option<u64>,
}

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStats {
    /// Its number on the host.
    pub pid: u32,
    /// Bytes resident.
    pub rss: u64,
    /// Since it began.
    pub cpu: CpuTime,
}

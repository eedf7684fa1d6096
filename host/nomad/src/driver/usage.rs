//! What a task uses. `None` is what was not measured, which the agent tells from zero.

use std::collections::BTreeMap;
use std::time::SystemTime;

/// One look at what a task uses.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStats {
    /// When it was taken.
    pub at: SystemTime,
    /// Of the whole task.
    pub total: Usage,
    /// Of its processes, by pid; may be empty.
    pub by_pid: BTreeMap<String, Usage>,
}

/// Processor and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
}

/// Percentages are of one core: two busy cores are 200.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuUsage {
    /// Percent in the kernel.
    pub system: Option<f64>,
    /// Percent in programs.
    pub user: Option<f64>,
    /// Percent in all.
    pub percent: Option<f64>,
    /// MHz.
    pub total_ticks: Option<f64>,
    /// How often it was held back.
    pub throttled_periods: Option<u64>,
    /// For how long, in nanoseconds.
    pub throttled_time: Option<u64>,
}

/// Bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Anonymous memory.
    pub rss: Option<u64>,
    /// Page cache.
    pub cache: Option<u64>,
    /// Swapped out.
    pub swap: Option<u64>,
    /// All that counts against the limit.
    pub usage: Option<u64>,
    /// The most of that so far.
    pub max_usage: Option<u64>,
    /// The kernel's own for the task.
    pub kernel_usage: Option<u64>,
    /// The most of that so far.
    pub kernel_max_usage: Option<u64>,
}

//! What a process costs, read from `/proc` without disturbing it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How often a watched process is looked at. Within one slice its wake-ups count as one.
pub const SLICE: Duration = Duration::from_millis(100);

/// Counts what the threads of a process do, also those that come and go in between.
#[derive(Debug)]
pub struct Meter {
    pid: u32,
    threads: HashMap<String, Seen>,
    moments: u32,
    counted_last: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    switches: u64,
    nanoseconds: u64,
}

/// What a process did over a while.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Times that a thread went to sleep of itself, and so had been awake.
    pub switches: u64,
    /// Processor time of all threads.
    pub cpu: Duration,
    /// Moments in which any thread was awake: slices, of which two in a row count as one.
    pub moments: u32,
}

impl Meter {
    /// Begins to count.
    pub fn of(pid: u32) -> Meter {
        Meter { pid, threads: threads(pid), moments: 0, counted_last: false }
    }

    /// One slice is over.
    pub fn look(&mut self, since: &mut Spent) {
        let mut active = false;
        for (id, now) in threads(self.pid) {
            let before = self.threads.insert(id, now).unwrap_or_default();
            let switches = now.switches.saturating_sub(before.switches);
            active |= switches > 0;
            since.switches += switches;
            since.cpu += Duration::from_nanos(now.nanoseconds.saturating_sub(before.nanoseconds));
        }
        self.counted_last = active && !self.counted_last;
        self.moments += u32::from(self.counted_last);
        since.moments = self.moments;
    }
}

impl Spent {
    /// Nothing yet.
    pub const NOTHING: Spent = Spent { switches: 0, cpu: Duration::ZERO, moments: 0 };
}

/// Processor time of a process so far, without threads that have ended.
pub fn cpu(pid: u32) -> Duration {
    Duration::from_nanos(threads(pid).values().map(|seen| seen.nanoseconds).sum())
}

fn threads(pid: u32) -> HashMap<String, Seen> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| Some((task.file_name().into_string().ok()?, seen(&task.path())?))).collect()
}

fn seen(task: &Path) -> Option<Seen> {
    let switches = field(&fs::read_to_string(task.join("status")).ok()?, "voluntary_ctxt_switches:")?;
    let nanoseconds = fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse().ok()?;
    Some(Seen { switches, nanoseconds })
}

/// Kibibytes of memory that a process has mapped and touched, and its share of them where others have mapped the same.
pub fn memory(pid: u32) -> Option<(u64, u64)> {
    // `status` tells of a small process no more than about how much it is.
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some((field(&rollup, "Rss:")?, field(&rollup, "Pss:")?))
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

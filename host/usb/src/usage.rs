//! Which block devices stand under something: a mounted file system or a swap area.

use std::{collections::HashSet, io::Read, path::Path};

/// A machine full of containers has thousands of mounts; this many bytes are enough for all of them.
const LIMIT: u64 = 8 * 1024 * 1024;

/// What `self/mountinfo` and `swaps` of `proc` name: device numbers, `8:1`, and paths, `/dev/sda1`.
#[derive(Debug, Default)]
pub(crate) struct Usage(HashSet<String>);

impl Usage {
    /// Reads both tables; a missing one names nothing.
    pub(crate) fn read(proc: &Path) -> Self {
        let mut used = HashSet::new();
        // proc_pid_mountinfo(5): field 3 is the device; behind the dash come type and source. Some file systems,
        // btrfs among them, have made-up device numbers, so that only the source tells.
        for line in lines(&proc.join("self/mountinfo")).lines() {
            used.extend(line.split(' ').nth(2).map(str::to_owned));
            let source = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').nth(1));
            used.extend(source.filter(|s| s.starts_with("/dev/")).map(str::to_owned));
        }
        for line in lines(&proc.join("swaps")).lines() {
            used.extend(line.split_ascii_whitespace().next().filter(|s| s.starts_with("/dev/")).map(str::to_owned));
        }
        Self(used)
    }

    /// Whether a block device is named.
    pub(crate) fn names(&self, major: u32, minor: u32, path: &str) -> bool {
        self.0.contains(path) || self.0.contains(&format!("{major}:{minor}"))
    }
}

fn lines(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // What was read before an error counts.
        let _ = file.take(LIMIT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

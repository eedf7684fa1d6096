//! What the kernel says of a process.

use std::path::PathBuf;

/// Whether there is one of this id that has not ended.
pub fn exists(pid: u32) -> bool {
    status_field(pid, "State").is_some_and(|state| !state.starts_with('Z') && !state.starts_with('X'))
}

/// A line of `/proc/<pid>/status`.
pub fn status_field(pid: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Which namespace it is in: `pid`, `mnt`, `ipc`, `net`, `uts`.
pub fn namespace(pid: u32, kind: &str) -> PathBuf {
    let path = format!("/proc/{pid}/ns/{kind}");
    std::fs::read_link(&path).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// Its children that have not been waited for.
pub fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

//! What of a task is still there: processes that are in its control groups, have its files open or its name in their environment or
//! command line; mounts; control groups.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// One line for each trace of something with this name in it: the id of an allocation, a directory. Not this process, and not those of
/// `known`, apart from files that they hold.
pub fn traces_of(name: &str, known: &[u32]) -> Vec<String> {
    let mut traces = mounts_of(name);
    let own = std::process::id();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == own {
            continue;
        }
        if let Some(how) = tie(&entry.path(), name.as_bytes(), known.contains(&pid)) {
            let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            traces.push(format!("process {pid} ({}): {how}", comm.trim()));
        }
    }
    traces
}

/// Mounts at or of something with this name in its path.
pub(super) fn mounts_of(name: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    table.lines().filter(|line| line.contains(name)).map(|line| format!("mount {line}")).collect()
}

fn tie(process: &Path, name: &[u8], files_only: bool) -> Option<String> {
    let holds = |bytes: &[u8]| bytes.windows(name.len()).any(|part| part == name);
    for link in ["cwd", "root"] {
        if let Ok(target) = fs::read_link(process.join(link))
            && holds(target.as_os_str().as_bytes())
        {
            return Some(format!("{link} {}", target.display()));
        }
    }
    for fd in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
        if let Ok(target) = fs::read_link(fd.path())
            && holds(target.as_os_str().as_bytes())
        {
            return Some(format!("holds {}", target.display()));
        }
    }
    let mut files = ["cgroup", "cmdline", "environ"].iter().filter(|_| !files_only);
    files.find(|file| fs::read(process.join(file)).is_ok_and(|bytes| holds(&bytes))).map(|file| format!("its {file}"))
}

/// Processes with a trace of this name, other than this one.
pub(super) fn processes_of(name: &str) -> Vec<u32> {
    let traces = traces_of(name, &[]).into_iter();
    traces.filter_map(|trace| trace.strip_prefix("process ")?.split(' ').next()?.parse().ok()).collect()
}

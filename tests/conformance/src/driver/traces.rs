//! What of a task is still there: processes that are in its control groups, have its files open or its name in their environment or
//! command line; mounts; control groups.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// One line for each trace of something with one of these names in it: ids of allocations, directories. Not this process, and not those
/// of `known`, apart from files that they hold.
pub fn traces_of(names: &[&str], known: &[u32]) -> Vec<String> {
    let mut traces = mounts_of(names);
    let own = std::process::id();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == own {
            continue;
        }
        if let Some(how) = tie(&entry.path(), names, known.contains(&pid)) {
            let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            traces.push(format!("process {pid} ({}): {how}", comm.trim()));
        }
    }
    traces
}

/// Mounts at or of something with one of these names in its path.
pub(super) fn mounts_of(names: &[&str]) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    table
        .lines()
        .filter(|line| names.iter().any(|name| line.contains(name)))
        .map(|line| format!("mount {line}"))
        .collect()
}

fn tie(process: &Path, names: &[&str], files_only: bool) -> Option<String> {
    let holds = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        names.iter().any(|name| text.contains(name))
    };
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
pub fn processes_of(name: &str) -> Vec<u32> {
    let traces = traces_of(&[name], &[]).into_iter();
    traces.filter_map(|trace| trace.strip_prefix("process ")?.split(' ').next()?.parse().ok()).collect()
}

//! Where control groups are mounted.

use std::path::PathBuf;

use rustix::io::Errno;

use super::{Group, Groups};

/// The mounts of control groups on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Version 1.
    pub(crate) v1: Vec<Hierarchy>,
    /// Version 2.
    pub(crate) v2: Option<PathBuf>,
}

/// A hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// `cpu,cpuacct`, `name=systemd`.
    pub(crate) controllers: String,
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
}

/// Every controller of version 1 that a mount's options may name.
const CONTROLLERS: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "debug",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

pub(crate) fn has(controllers: &str, controller: &str) -> bool {
    controllers.split(',').any(|one| one == controller)
}

impl Hierarchies {
    /// Whether version 1 has this controller here.
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.v1.iter().any(|hierarchy| has(&hierarchy.controllers, controller))
    }

    /// Directories of version 1 with what they control; of others it knows nothing.
    pub(crate) fn groups(&self, paths: &[PathBuf]) -> Groups {
        let of = |hierarchy: &Hierarchy, path: &PathBuf| {
            let there = path.starts_with(&hierarchy.mount);
            there.then(|| Group { controllers: hierarchy.controllers.clone(), path: path.clone() })
        };
        Groups::V1(self.v1.iter().flat_map(|one| paths.iter().filter_map(move |path| of(one, path))).collect())
    }

    /// As this process sees them.
    pub(crate) fn read() -> Result<Hierarchies, Errno> {
        let mounts = crate::files::read(rustix::fs::CWD, "/proc/self/mountinfo")?;
        Ok(Hierarchies::parse(&String::from_utf8_lossy(&mounts)))
    }

    /// `proc_pid_mountinfo(5)`: `id parent device root mount-point options [optional…] - type source super-options`.
    fn parse(mounts: &str) -> Hierarchies {
        let mut found = Hierarchies::default();
        for line in mounts.lines() {
            let Some((place, kind)) = line.split_once(" - ") else { continue };
            let Some(mount) = place.split(' ').nth(4) else { continue };
            let mount = unescape(mount);
            let mut kind = kind.split(' ');
            match (kind.next(), kind.nth(1)) {
                (Some("cgroup2"), _) if found.v2.is_none() => found.v2 = Some(mount),
                (Some("cgroup"), Some(options)) => {
                    let controllers: Vec<&str> = options
                        .split(',')
                        .filter(|option| CONTROLLERS.contains(option) || option.starts_with("name="))
                        .collect();
                    let controllers = controllers.join(",");
                    if !controllers.is_empty() && !found.v1.iter().any(|other| other.controllers == controllers) {
                        found.v1.push(Hierarchy { controllers, mount });
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// Blanks and the like stand there as three octal digits.
fn unescape(path: &str) -> PathBuf {
    let mut plain = path.to_owned();
    for (escaped, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escaped, character);
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_once_each() {
        let found = Hierarchies::parse(
            "33 28 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             34 28 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             35 28 0:32 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw,nsdelegate\n\
             36 28 0:30 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n\
             37 28 0:40 / / rw - ext4 /dev/vda rw\n",
        );
        assert_eq!(found.v2, Some("/sys/fs/cgroup/uni fied".into()));
        let [cpu, systemd] = found.v1.as_slice() else { panic!("{found:?}") };
        assert_eq!((cpu.controllers.as_str(), cpu.mount.to_str()), ("cpu,cpuacct", Some("/sys/fs/cgroup/cpu,cpuacct")));
        assert!(has(&cpu.controllers, "cpuacct") && !has(&cpu.controllers, "acct"));
        assert_eq!(systemd.controllers, "name=systemd");
    }
}

//! The control group of keepers: beside those of tasks, which the agent kills as a whole, and outside the agent's own, which a service
//! manager may. One for all keepers; made by the first, removed with the last.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Hierarchies;
use super::dir::Dir;
use super::prepare::{inherit_cpuset, make};
use crate::image::above_streams;
use crate::launch::Cgroup;

/// Its name among those of tasks of version 2.
const V2: &str = "yurt-keepers.scope";
/// Its name in each hierarchy of version 1, and of version 2 beside them.
const V1: &str = "nomad-yurt-keepers";

/// Where keepers of such tasks live: `(version 2, directory)`.
pub(crate) fn directories(task: &Cgroup, hierarchies: &Hierarchies) -> Vec<(bool, PathBuf)> {
    match task {
        Cgroup::None => Vec::new(),
        // `nomad.slice/share.slice/<task>.scope`
        Cgroup::V2(path) => {
            let beside = path.parent().and_then(Path::parent).or(path.parent());
            beside.map(|beside| (true, beside.join(V2))).into_iter().collect()
        }
        Cgroup::V1 { .. } => {
            let v1 = hierarchies.v1.iter().map(|hierarchy| (false, hierarchy.mount.join(V1)));
            v1.chain(hierarchies.v2.iter().map(|mount| (true, mount.join(V1)))).collect()
        }
    }
}

/// The directories, ready to be entered.
#[derive(Debug, Default)]
pub(crate) struct Entrance {
    v2: Option<OwnedFd>,
    /// `tasks` files.
    v1: Vec<(PathBuf, OwnedFd)>,
}

impl Entrance {
    /// Makes what is missing. A hierarchy in which that fails is left out: the keeper then stays where the plugin is.
    pub(crate) fn open(directories: &[(bool, PathBuf)]) -> Entrance {
        let mut entrance = Entrance::default();
        for (is_v2, path) in directories {
            let opened = make(path).map_err(|why| why.to_string()).and_then(|_| {
                let dir = Dir::open(path).map_err(|errno| std::io::Error::from(errno).to_string())?;
                if path.join("cpuset.cpus").exists() && !is_v2 {
                    inherit_cpuset(path, &dir).map_err(|why| why.to_string())?;
                }
                Ok(dir)
            });
            let opened = opened.and_then(|dir| {
                let fd = if *is_v2 {
                    dir.as_fd().try_clone_to_owned().map_err(|e| e.to_string())?
                } else {
                    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                    let tasks = rustix::fs::openat(&dir, "tasks", flags, Mode::empty());
                    tasks.map_err(|errno| std::io::Error::from(errno).to_string())?
                };
                above_streams(fd).map_err(|errno| std::io::Error::from(errno).to_string())
            });
            match opened {
                Ok(fd) if *is_v2 => entrance.v2 = Some(fd),
                Ok(fd) => entrance.v1.push((path.clone(), fd)),
                Err(why) => tracing::warn!("keepers stay in this plugin's control group: {}: {why}", path.display()),
            }
        }
        entrance
    }

    pub(crate) fn v2(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn v1(&self) -> Vec<RawFd> {
        self.v1.iter().map(|(_, fd)| fd.as_raw_fd()).collect()
    }

    /// The directory of version 1 by its place in [`Entrance::v1`].
    pub(crate) fn path(&self, index: usize) -> PathBuf {
        self.v1.get(index).map(|(path, _)| path.clone()).unwrap_or_default()
    }
}

/// Whether entering failed because the last keeper's end has just removed the directory: then it is made anew.
pub(crate) fn was_removed(errno: Errno) -> bool {
    matches!(errno, Errno::NODEV | Errno::NOENT)
}

/// Removes the directories that nobody is in.
pub(crate) fn remove(directories: &[(bool, PathBuf)]) {
    for (_, path) in directories {
        let _ = fs::remove_dir(path);
    }
}

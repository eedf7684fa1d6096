//! Control groups: where a task's processes are counted, limited, found and killed.
//!
//! The agent makes a directory for each task and removes it when the task is over; what stands here sets limits in it, finds processes
//! by it and measures. Of version 1 the agent makes directories in some hierarchies only: the others are made here, and removed again.

pub(crate) mod devices;
pub(crate) mod dir;
mod hierarchies;
pub(crate) mod keepers;
mod limits;
mod measure;
mod more;
mod prepare;
mod processes;

use std::path::PathBuf;

pub(crate) use hierarchies::Hierarchies;
pub(crate) use limits::Written;
pub(crate) use prepare::{Prepared, Wish, prepare, remove, remove_below};

/// The control groups of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Groups {
    /// It has none.
    None,
    /// Version 2.
    V2(PathBuf),
    /// Version 1.
    V1(Vec<Group>),
}

/// A directory of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// What it controls, as the mount names it: `cpu,cpuacct`, `name=systemd`.
    pub(crate) controllers: String,
    /// The directory.
    pub(crate) path: PathBuf,
}

impl Group {
    pub(crate) fn has(&self, controller: &str) -> bool {
        hierarchies::has(&self.controllers, controller)
    }

    /// Whether the agent makes such a directory.
    fn is_agents(&self) -> bool {
        ["freezer", "cpu", "memory", "cpuset"].iter().any(|controller| self.has(controller))
    }
}

impl Groups {
    /// As the state of a task has them.
    pub(crate) fn of(state: &yurt_keeper::State) -> Groups {
        if state.controllers.is_empty() {
            return state.cgroups.first().map_or(Groups::None, |path| Groups::V2(path.into()));
        }
        let pairs = state.controllers.iter().zip(&state.cgroups);
        Groups::V1(pairs.map(|(c, path)| Group { controllers: c.clone(), path: path.into() }).collect())
    }

    /// The directory that holds all processes of the task and none besides.
    pub(crate) fn main(&self) -> Option<&PathBuf> {
        match self {
            Groups::None => None,
            Groups::V2(path) => Some(path),
            Groups::V1(groups) => of(groups, "freezer"),
        }
    }
}

/// The directory of a controller.
fn of<'a>(groups: &'a [Group], controller: &str) -> Option<&'a PathBuf> {
    groups.iter().find(|group| group.has(controller)).map(|group| &group.path)
}

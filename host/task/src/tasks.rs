//! One runtime directory and the tasks in it.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use prost::Message;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use yurt_keeper::State;

use crate::bare;
use crate::cgroup::Hierarchies;
use crate::channel::Channel;
use crate::ended;
use crate::entry::{self, Entry, Found, Name};
use crate::error::{OpenError, RecoverError, StartError};
use crate::handle::Handle;
use crate::image::Image;
use crate::launch::Launch;
use crate::proc;
use crate::start;
use crate::sys;
use crate::task::{Origin, Task};

/// How long a keeper that gives a start up may take until nothing of it is left.
const TAKEN_BACK: Duration = Duration::from_secs(5);

/// A runtime directory, with an entry for each task that is not forgotten. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tasks(Arc<Room>);

/// What all tasks of a runtime directory share.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) path: PathBuf,
    pub(crate) dir: OwnedFd,
    pub(crate) boot_id: Vec<u8>,
    pub(crate) image: Image,
    hierarchies: OnceLock<Hierarchies>,
    bare: OnceLock<Option<OwnedFd>>,
    /// Whose a control group is: an agent may use a directory again for the next start of a task.
    owners: Mutex<HashMap<PathBuf, Name>>,
}

/// What this room notes beside its caller's memo.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Notes {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) memo: Vec<u8>,
    /// Control groups to be removed with the task.
    #[prost(string, repeated, tag = "2")]
    pub(crate) made: Vec<String>,
    /// The agent's control group of version 2, of a task that is in another.
    #[prost(string, tag = "3")]
    pub(crate) agents: String,
}

/// What has become of a task.
pub(crate) enum Life {
    /// Started before the machine was.
    OtherBoot,
    /// Its keeper or its main process lives; each that does.
    Running { keeper: Option<OwnedFd>, task: Option<OwnedFd> },
    /// It has ended, and that stands in its entry.
    Ended(yurt_keeper::Exit),
    /// It has ended, and nobody saw how.
    Lost,
}

impl Tasks {
    /// Makes the directory (0700) if it is not there, and touches no task in it.
    pub fn open(dir: PathBuf) -> Result<Tasks, OpenError> {
        let io = |reason| OpenError::Io { path: dir.clone(), reason };
        let (path, fd) = entry::runtime(&dir).map_err(io)?.map_err(|problem| {
            let uid = rustix::process::geteuid().as_raw();
            OpenError::NotOurs { path: dir.clone(), problem, uid }
        })?;
        let what = "reading this boot's id in /proc/sys/kernel/random/boot_id";
        let boot_id = yurt_keeper::boot_id().map_err(|reason| OpenError::Unsupported { what, reason })?;
        Ok(Tasks(Arc::new(Room {
            path,
            dir: fd,
            boot_id,
            image: Image::default(),
            hierarchies: OnceLock::new(),
            bare: OnceLock::new(),
            owners: Mutex::default(),
        })))
    }

    /// Starts a task. When this returns its program runs (`execve` has succeeded); after an error nothing of it is left. If the caller
    /// goes away meanwhile, the start is seen through, and the task ended and forgotten.
    pub async fn start(&self, launch: Launch) -> Result<Task, StartError> {
        let room = Arc::clone(&self.0);
        let (done, outcome) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            if let Err(Ok(task)) = done.send(start::start(&room, launch).await) {
                end(&task).await;
            }
        });
        let lost =
            || crate::error::StepError::text("starting the task", "", "the start was given up: this process is ending");
        outcome.await.unwrap_or_else(|_| Err(lost().into()))
    }

    /// The task of this id, if there is an entry of it: it runs, or it has ended and somebody saw how. Whether it is what a caller wants
    /// `Task::request` tells.
    ///
    /// A start whose plugin has died may just be taken back by its keeper, which ends the task: so a keeper is asked first.
    pub async fn adopt(&self, id: &str) -> Result<Option<Task>, RecoverError> {
        let until = Instant::now() + TAKEN_BACK;
        loop {
            let Some(entry) = self.0.entry(entry::name(id))? else { return Ok(None) };
            let Some(state) = self.0.state(&entry)? else { return Ok(None) };
            match self.0.life(&entry, &state) {
                Life::OtherBoot | Life::Lost => return Ok(None),
                Life::Running { keeper: Some(_), .. } if Instant::now() < until && !serves(&entry).await => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                life => return self.0.found(entry, state, life).map(Some),
            }
        }
    }

    /// Finds a task again. One that ended meanwhile is found with its exit; if nobody saw it end, with code -1 and the reason. So is one
    /// that was forgotten, unless many others were since.
    pub async fn recover(&self, handle: &Handle) -> Result<Task, RecoverError> {
        let other_boot = handle.0.boot_id != self.0.boot_id;
        let Some(entry) = self.0.entry(handle.entry())? else {
            let no_entry = || RecoverError::NoEntry { path: entry::place(&self.0.path, handle.entry()) };
            return if other_boot {
                Err(RecoverError::OtherBoot)
            } else {
                self.0.remembered(handle).ok_or_else(no_entry)
            };
        };
        let Some(state) = self.0.state(&entry)? else {
            return Err(if other_boot {
                RecoverError::OtherBoot
            } else {
                RecoverError::NoEntry { path: entry.path.clone() }
            });
        };
        let life = self.0.life(&entry, &state);
        if matches!(life, Life::OtherBoot) {
            // The kernel has forgotten all of it; this is what a runtime directory on a disk remembers.
            let _ = entry.remove();
        }
        if other_boot || matches!(life, Life::OtherBoot) {
            return Err(RecoverError::OtherBoot);
        }
        if state.task != handle.0.task {
            return Err(RecoverError::OtherStart { path: entry.path.clone() });
        }
        self.0.found(entry, state, life)
    }
}

impl Tasks {
    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.0
    }
}

/// Whether a keeper is through with its start. One that says nothing for long is stopped, or has too much to do.
async fn serves(entry: &Entry) -> bool {
    let answer = async { Channel::watching(entry.as_fd()).await?.hear().await };
    match tokio::time::timeout(TAKEN_BACK, answer).await {
        Ok(Ok(said)) => said.is_some(),
        Ok(Err(_)) => false,
        Err(_) => true,
    }
}

/// Nobody wants it.
async fn end(task: &Task) {
    tracing::warn!(task = task.id(), "the caller of its start has gone: it is ended");
    if let Err(why) = task.kill(Duration::from_secs(10)).await {
        tracing::error!(task = task.id(), "{why}");
    }
    if tokio::time::timeout(Duration::from_secs(10), task.wait()).await.is_ok()
        && let Err(why) = task.forget().await
    {
        tracing::error!(task = task.id(), "{why}");
    }
}

impl Room {
    /// The mounts of control groups, read once: they do not change while an agent runs.
    pub(crate) fn hierarchies(&self) -> Result<&Hierarchies, Errno> {
        if let Some(known) = self.hierarchies.get() {
            return Ok(known);
        }
        let read = Hierarchies::read()?;
        Ok(self.hierarchies.get_or_init(|| read))
    }

    /// Made with the first task that has a root of its own. Blocks.
    pub(crate) fn bare(&self) -> Option<&OwnedFd> {
        self.bare.get_or_init(bare::make).as_ref()
    }

    fn entry(&self, name: Name) -> Result<Option<Entry>, RecoverError> {
        let failed = |errno: Errno| RecoverError::Io { path: self.path.clone(), reason: errno.into() };
        Entry::open(&self.path, name).map_err(failed)
    }

    /// `None`: nothing was written there, so the task never ran.
    fn state(&self, entry: &Entry) -> Result<Option<State>, RecoverError> {
        let path = entry.path.join(yurt_keeper::names::STATE);
        match entry.state() {
            Ok(Found::Whole(state)) => Ok(Some(state)),
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::Garbage(problem)) => Err(RecoverError::Garbage { path, problem }),
            Err(errno) => Err(RecoverError::Io { path, reason: errno.into() }),
        }
    }

    /// A task that was forgotten.
    fn remembered(self: &Arc<Room>, handle: &Handle) -> Option<Task> {
        let (state, exit) = ended::find(self.dir.as_fd(), handle.0.task.as_ref()?)?;
        if state.boot_id != self.boot_id || entry::name(&state.id) != handle.entry() {
            return None;
        }
        let entry = Entry::gone(&self.path, handle.entry()).ok()??;
        Some(Task::new(Arc::clone(self), entry, state, Origin::Ended { keeper: None, exit }))
    }

    /// What has become of the task of an entry.
    pub(crate) fn life(&self, entry: &Entry, state: &State) -> Life {
        if state.boot_id != self.boot_id {
            return Life::OtherBoot;
        }
        // Looked for before its outcome is read, so that one that ends meanwhile is not missed.
        let keeper = state.keeper.as_ref().and_then(proc::find);
        let task = state.task.as_ref().and_then(proc::find);
        match entry.exit() {
            Ok(Found::Whole(exit)) => Life::Ended(exit),
            _ if keeper.is_some() || task.is_some() => Life::Running { keeper, task },
            _ => Life::Lost,
        }
    }

    pub(crate) fn found(self: &Arc<Room>, entry: Entry, state: State, life: Life) -> Result<Task, RecoverError> {
        let watched = |fd: Option<OwnedFd>| {
            fd.map(watched).transpose().map_err(|reason| RecoverError::Io { path: entry.path.clone(), reason })
        };
        let origin = match life {
            Life::Running { keeper, task } => Origin::Running { keeper: watched(keeper)?, task: watched(task)? },
            Life::Ended(exit) => Origin::Ended { keeper: watched(state.keeper.as_ref().and_then(proc::find))?, exit },
            Life::OtherBoot | Life::Lost => Origin::Lost,
        };
        Ok(Task::new(Arc::clone(self), entry, state, origin))
    }

    /// `group` is of that entry from now on; `only_if_free`: unless it is of another.
    pub(crate) fn take_group(&self, group: Option<&PathBuf>, entry: Name, only_if_free: bool) {
        let Some(group) = group else { return };
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if !(only_if_free && owners.contains_key(group)) {
            owners.insert(group.clone(), entry);
        }
    }

    /// Whether `group` is of no other entry.
    pub(crate) fn owns_group(&self, group: Option<&PathBuf>, entry: Name) -> bool {
        let Some(group) = group else { return true };
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(group).is_none_or(|owner| *owner == entry)
    }

    /// `group` is of nobody.
    pub(crate) fn leave_group(&self, group: Option<&PathBuf>, entry: Name) {
        let Some(group) = group else { return };
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.get(group) == Some(&entry) {
            owners.remove(group);
        }
    }
}

/// A descriptor of a process, to be waited for.
pub(crate) fn watched(pidfd: OwnedFd) -> std::io::Result<Arc<AsyncFd<OwnedFd>>> {
    sys::awaited(pidfd, Interest::READABLE).map(Arc::new)
}

//! A task: who it is, signals, its end, its figures.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use prost::Message;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use yurt_keeper::{Stat, State};

use crate::cgroup::{self, Groups, keepers};
use crate::entry::Entry;
use crate::error::{ExecError, ForgetError, KillError, SignalError, StatsError, StepError};
use crate::exec::{self, Command, ExecOptions};
use crate::exit::{self, Exit};
use crate::handle::Handle;
use crate::launch::{Cgroup, DeviceRule};
use crate::proc;
use crate::stats::{CpuTime, More, Stats};
use crate::tasks::{Notes, Room};
use crate::{forget, sys, watcher};

/// `SIGKILL`.
pub(crate) const KILL: i32 = 9;
/// Signals go from 1 to this.
const LAST_SIGNAL: i32 = 64;
/// Times that all processes of a task are killed before it is called obstinate.
const ROUNDS: u32 = 20;
/// How long a task's init is spared when the task is killed.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Processes that an error names.
const NAMED: usize = 5;

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// The main process.
    Main,
    /// Every process of the task, and of commands run in it.
    All,
}

/// A task that was started and is not forgotten. Clones are the same task. Dropping all of them leaves the task as it is.
#[derive(Clone)]
pub struct Task(Arc<Inner>);

struct Inner {
    facts: Arc<Facts>,
    watcher: Option<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

/// What is known of a task, shared with who watches it.
pub(crate) struct Facts {
    pub(crate) room: Arc<Room>,
    pub(crate) entry: Entry,
    pub(crate) state: State,
    pub(crate) memo: Vec<u8>,
    /// Control groups to be removed with the task.
    pub(crate) made: Vec<PathBuf>,
    pub(crate) groups: Groups,
    /// The agent's of version 2, where that is another.
    agents: Option<PathBuf>,
    /// The main process; `None`: it had ended when the task was found.
    pub(crate) process: Option<Arc<AsyncFd<OwnedFd>>>,
    /// `None`: it had ended.
    pub(crate) keeper: Option<Arc<AsyncFd<OwnedFd>>>,
    pub(crate) exit: watch::Sender<Option<Exit>>,
    pub(crate) forgotten: Mutex<bool>,
}

/// How a task came to be known.
pub(crate) enum Origin {
    /// It runs, or has just ended.
    Running { keeper: Option<Arc<AsyncFd<OwnedFd>>>, task: Option<Arc<AsyncFd<OwnedFd>>> },
    /// It has ended.
    Ended { keeper: Option<Arc<AsyncFd<OwnedFd>>>, exit: yurt_keeper::Exit },
    /// It has ended, and nobody saw how.
    Lost,
}

impl Task {
    pub(crate) fn new(room: Arc<Room>, entry: Entry, mut state: State, origin: Origin) -> Task {
        let notes = Notes::decode(state.memo.as_slice()).unwrap_or_default();
        // It is in `notes` now.
        state.memo = Vec::new();
        let groups = Groups::of(&state);
        let (process, keeper, ended) = match origin {
            Origin::Running { keeper, task } => (task, keeper, None),
            Origin::Ended { keeper, exit } => (None, keeper, Some(exit)),
            Origin::Lost => {
                let why = "its keeper and it had both ended when nobody watched";
                (None, None, Some(entry.write_exit(exit::unknown(why, SystemTime::now()))))
            }
        };
        room.take_group(groups.main(), entry.name, ended.is_some());
        let facts = Arc::new(Facts {
            room,
            entry,
            state,
            memo: notes.memo,
            agents: Some(notes.agents).filter(|path| !path.is_empty()).map(PathBuf::from),
            made: notes.made.into_iter().map(PathBuf::from).collect(),
            groups,
            process,
            keeper,
            exit: watch::Sender::new(ended.map(Exit::from_keeper)),
            forgotten: Mutex::new(false),
        });
        let running = facts.exit.borrow().is_none();
        let watcher = running.then(|| tokio::spawn(watcher::watch(Arc::clone(&facts))).abort_handle());
        Task(Arc::new(Inner { facts, watcher }))
    }

    /// Why directories of the host are read-only in it that it was to be able to write: see [`crate::HostPaths`].
    pub fn read_only(&self) -> Option<StepError> {
        self.0.facts.state.read_only.as_ref().map(crate::start::step)
    }

    /// Nomad's id of it.
    pub fn id(&self) -> &str {
        &self.0.facts.state.id
    }

    /// Process id of its main process on the host.
    pub fn pid(&self) -> u32 {
        self.0.facts.pid()
    }

    /// When it was let go.
    pub fn started_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.0.facts.state.started_at)
    }

    /// [`crate::Launch::request`].
    pub fn request(&self) -> &[u8] {
        &self.0.facts.state.request
    }

    /// [`crate::Launch::memo`].
    pub fn memo(&self) -> &[u8] {
        &self.0.facts.memo
    }

    /// Finds it again.
    pub fn handle(&self) -> Handle {
        let Facts { state, entry, .. } = &*self.0.facts;
        Handle::new(&state.boot_id, entry.name, state.task.unwrap_or_default(), state.keeper)
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.0.facts.exit()
    }

    /// Waits until it has ended. Many may wait; each may give up.
    pub async fn wait(&self) -> Exit {
        self.0.facts.wait().await
    }

    /// When its keeper has ended and the task goes on. Never, where that does not happen.
    pub async fn lost_its_keeper(&self) {
        watcher::lost_its_keeper(&self.0.facts).await;
    }

    /// Sends a signal by its number, 1 to 64.
    pub fn signal(&self, number: i32, whom: Whom) -> Result<(), SignalError> {
        if !(1..=LAST_SIGNAL).contains(&number) {
            return Err(SignalError::Unknown(number));
        }
        let facts = &*self.0.facts;
        if facts.exit().is_some() {
            return Err(SignalError::Ended);
        }
        let refused = |pid, errno: Errno| SignalError::Refused { number, pid, reason: errno.into() };
        match whom {
            Whom::Main => {
                let process = facts.process.as_ref().ok_or(SignalError::Ended)?;
                match sys::send_signal(process.get_ref().as_fd(), number) {
                    Err(Errno::SRCH) => Err(SignalError::Ended),
                    sent => sent.map_err(|errno| refused(facts.pid(), errno)),
                }
            }
            Whom::All => {
                // Its init passes on what it gets, and the main process would get it twice. Killed, it could not tell how that ended.
                let init = facts.parent();
                let members = facts.processes().into_iter().filter(|pid| Some(*pid) != init);
                // A number may pass to another process before it is opened: what is listed once more after that is what was opened.
                let opened: Vec<_> = members.filter_map(|pid| Some((pid, proc::open(pid)?))).collect();
                let still = facts.processes();
                for (pid, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
                    match sys::send_signal(process.as_fd(), number) {
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(errno) => return Err(refused(*pid, errno)),
                    }
                }
                Ok(())
            }
        }
    }

    /// Kills every process of the task, and of commands run in it, until none is left. A task that has none is no failure.
    pub async fn kill(&self, within: Duration) -> Result<(), KillError> {
        kill(&self.0.facts, within).await
    }

    /// Runs a command in it.
    pub async fn exec(&self, options: ExecOptions) -> Result<Command, ExecError> {
        exec::start(&self.0.facts, options).await
    }

    /// What it uses now. Reads some ten small files.
    pub fn stats(&self) -> Result<Stats, StatsError> {
        let facts = &*self.0.facts;
        if facts.exit().is_some() {
            return Err(StatsError::Ended);
        }
        let counted = facts.groups.counted();
        let processes: Vec<_> = facts.processes().into_iter().filter_map(proc::usage).collect();
        let sum = || {
            processes.iter().fold(CpuTime::default(), |sum, process| CpuTime {
                user_nanos: sum.user_nanos.saturating_add(process.cpu.user_nanos),
                system_nanos: sum.system_nanos.saturating_add(process.cpu.system_nanos),
            })
        };
        let mut memory = counted.memory;
        memory.rss = memory.rss.or_else(|| Some(processes.iter().map(|process| process.rss).sum()));
        Ok(Stats {
            at: SystemTime::now(),
            cpu: counted.cpu.unwrap_or_else(sum),
            memory,
            throttled_periods: counted.throttled_periods,
            throttled_nanos: counted.throttled_nanos,
            pids: counted.pids,
            oom_kills: facts.groups.oom_kills().map(|kills| kills.saturating_sub(facts.state.oom_before)),
            processes,
        })
    }

    /// What else is known of what it uses. Reads some five small files.
    pub fn more(&self) -> More {
        self.0.facts.groups.more()
    }

    /// Allows these devices, beside what every task may use, and no others: for one with a root of its own. Blocks for a moment.
    ///
    /// # Errors
    /// The control group is gone, or the kernel refused.
    pub fn allow_devices(&self, rules: &[DeviceRule]) -> Result<(), StepError> {
        cgroup::devices::renew(&self.0.facts.groups, rules)
    }

    /// Its processes, those of commands run in it included.
    pub fn processes(&self) -> Vec<u32> {
        self.0.facts.processes()
    }

    /// Ends everything that is left of a task that has ended: processes, keeper, files, control groups that this room made. A second
    /// time it does nothing.
    pub async fn forget(&self) -> Result<(), ForgetError> {
        forget::forget(&self.0.facts).await
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id()).field("pid", &self.pid()).field("exit", &self.exit()).finish()
    }
}

impl Facts {
    pub(crate) fn pid(&self) -> u32 {
        self.state.task.map_or(0, |task| task.pid)
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    pub(crate) async fn wait(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        // The sender is in `self`: it cannot be gone.
        let known = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        known.unwrap_or_else(|| Exit::from_keeper(exit::unknown("it is not watched any more", SystemTime::now())))
    }

    pub(crate) fn keeper_lives(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| !proc::has_ended(keeper.get_ref().as_fd()))
    }

    /// None where the control group is meanwhile another task's.
    pub(crate) fn processes(&self) -> Vec<u32> {
        if self.groups != Groups::None {
            let ours = self.room.owns_group(self.groups.main(), self.entry.name);
            return if ours { self.groups.processes() } else { Vec::new() };
        }
        // While the main process is not reaped, its number is its session's and no stranger's.
        let main = self.state.task.filter(|task| proc::find(task).is_some()).map(|task| task.pid);
        let keeper = self.state.keeper.filter(|_| self.keeper_lives()).map(|keeper| keeper.pid);
        if main.is_none() && keeper.is_none() { Vec::new() } else { proc::family(main, keeper) }
    }

    /// The parent of the main process, as long as that is there: the task's init, where it has one, else its keeper. Once an init has
    /// told how the main process ended, it takes it away, and ends.
    fn parent(&self) -> Option<u32> {
        let main = self.state.task.filter(|task| proc::find(task).is_some())?;
        Stat::read(main.pid).map(|main| main.parent)
    }

    /// Kills all processes that are there now, except this one. Blocks.
    fn kill_once(&self, obstinate: bool, except: Option<u32>) {
        if self.groups != Groups::None {
            if self.room.owns_group(self.groups.main(), self.entry.name) {
                self.groups.kill_once(obstinate, except);
            }
            return;
        }
        for pid in self.processes().into_iter().filter(|pid| Some(*pid) != except) {
            if let Some(process) = proc::open(pid) {
                let _ = sys::send_signal(process.as_fd(), KILL);
            }
        }
    }

    /// Where keepers of such tasks live.
    pub(crate) fn keepers(&self) -> Vec<(bool, PathBuf)> {
        let like = match &self.groups {
            Groups::None => Cgroup::None,
            Groups::V2(path) => Cgroup::V2(self.agents.as_ref().unwrap_or(path).clone()),
            Groups::V1(_) => Cgroup::V1 { name: PathBuf::new(), cpuset: PathBuf::new() },
        };
        self.room.hierarchies().map(|hierarchies| keepers::directories(&like, hierarchies)).unwrap_or_default()
    }
}

/// See [`Task::kill`].
pub(crate) async fn kill(facts: &Arc<Facts>, within: Duration) -> Result<(), KillError> {
    let until = Instant::now() + within;
    let mut pause = Duration::from_millis(1);
    let mut rounds = 0;
    let spared_until = Instant::now() + LAST_WORD.min(within / 2);
    loop {
        let here = Arc::clone(facts);
        let obstinate = rounds >= ROUNDS;
        let killing = tokio::task::spawn_blocking(move || {
            if !here.processes().is_empty() {
                // Its init ends by itself with the main process, and what else is in there with it.
                let init = here.parent().filter(|_| Instant::now() < spared_until);
                here.kill_once(obstinate, init);
            }
            let mut left = here.processes();
            left.truncate(NAMED);
            if left.is_empty()
                && let Some(path) = here.groups.main()
                && here.room.owns_group(Some(path), here.entry.name)
            {
                cgroup::remove_below(path);
            }
            left
        });
        let left =
            killing.await.map_err(|e| KillError::Step(StepError::text("killing the task", "", e.to_string())))?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(KillError::Left { left, within });
        }
        rounds += 1;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// A failure of something that has no step of its own.
pub(crate) fn step(step: &str, what: impl Into<String>, e: &io::Error) -> StepError {
    match Errno::from_io_error(e) {
        Some(errno) => StepError::errno(step, what, errno),
        None => StepError::text(step, what, e.to_string()),
    }
}

//! The start in two phases: the task is made and held until its state stands on disk; only then it may go. Until then a plugin that goes
//! away takes the start with it. From then on its program may have done something, so whoever comes next finds the task instead.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use yurt_keeper::answer::Say;
use yurt_keeper::{Failed, Identity, PROTOCOL, Started, State, Step, names};

use crate::child::Word;
use crate::failure::{During as _, Failure, Outcome};
use crate::plan::Plan;
use crate::sys::{self, Cloned};
use crate::{child, entry, namespaces, proc, wire};

/// A task that runs.
pub(crate) struct Launched {
    /// The main process.
    pub(crate) pidfd: OwnedFd,
    /// Our child: the task itself, or init.
    pub(crate) child: i32,
    /// From init: how the task ended.
    pub(crate) link: Option<OwnedFd>,
    pub(crate) listener: OwnedFd,
    pub(crate) state: State,
    /// What its root directory was before it could change it, where that is one of its own.
    pub(crate) root: Option<OwnedFd>,
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Starts the task and tells the plugin. Of a start that fails nothing is left.
pub(crate) fn launch(plan: &Plan, plugin: &OwnedFd, signals: &OwnedFd) -> Outcome<Launched> {
    let listener = entry::listener(&plan.entry)?;
    let time = if plan.start.private_time { namespaces::begin_time() } else { Ok(()) };
    let begun = time.and_then(|()| make(plan, plugin, signals));
    if begun.is_err() {
        entry::remove(&plan.entry, names::STATE);
        entry::remove(&plan.entry, names::SOCKET);
    }
    let Begun { child, pidfd, link, state, root } = begun?;
    Ok(Launched { pidfd, child, link, listener, state, root })
}

struct Begun {
    child: i32,
    pidfd: OwnedFd,
    link: Option<OwnedFd>,
    state: State,
    root: Option<OwnedFd>,
}

/// A group in which all were once killed by `cgroup.kill` may be one in which nobody can be born any more: the kernel kills who is, on
/// arrival (seen on Linux 6.18). An agent uses a group again for the next start of a task. So whoever dies so gets a second life, from
/// which the group is entered as from outside.
fn make(plan: &Plan, plugin: &OwnedFd, signals: &OwnedFd) -> Outcome<Begun> {
    let born_there = plan.groups.unified().is_some();
    match attempt(plan, plugin, signals, born_there) {
        Ok(begun) => Ok(begun),
        Err(Stillborn { killed: true, .. }) if born_there => {
            attempt(plan, plugin, signals, false).map_err(|why| why.failure)
        }
        Err(why) => Err(why.failure),
    }
}

/// A new process that did not become the task.
struct Stillborn {
    failure: Failure,
    /// By `SIGKILL`, before its first word.
    killed: bool,
}

impl From<Failure> for Stillborn {
    fn from(failure: Failure) -> Stillborn {
        Stillborn { failure, killed: false }
    }
}

fn attempt(plan: &Plan, plugin: &OwnedFd, signals: &OwnedFd, born_there: bool) -> Result<Begun, Stillborn> {
    let oom_before = plan.groups.oom_kills();
    let (report, theirs) = wire::pair()?;
    let (link, init_s) = wire::pair()?;
    let private_pid = plan.start.private_pid;
    let unified = plan.groups.unified().filter(|_| born_there);
    let (cloned, born_there) = match unified.map(|dir| sys::clone(private_pid, Some(dir.as_fd()))) {
        Some(Ok(cloned)) => (Ok(cloned), true),
        // The child enters the group itself, which also says best what is wrong with it.
        Some(Err(_)) | None => (sys::clone(private_pid, None), false),
    };
    let (child, pidfd) = match cloned.during(Step::Clone, "clone3")? {
        Cloned::Child => {
            drop((report, link));
            child::run(plan, born_there, &theirs, init_s)
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((theirs, init_s));
    let talk = Talk { plan, plugin, signals, report, link };
    match talk.begin(child, &pidfd, oom_before) {
        Ok((main, state, root)) => {
            let (pidfd, link) = main.map_or((pidfd, None), |main| (main, Some(talk.link)));
            Ok(Begun { child, pidfd, link, state, root })
        }
        Err(failure) => {
            let _ = sys::send_signal(pidfd.as_fd(), libc::SIGKILL);
            let status = sys::wait_for(child);
            let silent = failure.0 == Failed::default();
            let killed = silent
                && status.is_some_and(|status| libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL);
            Err(Stillborn { failure: if silent { died(plan, status, oom_before) } else { failure }, killed })
        }
    }
}

/// The new process ended before it could say why.
fn died(plan: &Plan, status: Option<i32>, oom_before: u64) -> Failure {
    let how = match status {
        Some(status) if libc::WIFSIGNALED(status) => format!("by signal {}", libc::WTERMSIG(status)),
        Some(status) => format!("with code {}", libc::WEXITSTATUS(status)),
        None => "unseen".to_owned(),
    };
    let why = if plan.groups.oom_kills() > oom_before { ": its memory was used up" } else { "" };
    Failure::new(Step::Clone, format_args!("the new process ended {how} before it was ready{why}"))
}

/// Everybody who has something to say during a start.
struct Talk<'a> {
    plan: &'a Plan,
    plugin: &'a OwnedFd,
    signals: &'a OwnedFd,
    report: OwnedFd,
    link: OwnedFd,
}

impl Talk<'_> {
    /// From the new process' first word to the plugin's answer. The main process' pidfd comes back where init is its parent.
    fn begin(
        &self,
        child: i32,
        pidfd: &OwnedFd,
        oom_before: u64,
    ) -> Outcome<(Option<OwnedFd>, State, Option<OwnedFd>)> {
        let mut word = self.heard_for_plugin()?;
        if word == Word::Unmapped {
            namespaces::map_users(child, &self.report)?;
            word = self.heard_for_plugin()?;
        }
        let Word::Ready(read_only) = word else { return Err(Failure(Failed::default())) };
        let main = self.plan.with_init().then(|| self.main_process()).transpose()?;
        let (pidfd, pid) = main.as_ref().map_or((pidfd, child), |(main, pid)| (main, *pid));
        let state = State { read_only, ..state(self.plan, proc::identity(pidfd.as_fd(), pid), oom_before) };
        let root = self.plan.root.as_ref().map(|_| root_of(pid)).transpose()?;
        entry::write(&self.plan.entry, names::STATE, &state).during(Step::State, names::STATE)?;
        wire::send(&self.report, b"G", &[]).during(Step::Execute, "the new process is gone")?;
        // Its end of the socket is closed by `execve`.
        if self.heard()? != Word::Gone {
            return Err(Failure::new(Step::Execute, "the new process said more than it should"));
        }
        let started = Started { keeper: state.keeper, task: state.task, at: state.started_at };
        // Whether it is still there or not.
        let _ = wire::say(self.plugin, Say::Started(started), &[pidfd.as_fd()]);
        Ok((main.map(|(main, _)| main), state, root))
    }

    /// What the new process says as long as there is a plugin. Without one nobody would ever know of the task: the start is given up.
    fn heard_for_plugin(&self) -> Outcome<Word> {
        self.heard_while(Some(self.plugin))
    }

    /// What the new process says.
    fn heard(&self) -> Outcome<Word> {
        self.heard_while(None)
    }

    /// The start is given up, too, when the keeper is asked to end.
    fn heard_while(&self, plugin: Option<&OwnedFd>) -> Outcome<Word> {
        loop {
            let plugin = plugin.map(|plugin| PollFd::from_borrowed_fd(plugin.as_fd(), PollFlags::RDHUP));
            let mut fds: Vec<_> = [
                PollFd::from_borrowed_fd(self.report.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ]
            .into_iter()
            .chain(plugin)
            .collect();
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                other => other.during(Step::Clone, "waiting for the new process")?,
            };
            let spoke = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
            let (from_child, from_outside, from_plugin) = (spoke(0), spoke(1), spoke(2));
            if from_plugin {
                return Err(Failure::new(Step::Record, "the plugin is gone"));
            }
            while from_outside && let Some(signal) = sys::next_signal(self.signals.as_fd()) {
                if signal == libc::SIGTERM {
                    return Err(Failure::new(Step::Session, "the keeper was asked to end"));
                }
            }
            if from_child {
                let (bytes, _) = wire::receive(&self.report).during(Step::Clone, "the new process")?;
                return child::word(&bytes);
            }
        }
    }

    /// What init says of its child.
    fn main_process(&self) -> Outcome<(OwnedFd, i32)> {
        let (_, mut with) = wire::receive(&self.link).during(Step::Init, "its word")?;
        let Some(main) = with.pop() else {
            // It is gone. Why, if it knew, it has reported where all do.
            self.heard()?;
            return Err(Failure(Failed::default()));
        };
        let pid = proc::pid_of(main.as_fd()).ok_or_else(|| Failure::new(Step::Init, "the task's process is gone"))?;
        Ok((main, pid))
    }
}

/// Where its root could not be pivoted to, that of its mount namespace is another.
fn root_of(pid: i32) -> Outcome<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).during(Step::Root, path)
}

fn state(plan: &Plan, task: Identity, oom_before: u64) -> State {
    let start = &plan.start;
    State {
        protocol: PROTOCOL,
        id: start.id.clone(),
        boot_id: yurt_keeper::boot_id().unwrap_or_default(),
        keeper: Some(proc::own_identity()),
        task: Some(task),
        started_at: now(),
        cgroups: start.cgroups.clone(),
        controllers: start.controllers.clone(),
        oom_before,
        request: start.request.clone(),
        memo: start.memo.clone(),
        private_pid: start.private_pid,
        private_root: plan.root.is_some(),
        read_only: None,
    }
}

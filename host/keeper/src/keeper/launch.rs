//! The start in two phases: the task is made and held until its state stands on disk; only then it may go.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;
use rustix::event::{PollFd, PollFlags, poll};
use yurt_keeper::answer::Say;
use yurt_keeper::{Failed, Identity, PROTOCOL, Started, State, Step, names};

use crate::failure::{During as _, Failure, Outcome};
use crate::plan::Plan;
use crate::sys::{self, Cloned};
use crate::{cgroup, child, entry, proc, wire};

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
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Starts the task and tells the plugin. Of a start that fails nothing is left.
pub(crate) fn launch(plan: &Plan, plugin: BorrowedFd<'_>) -> Outcome<Launched> {
    let listener = entry::listener(&plan.entry)?;
    let (report, theirs) = child::pair()?;
    let (link, init_s) = child::pair()?;
    let flags = namespaces(plan);
    let cloned = match sys::clone(flags, plan.cgroup_v2.as_ref().map(|dir| dir.as_fd())) {
        Ok(cloned) => cloned,
        Err(why) => return Err(why).during(Step::Clone, "clone3"),
    };
    let (pid, pidfd) = match cloned {
        Cloned::Child => {
            drop((report, link));
            child::run(plan, theirs, Some(init_s))
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((theirs, init_s));
    let begun = begin(plan, plugin, &report, &link, (pid, pidfd));
    match begun {
        Ok((pidfd, state)) => {
            let link = plan.with_init().then_some(link);
            Ok(Launched { pidfd, child: pid, link, listener, state })
        }
        Err(why) => {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            }
            entry::remove(&plan.entry, names::STATE);
            entry::remove(&plan.entry, names::SOCKET);
            Err(why)
        }
    }
}

fn namespaces(plan: &Plan) -> i32 {
    let start = &plan.start;
    [
        (plan.isolated(), libc::CLONE_NEWNS),
        (start.private_pid, libc::CLONE_NEWPID),
        (start.private_ipc, libc::CLONE_NEWIPC),
        (start.private_uts, libc::CLONE_NEWUTS),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(0, |flags, (_, flag)| flags | flag)
}

fn begin(
    plan: &Plan,
    plugin: BorrowedFd<'_>,
    report: &OwnedFd,
    link: &OwnedFd,
    (pid, pidfd): (i32, OwnedFd),
) -> Outcome<(OwnedFd, State)> {
    let ready = reported(plugin, report)?;
    if ready.is_none() {
        return Err(Failure::new(Step::Clone, "the new process ended without a word"));
    }
    let (task, main) = if plan.with_init() {
        let (_, mut with) = wire::receive(link.as_fd()).during(Step::Init, "its word")?;
        let main = with.pop().ok_or_else(|| Failure::new(Step::Init, "it did not say which process the task is"))?;
        let pid = proc::pid_of(main.as_fd()).ok_or_else(|| Failure::new(Step::Init, "the task's process is gone"))?;
        (proc::identity(main.as_fd(), pid), main)
    } else {
        (proc::identity(pidfd.as_fd(), pid), pidfd)
    };
    let state = state(plan, task);
    entry::write(&plan.entry, names::STATE, &state).during(Step::State, names::STATE)?;
    wire::send(report.as_fd(), b"G", &[]).during(Step::Execute, "the new process is gone")?;
    if reported(plugin, report)?.is_some() {
        return Err(Failure::new(Step::Execute, "the new process said more than it should"));
    }
    let started = Started { keeper: state.keeper, task: state.task, at: state.started_at };
    wire::say(plugin, Say::Started(started), &[main.as_fd()]).during(Step::Record, "the plugin is gone")?;
    Ok((main, state))
}

/// What the new process says next; none when its end of the socket is closed, which `execve` does. A plugin that goes away meanwhile
/// would never know of the task: it is a failure.
fn reported(plugin: BorrowedFd<'_>, report: &OwnedFd) -> Outcome<Option<()>> {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(report.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(plugin, PollFlags::RDHUP),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.during(Step::Clone, "waiting for the new process")?,
        };
        let [from_child, from_plugin] = &fds;
        if !from_plugin.revents().is_empty() {
            return Err(Failure::new(Step::Record, "the plugin is gone"));
        }
        if from_child.revents().is_empty() {
            continue;
        }
        let (bytes, _) = wire::receive(report.as_fd()).during(Step::Clone, "the new process")?;
        return match bytes.split_first() {
            None => Ok(None),
            Some((&child::READY, _)) => Ok(Some(())),
            Some((_, failed)) => Err(Failure(Failed::decode(failed).unwrap_or_default())),
        };
    }
}

fn state(plan: &Plan, task: Identity) -> State {
    let start = &plan.start;
    State {
        protocol: PROTOCOL,
        id: start.id.clone(),
        boot_id: proc::boot_id(),
        keeper: Some(proc::own_identity()),
        task: Some(task),
        started_at: now(),
        cgroups: start.cgroups.clone(),
        controllers: start.controllers.clone(),
        oom_before: cgroup::oom_kills(plan),
        request: start.request.clone(),
        memo: start.memo.clone(),
        private_pid: start.private_pid,
        private_root: plan.isolated(),
    }
}

//! A command in the task: its namespaces, its control groups, its privileges, its environment.
//!
//! Its process is our child, born into the task's process ids: for a moment those are the ones that our children get. All else it does
//! to itself, and all that may take long in a task that is frozen, or hostile, is waited for by nobody here.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Pid, Signal, chroot, fchdir, getpid, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces};
use yurt_keeper::{Exec, Stat, Step};

use crate::cgroup::Own;
use crate::failure::{During as _, Failure, Outcome};
use crate::plan::Plan;
use crate::sys::{self, Cloned};
use crate::{child, wire};

/// Between two rounds of killing.
const ROUND: Duration = Duration::from_millis(10);
/// So many rounds in this pace; then in that of [`LEFT`].
const ROUNDS: u32 = 200;
/// How often a group is looked at in which something was left in the background.
const LEFT: Duration = Duration::from_secs(5);

/// A command, from its first moment until nothing of it is left that is ours to remove.
pub(crate) struct Command {
    /// Whose connection it came over; none: nobody's any more.
    pub(crate) owner: Option<u64>,
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    own: Option<Own>,
    /// Open until the program runs.
    report: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    /// Its process was waited for.
    ended: bool,
    /// It is to be killed: rounds so far.
    doomed: Option<u32>,
    next: Instant,
}

/// News of one that was being started.
pub(crate) enum News {
    None,
    /// It runs, perhaps on a terminal.
    Started(Option<OwnedFd>),
    Failed(Failure),
}

impl Command {
    /// Begins to start one, under a number of its own, for a connection.
    pub(crate) fn start(
        plan: &Plan,
        task: &OwnedFd,
        exec: &Exec,
        streams: &[OwnedFd],
        (number, owner): (u64, u64),
    ) -> Outcome<Command> {
        checked(exec, streams)?;
        let own = Own::make(&plan.groups, number)?;
        let (report, theirs) = wire::pair()?;
        ioctl_fionbio(&report, true).during(Step::Clone, "a socket pair")?;
        match clone(plan, task, own.as_ref())? {
            (Cloned::Child, born_there) => {
                drop(report);
                let failure = match become_command(plan, task, exec, streams, own.as_ref(), born_there, &theirs) {
                    Ok(()) => child::execute(&exec.argv, &environment(&plan.start.env, &exec.env)),
                    Err(failure) => failure,
                };
                child::give_up(&theirs, failure)
            }
            (Cloned::Parent { pid, pidfd }, _) => Ok(Command {
                owner: Some(owner),
                pid,
                pidfd,
                own,
                report: Some(report),
                terminal: None,
                ended: false,
                doomed: None,
                next: Instant::now(),
            }),
        }
    }

    /// What to poll while it is being started.
    pub(crate) fn report(&self) -> Option<&OwnedFd> {
        self.report.as_ref()
    }

    /// What it has reported.
    pub(crate) fn news(&mut self) -> News {
        while let Some(report) = &self.report {
            match wire::receive(report) {
                Err(Errno::AGAIN) => return News::None,
                Ok((bytes, mut with)) if bytes.first() == Some(&child::TERMINAL) => self.terminal = with.pop(),
                Ok((bytes, _)) => {
                    self.report = None;
                    return match child::word(&bytes) {
                        Ok(_) => News::Started(self.terminal.take()),
                        Err(failure) => News::Failed(failure),
                    };
                }
                Err(why) => {
                    self.report = None;
                    return Err::<(), _>(why)
                        .during(Step::Clone, "its report")
                        .map_or_else(News::Failed, |()| News::None);
                }
            }
        }
        News::None
    }

    /// Its process has ended. What it left running in the background may go on.
    pub(crate) fn ended(&mut self) {
        self.ended = true;
        self.next = Instant::now();
    }

    /// Kills it and everything it started, now and until nothing is left.
    pub(crate) fn kill(&mut self) {
        self.doomed.get_or_insert(0);
        self.next = Instant::now();
    }

    /// Its owner is gone.
    pub(crate) fn abandoned(&mut self) {
        self.owner = None;
        if self.ended { self.next = Instant::now() } else { self.kill() }
    }

    /// When [`Command::is_over`] should be asked again.
    pub(crate) fn next(&self) -> Option<Instant> {
        (self.doomed.is_some() || self.ended).then_some(self.next)
    }

    /// Goes on killing if it is time. True: nothing is left of it that is ours to look after.
    pub(crate) fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if self.next().is_none_or(|next| now < next) {
            return false;
        }
        self.next = now + LEFT;
        let mut found = false;
        if let Some(rounds) = &mut self.doomed {
            *rounds += 1;
            self.next = now + if *rounds < ROUNDS { ROUND } else { LEFT };
            if !self.ended {
                let _ = sys::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            }
            match &self.own {
                Some(own) => own.kill(),
                None => found = kill_tree(self.pid),
            }
        }
        // Without a group nothing tells what was left in the background, so that it can be killed as long as somebody may ask for it.
        let left = self.own.as_ref().map_or(self.owner.is_some() && self.doomed.is_none(), |own| !own.remove());
        self.ended && !found && !left
    }
}

fn checked(exec: &Exec, streams: &[OwnedFd]) -> Outcome<()> {
    if streams.len() != if exec.tty { 0 } else { 3 } {
        let why = format!("{} descriptors came with the command", streams.len());
        return Err(Failure::new(Step::Streams, why));
    }
    if exec.argv.first().is_none_or(Vec::is_empty) {
        return Err(Failure::new(Step::Lookup, "there is no program"));
    }
    if exec.argv.iter().chain(&exec.env).any(|text| text.contains(&0)) {
        return Err(Failure::new(Step::Record, "an argument or a variable holds a NUL"));
    }
    Ok(())
}

/// Makes the process, among the task's process ids, in its own group of version 2; says whether the latter came about.
fn clone(plan: &Plan, task: &OwnedFd, own: Option<&Own>) -> Outcome<(Cloned, bool)> {
    let back = plan.start.private_pid.then(|| {
        let ours = rustix::fs::open("/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let ours = ours.during(Step::Join, "our own process ids")?;
        move_into_thread_name_spaces(task.as_fd(), ThreadNameSpaceType::PROCESS_ID)
            .during(Step::Join, "the task's process ids")?;
        Ok(ours)
    });
    let back = back.transpose()?;
    let cloned = match own.and_then(Own::unified).map(|dir| sys::clone(false, Some(dir))) {
        Some(Ok(cloned)) => Ok((cloned, true)),
        Some(Err(_)) | None => sys::clone(false, None).map(|cloned| (cloned, false)),
    };
    if let Some(ours) = &back
        && !matches!(cloned, Ok((Cloned::Child, _)))
    {
        move_into_link_name_space(ours.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .during(Step::Join, "our own process ids")?;
    }
    cloned.during(Step::Clone, "the command's process")
}

fn become_command(
    plan: &Plan,
    task: &OwnedFd,
    exec: &Exec,
    streams: &[OwnedFd],
    own: Option<&Own>,
    born_there: bool,
    report: &OwnedFd,
) -> Outcome<()> {
    let start = &plan.start;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    plan.groups.enter(own, born_there)?;
    child::oom_score(start.oom_score_adj)?;
    let kinds = [
        (start.isolation() != yurt_keeper::Isolation::None, ThreadNameSpaceType::MOUNT),
        (start.private_ipc, ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
        (start.private_uts, ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
        (start.private_cgroup, ThreadNameSpaceType::CONTROL_GROUP),
        (plan.network.is_some(), ThreadNameSpaceType::NETWORK),
    ];
    let kinds: ThreadNameSpaceType = kinds.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect();
    if !kinds.is_empty() {
        move_into_thread_name_spaces(task.as_fd(), kinds).during(Step::Join, "setns")?;
    }
    if let Some(root) = &plan.root {
        fchdir(root).and_then(|()| chroot(".")).during(Step::Join, "the task's root directory")?;
    }
    child::limits(&start.limits)?;
    child::session()?;
    if exec.tty {
        terminal(plan, exec, report)?;
    } else {
        for (number, stream) in (0..).zip(streams) {
            sys::put_at(stream.as_fd(), number).during(Step::Streams, number)?;
        }
    }
    if start.private_user {
        // Last: in there it can do nothing of the above.
        move_into_thread_name_spaces(task.as_fd(), ThreadNameSpaceType::USER)
            .during(Step::Join, "the task's user namespace")?;
    }
    child::settle(plan)
}

/// A new terminal of the task's own `/dev/pts`, which becomes the controlling one; its other end goes to the keeper.
fn terminal(plan: &Plan, exec: &Exec, report: &OwnedFd) -> Outcome<()> {
    let ptmx = "/dev/ptmx";
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).during(Step::Terminal, ptmx)?;
    unlockpt(&ours).during(Step::Terminal, ptmx)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags).during(Step::Terminal, ptmx)?;
    let cells = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    if exec.rows > 0 && exec.columns > 0 {
        let size = Winsize { ws_row: cells(exec.rows), ws_col: cells(exec.columns), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).during(Step::Terminal, "its size")?;
    }
    if plan.privileges.change {
        let owner = Some(Uid::from_raw(plan.privileges.uid));
        rustix::fs::fchown(&theirs, owner, None::<Gid>).during(Step::Terminal, "its owner")?;
    }
    rustix::process::ioctl_tiocsctty(&theirs).during(Step::Terminal, "controlling")?;
    for number in 0..3 {
        sys::put_at(theirs.as_fd(), number).during(Step::Terminal, number)?;
    }
    wire::send(report, &[child::TERMINAL], &[ours.as_fd()]).during(Step::Terminal, "the keeper is gone")
}

/// The task's environment with `more` laid over it.
fn environment(base: &[Vec<u8>], more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let name = |variable: &[u8]| variable.split(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
    let replaced: Vec<Vec<u8>> = more.iter().map(|variable| name(variable)).collect();
    base.iter().filter(|variable| !replaced.contains(&name(variable))).chain(more).cloned().collect()
}

/// Without control groups: kills those of our descendants that are in the session of a command or below its process. Whether there
/// were any.
fn kill_tree(command: i32) -> bool {
    let processes = Stat::all();
    let (command, ours) = (command.unsigned_abs(), getpid().as_raw_pid().unsigned_abs());
    let parent = |of: u32| processes.get(&of).map(|process| process.parent);
    // A process that has ended meanwhile may break the chain, not bend it to a stranger: every link was read just now.
    let above = |pid: u32| std::iter::successors(Some(pid), |pid| parent(*pid)).skip(1).take(processes.len());
    let mut found = false;
    for (pid, process) in &processes {
        let of_it = process.session == command || above(*pid).any(|pid| pid == command);
        if of_it && above(*pid).any(|pid| pid == ours) {
            found = true;
            let _ = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
    found
}

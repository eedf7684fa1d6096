//! A command in the task: its namespaces, its control groups, its privileges, its environment. A helper joins the namespaces and makes
//! the process as a child of the keeper, because who changes its own process id namespace changes it for its children only.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use prost::Message as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, Uid};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::termios::Winsize;
use rustix::thread::ThreadNameSpaceType;
use yurt_keeper::{Exec, Failed, Step};

use crate::cgroup::{self, Own};
use crate::failure::{During as _, Failure, Outcome};
use crate::launch::Launched;
use crate::plan::Plan;
use crate::sys::{self, Cloned};
use crate::{child, wire};

/// Longest that making a command may take; a frozen task takes for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// A command that runs.
pub(crate) struct Command {
    pub(crate) pid: i32,
    pub(crate) own: Option<Own>,
}

impl Command {
    /// Kills it and everything it started.
    pub(crate) fn kill(&self) {
        match &self.own {
            Some(own) => own.kill(),
            None => {
                if let Some(group) = Pid::from_raw(self.pid) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
            }
        }
    }
}

/// Starts a command. With a terminal its other end comes back.
pub(crate) fn start(
    plan: &Plan,
    task: &Launched,
    exec: &Exec,
    streams: &[OwnedFd],
    number: u64,
) -> Outcome<(Command, Option<OwnedFd>)> {
    if !exec.tty && streams.len() != 3 {
        return Err(Failure::new(Step::Streams, "three descriptors must come with a command"));
    }
    if exec.argv.first().is_none_or(Vec::is_empty) {
        return Err(Failure::new(Step::Lookup, "there is no program"));
    }
    let own = Own::make(plan, number)?;
    let made = make(plan, task, exec, streams, own.as_ref());
    match made {
        Ok((pid, terminal)) => Ok((Command { pid, own }, terminal)),
        Err(why) => {
            if let Some(own) = own {
                own.kill();
                own.remove();
            }
            Err(why)
        }
    }
}

fn make(
    plan: &Plan,
    task: &Launched,
    exec: &Exec,
    streams: &[OwnedFd],
    own: Option<&Own>,
) -> Outcome<(i32, Option<OwnedFd>)> {
    let (report, theirs) = child::pair()?;
    let helper = match sys::clone(0, None).during(Step::Clone, "a helper")? {
        Cloned::Child => {
            drop(report);
            let Err(Failure(failed)) = help(plan, task, exec, streams, own, &theirs);
            let mut bytes = vec![child::FAILED];
            bytes.extend(failed.encode_to_vec());
            let _ = wire::send(theirs.as_fd(), &bytes, &[]);
            sys::exit_now(127)
        }
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    drop(theirs);
    let until = Instant::now() + PATIENCE;
    let (mut pid, mut terminal) = (None, None);
    loop {
        let heard = heard(&report, until);
        if heard.is_err() {
            let _ = rustix::process::pidfd_send_signal(&helper, Signal::KILL);
        }
        let (bytes, mut with) = heard?;
        match bytes.split_first() {
            Some((b'P', number)) => pid = number.try_into().ok().map(i32::from_le_bytes),
            Some((b'T', _)) => terminal = with.pop(),
            Some((_, failed)) => return Err(Failure(Failed::decode(failed).unwrap_or_default())),
            None => break,
        }
    }
    let pid = pid.ok_or_else(|| Failure::new(Step::Clone, "the helper ended without a word"))?;
    Ok((pid, terminal))
}

fn heard(report: &OwnedFd, until: Instant) -> Outcome<(Vec<u8>, Vec<OwnedFd>)> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let mut fds = [PollFd::from_borrowed_fd(report.as_fd(), PollFlags::IN)];
    match poll(&mut fds, Some(&left)) {
        Ok(0) => Err(Failure::new(Step::Join, format_args!("no answer within {PATIENCE:?}"))),
        _ => wire::receive(report.as_fd()).during(Step::Join, "the helper"),
    }
}

/// The helper: in the task's namespaces it makes the command's process, and ends.
fn help(
    plan: &Plan,
    task: &Launched,
    exec: &Exec,
    streams: &[OwnedFd],
    own: Option<&Own>,
    report: &OwnedFd,
) -> Outcome<std::convert::Infallible> {
    let own_v1 = own.filter(|own| !own.is_v2());
    for (dir, name) in plan.cgroups_v1.iter().zip(&plan.start.controllers) {
        let dir = own_v1.filter(|_| name == "freezer").map_or(dir, |own| &own.dir);
        cgroup::enter(dir.as_fd(), name)?;
    }
    let start = &plan.start;
    let kinds = [
        (plan.isolated(), ThreadNameSpaceType::MOUNT),
        (start.private_pid, ThreadNameSpaceType::PROCESS_ID),
        (start.private_ipc, ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
        (start.private_uts, ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
        (plan.network.is_some(), ThreadNameSpaceType::NETWORK),
    ];
    let kinds =
        kinds.into_iter().filter(|(wanted, _)| *wanted).fold(ThreadNameSpaceType::empty(), |all, (_, kind)| all | kind);
    if !kinds.is_empty() {
        rustix::thread::move_into_thread_name_spaces(task.pidfd.as_fd(), kinds).during(Step::Join, "setns")?;
    }
    let v2 = own.filter(|own| own.is_v2()).map(|own| own.dir.as_fd());
    match sys::clone(libc::CLONE_PARENT, v2).during(Step::Clone, "the command's process")? {
        Cloned::Parent { pid, .. } => {
            let word = [b"P".as_slice(), &pid.to_le_bytes()].concat();
            let _ = wire::send(report.as_fd(), &word, &[]);
            sys::exit_now(0)
        }
        Cloned::Child => become_command(plan, exec, streams, report),
    }
}

fn become_command(
    plan: &Plan,
    exec: &Exec,
    streams: &[OwnedFd],
    report: &OwnedFd,
) -> Outcome<std::convert::Infallible> {
    child::limits(&plan.start.limits, plan.start.oom_score_adj)?;
    child::session()?;
    if exec.tty {
        terminal(plan, exec, report.as_fd())?;
    } else {
        for (number, stream) in (0..).zip(streams) {
            sys::put_at(stream.as_fd(), number).during(Step::Streams, number)?;
        }
    }
    child::privileges(&plan.privileges)?;
    child::work_dir(&plan.start.work_dir)?;
    Err(child::execute(&exec.argv, &environment(&plan.start.env, &exec.env)))
}

/// A new terminal of the task's own `/dev/pts`, which becomes the controlling one; its other end goes to the keeper.
fn terminal(plan: &Plan, exec: &Exec, report: BorrowedFd<'_>) -> Outcome<()> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    let failed = "/dev/ptmx";
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).during(Step::Terminal, failed)?;
    unlockpt(&ours).during(Step::Terminal, failed)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags).during(Step::Terminal, failed)?;
    let cells = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    if exec.rows > 0 && exec.columns > 0 {
        let size = Winsize { ws_row: cells(exec.rows), ws_col: cells(exec.columns), ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&theirs, size).during(Step::Terminal, "its size")?;
    }
    if plan.privileges.change {
        let owner = Some(Uid::from_raw(plan.privileges.uid));
        rustix::fs::fchown(&theirs, owner, None::<Gid>).during(Step::Terminal, "its owner")?;
    }
    rustix::process::ioctl_tiocsctty(&theirs).during(Step::Terminal, "controlling")?;
    for number in 0..3 {
        sys::put_at(theirs.as_fd(), number).during(Step::Terminal, number)?;
    }
    wire::send(report, b"T", &[ours.as_fd()]).during(Step::Terminal, "the keeper is gone")
}

/// The task's environment with `more` laid over it.
fn environment(base: &[Vec<u8>], more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let name = |variable: &[u8]| variable.split(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
    let replaced: Vec<Vec<u8>> = more.iter().map(|variable| name(variable)).collect();
    base.iter().filter(|variable| !replaced.contains(&name(variable))).chain(more).cloned().collect()
}

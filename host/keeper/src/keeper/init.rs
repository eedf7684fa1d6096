//! Process 1 of a task's process id namespace: has the task as its child, passes on the signals that it gets itself, reaps what others
//! leave, and ends with the task, which ends everything else in there.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use yurt_keeper::Step;

use crate::child;
use crate::failure::{During as _, Outcome};
use crate::plan::Plan;
use crate::sys::{self, Cloned, Ended};
use crate::wire;

/// Makes the task's process. Returns in it; the caller itself goes on as init and does not return.
pub(crate) fn start(plan: &Plan, link: OwnedFd) -> Outcome<()> {
    let signals = sys::signals().during(Step::Init, "its signals")?;
    match sys::clone(0, None).during(Step::Init, "the task's process")? {
        Cloned::Child => Ok(()),
        Cloned::Parent { pid, pidfd } => {
            wire::send(link.as_fd(), b"P", &[pidfd.as_fd()]).during(Step::Init, "the keeper is gone")?;
            child::privileges(&plan.privileges)?;
            // The report's other end must see its end when the program runs, and nothing of the task's own is init's business.
            sys::keep_only(&[link.as_fd(), signals.as_fd()]);
            serve(pid, &link, signals.as_fd())
        }
    }
}

fn serve(task: i32, link: &OwnedFd, signals: BorrowedFd<'_>) -> ! {
    let pid = rustix::process::Pid::from_raw(task);
    loop {
        let _ = poll(&mut [PollFd::from_borrowed_fd(signals, PollFlags::IN)], None);
        while let Some(number) = sys::next_signal(signals) {
            if number != libc::SIGCHLD
                && let Some(pid) = pid
                && let Some(signal) = rustix::process::Signal::from_named_raw(number)
            {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
        while let Some(ended) = sys::reap() {
            if ended.pid == task {
                let _ = wire::send(link.as_fd(), &encoded(&ended), &[]);
                sys::exit_now(0);
            }
        }
    }
}

/// How the task ended, for the keeper: five numbers of eight bytes.
fn encoded(ended: &Ended) -> Vec<u8> {
    let numbers = [ended.status as u64, ended.user_micros, ended.system_micros, ended.max_rss_kib];
    std::iter::once(b'X').chain(numbers.into_iter().flat_map(u64::to_le_bytes)).collect()
}

/// Reads [`encoded`] again.
pub(crate) fn decoded(bytes: &[u8]) -> Option<Ended> {
    let (b'X', numbers) = bytes.split_first()? else { return None };
    let mut numbers = numbers.chunks_exact(8).filter_map(|eight| Some(u64::from_le_bytes(eight.try_into().ok()?)));
    Some(Ended {
        pid: 0,
        status: numbers.next()? as i32,
        user_micros: numbers.next()?,
        system_micros: numbers.next()?,
        max_rss_kib: numbers.next()?,
    })
}

//! Process 1 of a task's process id namespace: has the task as its child, passes on the signals that it gets itself, reaps what others
//! leave, and ends with the task, which ends everything else in there.

use std::os::fd::{AsFd as _, OwnedFd};

use prost::Message as _;
use rustix::event::{PollFd, PollFlags, poll};
use yurt_keeper::{Exit, Step};

use crate::failure::{During as _, Outcome};
use crate::plan::Plan;
use crate::sys::{self, Cloned};
use crate::{child, launch, wire};

/// Makes the task's process. Returns in it; the caller itself goes on as init and does not return, unless it fails.
pub(crate) fn start(plan: &Plan, link: &OwnedFd) -> Outcome<()> {
    let signals = sys::signals().during(Step::Init, "its signals")?;
    match sys::clone(false, None).during(Step::Init, "the task's process")? {
        Cloned::Child => Ok(()),
        Cloned::Parent { pid, pidfd } => {
            // It reads nothing from outside, but still it can do no more than the task.
            child::confine(plan)?;
            child::unreadable().during(Step::Init, "its memory")?;
            wire::send(link, b"P", &[pidfd.as_fd()]).during(Step::Init, "the keeper is gone")?;
            // The report's other end must see its end when the program runs, and nothing of the task's own is init's business.
            sys::keep_only(&[link.as_fd(), signals.as_fd(), pidfd.as_fd()]);
            serve(pid, &pidfd, link, &signals)
        }
    }
}

fn serve(task: i32, pidfd: &OwnedFd, link: &OwnedFd, signals: &OwnedFd) -> ! {
    loop {
        let _ = poll(&mut [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)], None);
        while let Some(signal) = sys::next_signal(signals.as_fd()) {
            if signal != libc::SIGCHLD {
                let _ = sys::send_signal(pidfd.as_fd(), signal);
            }
        }
        while let Some(ended) = sys::peek() {
            if ended.pid == task {
                // Told while it can still be seen that it has ended: who kills all of a task spares init for so long.
                // A keeper that is gone does not hear it. With a time, since nothing but zeros would be an empty record.
                let exit = Exit { at: launch::now(), ..ended.exit() };
                let _ = wire::send(link, &exit.encode_to_vec(), &[]);
                sys::exit_now(0);
            }
            sys::wait_for(ended.pid);
        }
    }
}

/// What init says of the task's end; none: it is gone without a word.
pub(crate) fn last_word(link: &OwnedFd) -> Option<Exit> {
    let (bytes, _) = wire::receive(link).ok()?;
    if bytes.is_empty() { None } else { Exit::decode(bytes.as_slice()).ok() }
}

//! The keeper: stays with one task from before its first moment until nobody asks about it any more. It starts it, waits for it,
//! remembers how it ended, and runs commands in it. Plugins come and go; it does not notice.
//!
//! One thread, no runtime, no policy: everything was decided before it was started. See `yurt_keeper` for what it says and writes.

mod cgroup;
mod child;
mod command;
mod entry;
mod failure;
mod init;
mod launch;
mod logs;
mod plan;
mod proc;
mod root;
mod serve;
mod sys;
mod wire;

use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

use yurt_keeper::answer::Say;
use yurt_keeper::{START_FD, Step};

use crate::failure::{During as _, Failure, Outcome};
use crate::launch::Launched;
use crate::plan::Plan;

fn main() -> ExitCode {
    let Ok(socket) = sys::inherited(START_FD) else { return ExitCode::FAILURE };
    match begin(&socket) {
        Ok((plan, launched, signals)) => {
            drop(socket);
            serve::serve(plan, launched, signals);
            ExitCode::SUCCESS
        }
        Err(Failure(failed)) => {
            let _ = wire::say(socket.as_fd(), Say::Failed(failed), &[]);
            ExitCode::FAILURE
        }
    }
}

fn begin(socket: &OwnedFd) -> Outcome<(Plan, Launched, OwnedFd)> {
    sys::close_from(START_FD + 1);
    rustix::process::setsid().during(Step::Session, "setsid")?;
    rustix::process::chdir("/").during(Step::Session, "/")?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .during(Step::Session, "dumpable")?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).during(Step::Session, "subreaper")?;
    let signals = sys::signals().during(Step::Session, "signals")?;
    let plan = Plan::receive(socket.as_fd())?;
    if let Ok(name) = std::ffi::CString::new(plan.start.name.as_str())
        && !plan.start.name.is_empty()
    {
        let _ = rustix::thread::set_name(&name);
    }
    let launched = launch::launch(&plan, socket.as_fd())?;
    Ok((plan, launched, signals))
}

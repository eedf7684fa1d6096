//! The keeper: stays with one task from before its first moment until nobody asks about it any more. It starts it, waits for it,
//! remembers how it ended, and runs commands in it. Plugins come and go; it does not notice.
//!
//! One thread, no runtime, no policy: everything was decided before it was started. See `yurt_keeper` for what it says and writes.

mod cgroup;
mod child;
mod command;
mod entry;
mod failure;
mod host;
mod init;
mod launch;
mod logs;
mod namespaces;
mod plan;
mod proc;
mod root;
mod serve;
mod sys;
mod walk;
mod wire;

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

use rustix::io::Errno;
use rustix::process::{Pid, chdir, geteuid, set_child_subreaper, setsid};
use rustix::thread::set_name;
use yurt_keeper::answer::Say;
use yurt_keeper::{START_FD, Step};

use crate::failure::{During as _, Failure, Outcome};
use crate::launch::Launched;
use crate::plan::Plan;

fn main() -> ExitCode {
    let Ok(plugin) = sys::inherited(START_FD) else { return ExitCode::FAILURE };
    match begin(&plugin) {
        Ok((plan, launched, signals)) => {
            drop(plugin);
            serve::serve(plan, launched, signals);
            ExitCode::SUCCESS
        }
        Err(Failure(failed)) => {
            let _ = wire::say(&plugin, Say::Failed(failed), &[]);
            ExitCode::FAILURE
        }
    }
}

fn begin(plugin: &OwnedFd) -> Outcome<(Plan, Launched, OwnedFd)> {
    sys::close_from(START_FD + 1);
    match setsid() {
        // It leads one already.
        Ok(_) | Err(Errno::PERM) => {}
        Err(why) => return Err(why).during(Step::Session, "setsid"),
    }
    chdir("/").during(Step::Session, "/")?;
    set_child_subreaper(Pid::from_raw(1)).during(Step::Session, "subreaper")?;
    // Of no use between processes of one user that is not root, and in the way of what they may do to themselves.
    if geteuid().is_root() {
        child::unreadable().during(Step::Session, "dumpable")?;
    }
    let signals = sys::signals().during(Step::Session, "signals")?;
    let plan = Plan::receive(plugin.as_fd())?;
    if let Ok(name) = CString::new(plan.start.name.as_str())
        && !name.is_empty()
    {
        let _ = set_name(&name);
    }
    let launched = launch::launch(&plan, plugin, &signals)?;
    Ok((plan, launched, signals))
}

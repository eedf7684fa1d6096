//! Waiting for a task's end: its keeper tells it. When the keeper has ended before, the kernel does, where it is new enough.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::unix::AsyncFd;
use yurt_keeper::Stat;
use yurt_keeper::answer::Say;

use crate::channel::Channel;
use crate::entry::Found;
use crate::exit::{self, Exit};
use crate::proc;
use crate::sys;
use crate::task::Facts;

/// How long a keeper that lives may take to tell what everybody can see.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take until somebody reaps a process that has ended.
const REAP: Duration = Duration::from_secs(1);

/// Waits, and lets all know who wait.
pub(crate) async fn watch(facts: Arc<Facts>) {
    let told = tokio::select! {
        biased;
        told = by_keeper(&facts) => told,
        () = overdue(&facts) => None,
    };
    let exit = match told {
        Some(exit) => exit,
        None => by_kernel(&facts).await,
    };
    facts.exit.send_replace(Some(Exit::from_keeper(exit)));
}

/// `None`: the keeper has ended, or makes no sense.
async fn by_keeper(facts: &Facts) -> Option<yurt_keeper::Exit> {
    let channel = Channel::watching(facts.entry.as_fd()).await.ok()?;
    loop {
        if let (Say::Exit(exit), _) = channel.hear().await.ok()?? {
            return Some(exit);
        }
    }
}

/// Long after the main process has ended.
async fn overdue(facts: &Facts) {
    ended(facts).await;
    tokio::time::sleep(PATIENCE).await;
}

/// When the main process has ended.
async fn ended(facts: &Facts) {
    if let Some(process) = &facts.process {
        // An error would be a broken runtime; then what follows finds out by itself.
        let _ = process.readable().await;
    }
}

/// Without its keeper.
async fn by_kernel(facts: &Facts) -> yurt_keeper::Exit {
    ended(facts).await;
    let at = SystemTime::now();
    let since = Instant::now();
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Ok(Found::Whole(exit)) = facts.entry.exit() {
            return exit;
        }
        let waited = since.elapsed();
        // A keeper that lives knows more than what is found out here.
        if !facts.keeper_lives() || waited >= PATIENCE {
            match status(facts, waited >= REAP) {
                Status::Known(status) => break Ok(status),
                Status::Unknown(why) => break Err(why),
                Status::Later => {}
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    };
    let exit = match status {
        Ok(status) => {
            let killed = facts.groups.oom_kills().is_some_and(|kills| kills > facts.state.oom_before);
            exit::from_status(status, killed, at)
        }
        Err(why) => exit::unknown(why, at),
    };
    facts.entry.write_exit(exit)
}

/// See [`crate::Task::lost_its_keeper`].
pub(crate) async fn lost_its_keeper(facts: &Facts) {
    let gone = match &facts.keeper {
        Some(keeper) => keeper.readable().await.is_ok(),
        None => facts.process.is_some(),
    };
    let goes_on = |process: &Arc<_>| !proc::has_ended(AsyncFd::<OwnedFd>::get_ref(process).as_fd());
    if !gone || facts.exit().is_some() || !facts.process.as_ref().is_some_and(goes_on) {
        std::future::pending().await
    }
}

enum Status {
    /// In the form of `wait(2)`.
    Known(i32),
    Unknown(&'static str),
    Later,
}

fn status(facts: &Facts, last: bool) -> Status {
    let Some(process) = &facts.process else {
        return Status::Unknown("its keeper and it had both ended when nobody watched");
    };
    match sys::exit_status(process.get_ref().as_fd()) {
        Ok(Some(status)) => return Status::Known(status),
        // Not reaped, yet; or Linux before 6.15, which has no such call.
        Ok(None) | Err(_) if !last => return Status::Later,
        Ok(None) | Err(_) => {}
    }
    // Its new parent does not reap it: then the process itself still says it.
    let zombie = facts.state.task.filter(|task| proc::find(task).is_some()).and_then(|task| Stat::read(task.pid));
    match zombie {
        Some(stat) if stat.is_zombie() && (stat.exit_status != 0 || rustix::process::geteuid().is_root()) => {
            Status::Known(stat.exit_status)
        }
        _ => Status::Unknown(
            "its keeper had ended before it, and only Linux 6.15 and later tell others how a process ended",
        ),
    }
}

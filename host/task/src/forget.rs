//! The end of everything that is left of a task.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use yurt_keeper::request::Ask;

use crate::cgroup::{self, keepers};
use crate::channel::Channel;
use crate::ended;
use crate::entry::Found;
use crate::error::{ForgetError, StepError};
use crate::task::{self, Facts, KILL, kill};
use crate::{step, sys};

/// How long processes that the task left behind may take to die.
const LEFTOVERS: Duration = Duration::from_secs(10);
/// How long a keeper may take to end when it is asked to.
const KEEPER: Duration = Duration::from_secs(2);
/// How long a control group may be busy after its last process has ended.
const BUSY: Duration = Duration::from_secs(2);

/// See [`crate::Task::forget`].
pub(crate) async fn forget(facts: &Arc<Facts>) -> Result<(), ForgetError> {
    let mut forgotten = facts.forgotten.lock().await;
    if *forgotten {
        return Ok(());
    }
    if facts.exit().is_none() {
        return Err(ForgetError::Running);
    }
    kill(facts, LEFTOVERS).await?;
    end_keeper(facts).await?;
    let here = Arc::clone(facts);
    let removed = tokio::task::spawn_blocking(move || remove(&here)).await;
    removed.map_err(|e| StepError::text("forgetting the task", "", e.to_string()))??;
    *forgotten = true;
    Ok(())
}

/// Asks it to end; if it does not, ends it.
async fn end_keeper(facts: &Facts) -> Result<(), StepError> {
    let Some(keeper) = &facts.keeper else { return Ok(()) };
    if !facts.keeper_lives() {
        return Ok(());
    }
    let asked = async {
        let channel = Channel::connect(facts.entry.as_fd()).await?;
        channel.ask(Ask::Forget(true), &[]).await?;
        // Refused or done: it says so, or closes the connection.
        channel.hear().await?;
        keeper.readable().await.map(drop)
    };
    let asked = tokio::time::timeout(KEEPER, asked).await;
    if matches!(asked, Ok(Ok(()))) {
        return Ok(());
    }
    tracing::warn!(task = facts.state.id, "its keeper does not end by itself: {asked:?}");
    let _ = sys::send_signal(keeper.get_ref().as_fd(), KILL);
    match tokio::time::timeout(KEEPER, keeper.readable()).await {
        Ok(ended) => ended.map(drop).map_err(|e| task::step("ending the task's keeper", "", &e)),
        Err(_) => Err(StepError::text(
            "ending the task's keeper",
            "",
            format!("it did not end within {KEEPER:?} of being killed"),
        )),
    }
}

/// Control groups and entry. Blocks.
fn remove(facts: &Facts) -> Result<(), StepError> {
    let name = facts.entry.name;
    if facts.room.owns_group(facts.groups.main(), name) {
        let until = Instant::now() + BUSY;
        let mut pause = Duration::from_micros(500);
        while !cgroup::remove(&facts.groups, &facts.made) {
            if Instant::now() > until {
                let what = facts.made.iter().find(|path| path.exists()).map(|path| path.display().to_string());
                return Err(StepError::errno(
                    "removing the control group",
                    what.unwrap_or_default(),
                    rustix::io::Errno::BUSY,
                ));
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        facts.room.leave_group(facts.groups.main(), name);
    }
    // What goes before a task nobody asks for by a handle.
    if step::task_of(&facts.state.id).is_none()
        && let Ok(Found::Whole(exit)) = facts.entry.exit()
        && let Err(errno) = ended::note(facts.room.dir.as_fd(), &facts.state, &facts.memo, exit)
    {
        let why = std::io::Error::from(errno);
        tracing::warn!(task = facts.state.id, "how it ended is not remembered: {why}");
    }
    let failed = |errno| StepError::errno("removing the task's entry", facts.entry.path.display().to_string(), errno);
    facts.entry.remove().map_err(failed)?;
    keepers::remove(&facts.keepers());
    Ok(())
}

//! The tasks that Nomad has spoken of, and what is told of them: the list of a task's events, of which an agent keeps the last ten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use yurt_nomad::driver::{PluginError, TaskConfig, TaskEvent};
use yurt_task::{Left, Task};

use super::devices;
use super::memo::Memo;
use super::stats::Before;
use crate::driver_side::Serving;
use crate::exchange::{GuestName, Serves as _, Turn};

/// Events that a slow reader may be behind.
const EVENTS: usize = 256;
/// So many tasks are told of one thing in a row; then whoever reads gets a moment.
const IN_A_ROW: usize = 32;
/// That moment.
const MOMENT: Duration = Duration::from_millis(5);
/// How often whoever gives up a start looks whether it is over.
const AGAIN: Duration = Duration::from_millis(10);

/// Tasks by Nomad's ids, and who listens for what is told of them.
pub(crate) struct Known {
    tasks: Mutex<BTreeMap<String, Standing>>,
    events: broadcast::Sender<TaskEvent>,
}

/// What is known of an id.
enum Standing {
    /// It is being started; becomes true when nobody wants it any more.
    Starting(watch::Sender<bool>),
    /// It was started or found again.
    Task(Arc<Running>),
}

/// A task, with what is kept of its plan.
pub(crate) struct Running {
    pub(crate) task: Task,
    pub(crate) memo: Memo,
    pub(crate) before: Mutex<Before>,
    told_of_a_guest: AtomicBool,
}

/// Whose event it is.
#[derive(Debug, Clone)]
pub(crate) struct Whose {
    task_id: String,
    alloc_id: String,
    task_name: String,
}

impl From<&TaskConfig> for Whose {
    fn from(task: &TaskConfig) -> Whose {
        Whose { task_id: task.id.clone(), alloc_id: task.alloc_id.clone(), task_name: task.name.clone() }
    }
}

impl Whose {
    /// Of a task that nobody asked for.
    pub(crate) fn left(left: &Left, memo: &Memo) -> Whose {
        Whose { task_id: left.id.clone(), alloc_id: memo.alloc_id.clone(), task_name: memo.task_name.clone() }
    }

    /// As the task's entry has it.
    pub(crate) fn of(task: &Task, memo: &Memo) -> Whose {
        Whose { task_id: task.id().to_owned(), alloc_id: memo.alloc_id.clone(), task_name: memo.task_name.clone() }
    }
}

/// The right to start a task of an id. Dropped before there is one, the id is free again.
pub(crate) struct Claim {
    known: Arc<Known>,
    id: String,
    /// Nobody wants it any more.
    pub(crate) given_up: watch::Receiver<bool>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut tasks = self.known.tasks();
        if matches!(tasks.get(&self.id), Some(Standing::Starting(_))) {
            tasks.remove(&self.id);
        }
    }
}

impl Known {
    pub(crate) fn new() -> Arc<Known> {
        Arc::new(Known { tasks: Mutex::default(), events: broadcast::Sender::new(EVENTS) })
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<TaskEvent> {
        self.events.subscribe()
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever starts a task of this id, if nobody does or did.
    pub(crate) fn claim(self: &Arc<Known>, id: &str) -> Result<Claim, PluginError> {
        let mut tasks = self.tasks();
        if tasks.contains_key(id) {
            return Err(PluginError::failed_precondition(format!("task with ID {id:?} already started")));
        }
        let (give_up, given_up) = watch::channel(false);
        tasks.insert(id.to_owned(), Standing::Starting(give_up));
        Ok(Claim { known: Arc::clone(self), id: id.to_owned(), given_up })
    }

    pub(crate) fn running(&self, id: &str) -> Result<Arc<Running>, PluginError> {
        match self.tasks().get(id) {
            Some(Standing::Task(running)) => Ok(Arc::clone(running)),
            Some(Standing::Starting(_)) => {
                Err(PluginError::failed_precondition(format!("task {id:?} is still being started")))
            }
            None => Err(PluginError::not_found("task not found for given id")),
        }
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.tasks().contains_key(id)
    }

    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.tasks().keys().cloned().collect()
    }

    pub(crate) fn forget(&self, id: &str) {
        self.tasks().remove(id);
    }

    /// Nobody wants the task any more that is being started under this id, if there is one.
    pub(crate) fn give_up(&self, id: &str) -> bool {
        match self.tasks().get(id) {
            Some(Standing::Starting(give_up)) => {
                give_up.send_replace(true);
                true
            }
            _ => false,
        }
    }

    /// The same, and waits until that start is over, one way or the other.
    pub(crate) async fn given_up(&self, id: &str, most: Duration) {
        let until = Instant::now() + most;
        while self.give_up(id) && Instant::now() < until {
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// All that run, but for those that are just being started.
    pub(crate) fn all(&self) -> Vec<Arc<Running>> {
        let tasks = self.tasks();
        tasks
            .values()
            .filter_map(|standing| match standing {
                Standing::Task(running) => Some(Arc::clone(running)),
                Standing::Starting(_) => None,
            })
            .collect()
    }

    /// Keeps a task, and tells what becomes of it.
    pub(crate) fn keep(self: &Arc<Known>, task: Task) -> Arc<Running> {
        let id = task.id().to_owned();
        let running = Arc::new(Running {
            memo: Memo::from_bytes(task.memo()),
            task,
            before: Mutex::default(),
            told_of_a_guest: AtomicBool::new(false),
        });
        self.tasks().insert(id, Standing::Task(Arc::clone(&running)));
        devices::follow(running.task.clone(), running.memo.devices.clone());
        self.watch(Arc::clone(&running));
        running
    }

    /// Tells, once each, that its keeper is gone, and what its end means.
    fn watch(self: &Arc<Known>, running: Arc<Running>) {
        if running.task.exit().is_some() {
            return;
        }
        let known = Arc::clone(self);
        tokio::spawn(async move {
            let whose = Whose::of(&running.task, &running.memo);
            let exit = tokio::select! {
                biased;
                exit = running.task.wait() => exit,
                () = running.task.lost_its_keeper() => {
                    let text = "Its keeper was killed: the task goes on without one, how it ends is heard from the kernel, and commands cannot be run in it";
                    known.tell(&whose, text.to_owned());
                    running.task.wait().await
                }
            };
            for message in told_at_the_end(&exit, &running.memo) {
                known.tell(&whose, message);
            }
        });
    }

    /// An event of a task. Nobody listening is no failure.
    pub(crate) fn tell(&self, whose: &Whose, message: String) {
        tracing::info!(task = whose.task_id, "{message}");
        let Whose { task_id, alloc_id, task_name } = whose.clone();
        let (at, annotations) = (SystemTime::now(), BTreeMap::new());
        let _ = self.events.send(TaskEvent { task_id, alloc_id, task_name, at, message, annotations });
    }

    /// Tells each task once that another guest than the one that planned it serves, until nobody can exchange it any more. The first
    /// exchange while it runs is news, further ones would push out what else an agent keeps.
    pub(crate) async fn tell_of_guests(self: Arc<Known>, mut turns: watch::Receiver<Arc<Turn<Serving>>>) {
        let mut present = turns.borrow_and_update().serving.guest();
        while turns.changed().await.is_ok() {
            let now = turns.borrow_and_update().serving.guest();
            if now.digest == present.digest {
                continue;
            }
            present = now;
            for some in self.all().chunks(IN_A_ROW) {
                some.iter().for_each(|running| self.tell_of_a_guest(running, &present));
                tokio::time::sleep(MOMENT).await;
            }
        }
    }

    fn tell_of_a_guest(&self, running: &Running, now: &GuestName) {
        let goes_on = running.task.exit().is_none() && running.memo.guest != now.digest;
        if goes_on && !running.told_of_a_guest.swap(true, Relaxed) {
            let planned_by = running.memo.guest.get(..12).unwrap_or("another");
            let text =
                format!("The driver's guest was exchanged for {now}: the task goes on as {planned_by} planned it");
            self.tell(&Whose::of(&running.task, &running.memo), text);
        }
    }
}

fn told_at_the_end(exit: &yurt_task::Exit, memo: &Memo) -> Vec<String> {
    let mut told = Vec::new();
    if exit.oom_killed {
        told.push("The kernel killed a process of the task: its memory limit was reached".to_owned());
    }
    if let Some(why) = &exit.unknown {
        told.push(format!("The exit code is not known: {why}"));
    }
    if let Some(note) = memo.exit_note(exit.code) {
        told.push(format!("Exit code {}: {note}", exit.code));
    }
    if exit.log_bytes_dropped > 0 {
        told.push(format!("{} bytes of output were dropped: nobody read the task's logs", exit.log_bytes_dropped));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_of(code: i32) -> yurt_task::Exit {
        yurt_task::Exit { code, ..yurt_task::Exit::default() }
    }

    #[test]
    fn the_end_of_a_task_is_told_with_what_is_out_of_the_ordinary() {
        let memo = Memo { exit_notes: vec![(2, "wrong usage".to_owned())], ..Memo::default() };
        assert_eq!(told_at_the_end(&exit_of(0), &memo), Vec::<String>::new());
        assert_eq!(told_at_the_end(&exit_of(2), &memo), ["Exit code 2: wrong usage"]);
        let killed = yurt_task::Exit { oom_killed: true, log_bytes_dropped: 7, ..exit_of(137) };
        let told = told_at_the_end(&killed, &memo);
        assert!(told.len() == 2 && told.iter().any(|line| line.contains("7 bytes of output")), "{told:?}");
    }

    #[tokio::test]
    async fn an_id_is_one_start_s_and_free_again_after_one_that_failed_or_was_given_up() {
        let known = Known::new();
        let claim = known.claim("a").unwrap();
        assert!(known.claim("a").is_err() && known.has("a") && !*claim.given_up.borrow());
        assert!(known.running("a").is_err_and(|why| why.message.contains("still being started")));
        let waiting = {
            let known = Arc::clone(&known);
            async move { known.given_up("a", Duration::from_secs(5)).await }
        };
        let failing = async {
            let mut claim = claim;
            claim.given_up.wait_for(|given_up| *given_up).await.unwrap();
        };
        tokio::join!(waiting, failing);
        assert!(known.claim("a").is_ok() && !known.has("a") && !known.give_up("a"));
    }
}

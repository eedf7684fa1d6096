//! Tasks that nobody will ask for again.
//!
//! An agent asks once for a task to be forgotten. Where the plugin dies just then, the keeper of a task that has ended would stay until
//! the machine is started anew. But the agent goes on, and when it is through with a task it removes the control group that it had
//! made for it: later than it asks for anything.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message;
use yurt_keeper::State;

use crate::cgroup::{self, Groups};
use crate::entry::{Entry, Found, Name};
use crate::step;
use crate::task::Task;
use crate::tasks::{Life, Notes, Room, Tasks};

/// How long nobody may have touched an entry that nobody holds: between making one and taking it there is a moment.
const ABANDONED: Duration = Duration::from_secs(10);

/// What a sweep found.
#[derive(Debug, Default)]
pub struct Swept {
    /// Ids of tasks that were over, and are gone now.
    pub forgotten: Vec<String>,
    /// Tasks that are not, and that nobody knows here.
    pub left: Vec<Left>,
}

/// A task of an earlier process that nobody has asked for.
#[derive(Debug, Clone)]
pub struct Left {
    /// Nomad's id of it.
    pub id: String,
    /// Its main process; `None`: it has ended.
    pub pid: Option<u32>,
    /// When it was let go.
    pub started_at: SystemTime,
    /// [`crate::Launch::memo`].
    pub memo: Vec<u8>,
}

impl Tasks {
    /// Forgets the tasks that have ended and whose agent is through with them, those of an earlier boot, and what goes before tasks that
    /// nobody starts any more; none of those that are `known`.
    pub async fn sweep(&self, known: impl Fn(&str) -> bool) -> Swept {
        let room = self.room();
        let here = Arc::clone(room);
        let all = tokio::task::spawn_blocking(move || entries(&here)).await.unwrap_or_default();
        let mut swept = Swept::default();
        for (entry, state) in all {
            let id = state.id.clone();
            if known(step::task_of(&id).unwrap_or(&id)) {
                continue;
            }
            let done = match over(room, entry, state) {
                Over::Task(task) => task.forget().await.map_err(|why| why.to_string()),
                Over::Step(task) => step::over(&task).await.map_err(|why| why.to_string()),
                Over::Boot(entry) => entry.remove().map_err(|why| io::Error::from(why).to_string()),
                Over::Not(left) => {
                    swept.left.extend(left);
                    continue;
                }
            };
            match done {
                Ok(()) => swept.forgotten.push(id),
                Err(why) => tracing::warn!(task = id, "it has ended and nobody asks for it, and yet it stays: {why}"),
            }
        }
        swept
    }
}

enum Over {
    /// It and its agent's affairs with it.
    Task(Task),
    /// What went before a task: whoever started it is gone.
    Step(Task),
    Boot(Entry),
    Not(Option<Left>),
}

fn over(room: &Arc<Room>, entry: Entry, state: State) -> Over {
    let life = room.life(&entry, &state);
    if matches!(life, Life::OtherBoot) {
        return Over::Boot(entry);
    }
    if step::task_of(&state.id).is_some() {
        return room.found(entry, state, life).map_or(Over::Not(None), Over::Step);
    }
    let pid = matches!(life, Life::Running { .. }).then(|| state.task.map(|task| task.pid)).flatten();
    let group_is_gone = || Groups::of(&state).main().is_some_and(|group| matches!(group.try_exists(), Ok(false)));
    if pid.is_none() && group_is_gone() {
        return room.found(entry, state, life).map_or(Over::Not(None), Over::Task);
    }
    Over::Not(Some(Left {
        started_at: SystemTime::UNIX_EPOCH + Duration::from_nanos(state.started_at),
        memo: Notes::decode(state.memo.as_slice()).unwrap_or_default().memo,
        id: state.id,
        pid,
    }))
}

/// All entries whose task was let go; of those that never came to it nothing is left. Blocks.
fn entries(room: &Room) -> Vec<(Entry, State)> {
    let names = fs::read_dir(&room.path).into_iter().flatten().flatten();
    names
        .filter_map(|file| {
            let entry = Entry::open(&room.path, name(file.file_name().to_str()?)?).ok()??;
            match entry.state() {
                Ok(Found::Whole(state)) => return Some((entry, state)),
                Ok(Found::Nothing) => abandoned(room, &entry),
                Ok(Found::Garbage(_)) | Err(_) => {}
            }
            None
        })
        .collect()
}

/// Takes back a start whose plugin died before its keeper let the task go. Blocks.
fn abandoned(room: &Room, entry: &Entry) {
    let old = entry.quiet_for().is_some_and(|quiet| quiet >= ABANDONED);
    // Once it is ours nobody writes to it.
    if !old || !entry.take() || !matches!(entry.state(), Ok(Found::Nothing)) {
        return;
    }
    let Ok(hierarchies) = room.hierarchies() else { return };
    let made = entry.noted_groups();
    let removed = match cgroup::remove(&hierarchies.groups(&made), &made) {
        true => entry.remove().map_err(|errno| io::Error::from(errno).to_string()),
        false => Err("somebody is in its control groups".to_owned()),
    };
    match removed {
        Ok(()) => tracing::info!("{} is removed: a start that was never finished", entry.path.display()),
        Err(why) => tracing::warn!("{} is of a start that was never finished, and stays: {why}", entry.path.display()),
    }
}

/// Its bytes from hexadecimal digits.
fn name(text: &str) -> Option<Name> {
    let mut name = Name::default();
    if text.len() != 2 * name.len() || !text.is_ascii() {
        return None;
    }
    for (at, byte) in name.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(name)
}

//! Tasks that nobody will ask for again.
//!
//! An agent asks once for a task to be forgotten. Where the plugin dies just then, the keeper of a task that has ended would stay until
//! the machine is started anew. But the agent goes on, and when it is through with a task it removes the control group that it had
//! made for it: later than it asks for anything.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use yurt_keeper::State;

use crate::entry::{Entry, Found, Name};
use crate::task::Task;
use crate::tasks::{Life, Room, Tasks};

impl Tasks {
    /// Forgets the tasks that have ended and whose agent is through with them, but for those that are `known`, and those of an earlier
    /// boot. Gives the ids of those that are gone.
    pub async fn sweep(&self, known: impl Fn(&str) -> bool) -> Vec<String> {
        let room = self.room();
        let here = Arc::clone(room);
        let all = tokio::task::spawn_blocking(move || entries(&here.path)).await.unwrap_or_default();
        let mut gone = Vec::new();
        for (entry, state) in all {
            let id = state.id.clone();
            if known(&id) {
                continue;
            }
            let done = match over(room, entry, state) {
                Some(Over::Task(task)) => task.forget().await.map_err(|why| why.to_string()),
                Some(Over::Boot(entry)) => entry.remove().map_err(|why| std::io::Error::from(why).to_string()),
                None => continue,
            };
            match done {
                Ok(()) => gone.push(id),
                Err(why) => tracing::warn!(task = id, "it has ended and nobody asks for it, and yet it stays: {why}"),
            }
        }
        gone
    }
}

enum Over {
    Task(Task),
    Boot(Entry),
}

/// A task that is over for its agent, too.
fn over(room: &Arc<Room>, entry: Entry, state: State) -> Option<Over> {
    let life = room.life(&entry, &state);
    match life {
        Life::OtherBoot => return Some(Over::Boot(entry)),
        Life::Running { .. } => return None,
        Life::Ended(_) | Life::Lost => {}
    }
    let through = crate::cgroup::Groups::of(&state).main().is_some_and(|group| matches!(group.try_exists(), Ok(false)));
    through.then(|| room.found(entry, state, life).ok().map(Over::Task)).flatten()
}

/// All entries whose task was let go. Blocks.
fn entries(runtime: &Path) -> Vec<(Entry, State)> {
    let names = fs::read_dir(runtime).into_iter().flatten().flatten();
    names
        .filter_map(|file| {
            let entry = Entry::open(runtime, name(file.file_name().to_str()?)?).ok()??;
            match entry.state() {
                Ok(Found::Whole(state)) => Some((entry, state)),
                _ => None,
            }
        })
        .collect()
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

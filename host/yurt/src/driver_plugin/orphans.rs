//! Tasks that earlier processes of this plugin left and that no agent asks for: those that are over are forgotten, the others are told of
//! some time after the start, and ended only where the operator says so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use yurt_task::{Left, Tasks};

use super::DriverPlugin;
use crate::driver::config::{DriverConfig, Orphans};
use crate::driver::known::{Known, Whose};
use crate::driver::memo::Memo;
use crate::exchange::Side as _;

/// How long one may take to die.
const KILL: Duration = Duration::from_secs(15);

impl DriverPlugin {
    /// Looks as often as at the node.
    pub(super) fn sweep(&self) {
        // Every start tells what is wrong with the directory.
        let Ok(tasks) = self.tasks() else { return };
        let (known, side) = (Arc::clone(&self.known), Arc::clone(&self.side));
        let mut watch = Watch::new(Arc::clone(&self.orphans));
        tokio::spawn(async move {
            loop {
                let ids = known.ids();
                let swept = tasks.sweep(|id| ids.contains(id)).await;
                for id in swept.forgotten {
                    tracing::info!(task = id, "it had ended and nobody asks for it any more: it is forgotten");
                }
                let serving = Arc::clone(&side.turns().now().serving);
                watch.look(&tasks, &known, swept.left, &serving.host.block).await;
                tokio::time::sleep(serving.host.block.fingerprint_period).await;
            }
        });
    }
}

struct Watch {
    began: Instant,
    began_at: SystemTime,
    told: BTreeSet<String>,
    count: Arc<AtomicUsize>,
}

impl Watch {
    fn new(count: Arc<AtomicUsize>) -> Watch {
        Watch { began: Instant::now(), began_at: SystemTime::now(), told: BTreeSet::new(), count }
    }

    /// An agent asks for its tasks when it starts, which is when it starts its plugins: whoever was not asked for after a while is nobody's.
    async fn look(&mut self, tasks: &Tasks, known: &Arc<Known>, mut left: Vec<Left>, block: &DriverConfig) {
        // What another process of this plugin starts meanwhile is that one's.
        left.retain(|one| one.started_at < self.began_at && self.began.elapsed() >= block.orphans_after);
        self.count.store(left.len(), Relaxed);
        self.told.retain(|id| left.iter().any(|one| one.id == *id));
        let reap = block.orphans == Orphans::Reap;
        for one in left {
            if self.told.insert(one.id.clone()) {
                self.tell(known, &one, reap);
            }
            if reap && !known.has(&one.id) {
                match reaped(tasks, &one.id).await {
                    Ok(()) => tracing::warn!(task = one.id, "the orphan is gone"),
                    Err(why) => tracing::error!(task = one.id, "the orphan is not gone: {why}"),
                }
            }
        }
    }

    fn tell(&self, known: &Known, one: &Left, reap: bool) {
        let state = match one.pid {
            Some(pid) => format!("runs as process {pid}"),
            None => "has ended".to_owned(),
        };
        let what = if reap { "ended" } else { "left as it is" };
        let after = self.began.elapsed().as_secs();
        let text = format!(
            "No agent has asked for this task in the {after} s since the plugin's start: it {state}, and is {what}"
        );
        tracing::warn!(task = one.id, "{text}");
        known.tell(&Whose::left(one, &Memo::from_bytes(&one.memo)), text);
    }
}

async fn reaped(tasks: &Tasks, id: &str) -> Result<(), String> {
    let Some(task) = tasks.adopt(id).await.map_err(|why| why.to_string())? else { return Ok(()) };
    if task.exit().is_none() {
        task.kill(KILL).await.map_err(|why| why.to_string())?;
        if tokio::time::timeout(KILL, task.wait()).await.is_err() {
            return Err("it was killed and does not end: the kernel holds it".to_owned());
        }
    }
    task.forget().await.map_err(|why| why.to_string())
}

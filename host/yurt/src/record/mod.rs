//! The last calls of a plugin in a file that a person can read and `yurt guest replay` can make again.
//!
//! Whoever calls a guest leaves a copy of question and answer in a queue and goes on; a thread writes them down (`ring.rs`) in the form
//! of `form.rs`. What the queue has no room for, or the disk, is left out, counted, and said once.

mod form;
mod ring;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use yurt_guest::{Called, Observer, Runtime};

use form::{Call, Under};
pub(crate) use form::{Recording, Section};
use ring::Ring;

/// Calls that wait to be written.
const QUEUE: usize = 32;
/// How often a file that cannot be written is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Keys of the host's block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    /// How many calls the file holds at least, once there were so many.
    pub(crate) calls: usize,
    /// What jobs say is written down, too.
    pub(crate) secrets: bool,
}

impl Settings {
    /// Reads the evaluated block. None: nothing is recorded.
    pub(crate) fn from_json(block: &Value) -> Result<Option<Settings>, String> {
        let calls = match block.get("record_calls").and_then(Value::as_u64) {
            None => 256,
            Some(calls @ 1..=10_000) => usize::try_from(calls).unwrap_or(usize::MAX),
            Some(calls) => return Err(format!("yurt.record_calls = {calls}: must be from 1 to 10000")),
        };
        let secrets = block.get("record_secrets").and_then(Value::as_bool).unwrap_or_default();
        let Some(dir) = block.get("record").and_then(Value::as_str).map(PathBuf::from) else { return Ok(None) };
        if !dir.is_absolute() || dir.parent().is_none() {
            return Err(format!("yurt.record = {dir:?}: must be the absolute path of a directory"));
        }
        Ok(Some(Settings { dir, calls, secrets }))
    }
}

/// How far recording came, for `yurt guest status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) file: PathBuf,
    /// Calls that were written down.
    pub(crate) written: u64,
    /// Calls that were left out.
    pub(crate) left_out: u64,
}

/// The recorder of one plugin, while it is configured to have one.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Option<(Settings, Arc<Counts>)>>);

#[derive(Debug)]
struct Counts {
    file: PathBuf,
    queued: AtomicU64,
    written: AtomicU64,
    left_out: AtomicU64,
}

impl Recorder {
    /// Records calls of `runtime` from now on as the operator wants it.
    pub(crate) fn set(&self, wanted: Option<&Settings>, runtime: &Runtime, plugin: &str) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.as_ref().map(|(settings, _)| settings) == wanted {
            return;
        }
        *now = None;
        runtime.observe(None);
        let Some(settings) = wanted else { return };
        let file = settings.dir.join(format!("{plugin}.jsonl"));
        let counts = Arc::new(Counts {
            file,
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        });
        let (sender, receiver) = sync_channel(QUEUE);
        let (its, most) = (Arc::clone(&counts), settings.calls);
        let thread = std::thread::Builder::new().name("recorder".into());
        if let Err(why) = thread.spawn(move || write(&receiver, &its, most)) {
            tracing::warn!(error = %why, "calls are not recorded: no thread to write them");
            return;
        }
        let queue = Queue { sender, counts: Arc::clone(&counts), secrets: settings.secrets };
        runtime.observe(Some(Arc::new(queue)));
        *now = Some((settings.clone(), counts));
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().map(|(_, counts)| Progress {
            file: counts.file.clone(),
            written: counts.written.load(Relaxed),
            left_out: counts.left_out.load(Relaxed),
        })
    }
}

thread_local! {
    static REHEARSAL: Cell<bool> = const { Cell::new(false) };
}

/// Calls of this thread are not recorded until it is dropped: they are made to try a guest.
pub(crate) struct Rehearsal {
    before: bool,
    of_this_thread: PhantomData<*const ()>,
}

pub(crate) fn rehearsal() -> Rehearsal {
    Rehearsal { before: REHEARSAL.replace(true), of_this_thread: PhantomData }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        REHEARSAL.set(self.before);
    }
}

/// Where calls leave what they said.
struct Queue {
    sender: SyncSender<(Under, Call)>,
    counts: Arc<Counts>,
    secrets: bool,
}

impl Observer for Queue {
    fn called(&self, call: Called<'_>) {
        if REHEARSAL.get() {
            return;
        }
        // Nothing is copied for a queue that is full.
        let room = self.counts.queued.load(Relaxed) < u64::try_from(QUEUE).unwrap_or(u64::MAX);
        if room {
            self.counts.queued.fetch_add(1, Relaxed);
            let entry = (Under::of(&call, self.secrets), Call::of(call, self.secrets));
            match self.sender.try_send(entry) {
                Ok(()) => return,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    self.counts.queued.fetch_sub(1, Relaxed);
                }
            }
        }
        if self.counts.left_out.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(
                "the recording has gaps, since calls are faster than {} is written (`yurt guest status` counts them)",
                self.counts.file.display()
            );
        }
    }
}

/// Writes until nobody can call any more.
fn write(calls: &Receiver<(Under, Call)>, counts: &Counts, most: usize) {
    let mut ring: Option<Ring> = None;
    let mut tried: Option<Instant> = None;
    let mut said: Option<String> = None;
    while let Ok((under, call)) = calls.recv() {
        counts.queued.fetch_sub(1, Relaxed);
        if ring.is_none() && tried.is_some_and(|at| at.elapsed() < AGAIN) {
            counts.left_out.fetch_add(1, Relaxed);
            continue;
        }
        match written(&mut ring, &counts.file, most, under, &call) {
            Ok(()) => {
                counts.written.fetch_add(1, Relaxed);
                if said.take().is_some() {
                    tracing::info!("calls are recorded in {} again", counts.file.display());
                }
            }
            Err(why) => {
                counts.left_out.fetch_add(1, Relaxed);
                (ring, tried) = (None, Some(Instant::now()));
                if said.as_ref() != Some(&why) {
                    tracing::warn!("calls are not recorded, and the plugin serves on: {why}");
                    said = Some(why);
                }
            }
        }
    }
}

fn written(ring: &mut Option<Ring>, file: &Path, most: usize, under: Under, call: &Call) -> Result<(), String> {
    let ring = match ring {
        Some(ring) => ring,
        None => ring.insert(Ring::open(file, most)?),
    };
    ring.add(&under.header().line()?, &call.line()?)
}

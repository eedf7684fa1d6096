//! A thread of the watcher, and its end.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

/// A running thread.
#[derive(Debug)]
pub(super) struct Worker {
    handle: JoinHandle<()>,
    /// Hangs up when the thread's work is done. In a lock only because a receiver alone cannot be shared between threads.
    done: Mutex<Receiver<()>>,
}

impl Worker {
    pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (alive, done) = channel::<()>();
        let handle = Builder::new().name(name.to_owned()).spawn(move || {
            work();
            drop(alive);
        })?;
        Ok(Self { handle, done: Mutex::new(done) })
    }

    /// Waits for a thread that has been told to end. One that does not until then is left to end by itself.
    pub(super) fn end(self, until: Instant) {
        let patience = until.saturating_duration_since(Instant::now());
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        match done.recv_timeout(patience.max(Duration::from_millis(1))) {
            // The work is done: what is left of the thread takes no time.
            Err(RecvTimeoutError::Disconnected) => drop(self.handle.join()),
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

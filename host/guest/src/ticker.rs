//! The clock of deadlines: a thread of its own that moves the engine's epoch every millisecond while calls are under way, and is
//! parked otherwise, so that an idle plugin is never woken.
//!
//! Epochs belong to the engine, deadlines to a call: a tick ends nobody's call, it only makes running guests look at their own
//! deadline ([`Deadline::arm`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use wasmtime::{Engine, EngineWeak, Store, UpdateDeadline};

/// How often a running guest looks at its deadline, and so by how much it can be missed.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Ticks without a call before the thread parks: calls that follow each other closely do not pay for waking it.
const LINGER: u32 = 5;

#[derive(Debug, Default)]
struct Shared {
    calls: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// Owns the thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> io::Result<Ticker> {
        let shared = Arc::new(Shared::default());
        let (engine, its) = (engine.weak(), Arc::clone(&shared));
        let thread = thread::Builder::new().name("guest-ticker".into()).spawn(move || tick(&engine, &its))?;
        Ok(Ticker { shared, thread: thread.thread().clone() })
    }

    /// Ticks until the answer is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        if self.shared.calls.fetch_add(1, SeqCst) == 0 && self.shared.parked.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }

    #[cfg(test)]
    pub(crate) fn is_parked(&self) -> bool {
        self.shared.parked.load(SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// A call is under way.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, SeqCst);
    }
}

fn tick(engine: &EngineWeak, shared: &Shared) {
    let mut idle = 0;
    while !shared.stop.load(SeqCst) {
        idle = if shared.calls.load(SeqCst) == 0 { idle + 1 } else { 0 };
        if idle > LINGER {
            shared.parked.store(true, SeqCst);
            // A call that came in between either sees the flag and unparks us, or is seen here.
            if shared.calls.load(SeqCst) == 0 && !shared.stop.load(SeqCst) {
                thread::park();
            }
            shared.parked.store(false, SeqCst);
            idle = 0;
            continue;
        }
        thread::sleep(TICK);
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
    }
}

/// When a call has to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    limit: Duration,
}

/// Why a guest was interrupted.
#[derive(Debug, thiserror::Error)]
#[error("it ran into its deadline of {0:?}")]
pub(crate) struct DeadlinePassed(pub(crate) Duration);

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Deadline {
        let now = Instant::now();
        Deadline { at: now.checked_add(limit).unwrap_or(now), limit }
    }

    /// Makes the guest in `store` stop at the deadline. The clock decides, not the number of ticks, since ticks come late under load.
    pub(crate) fn arm<T>(self, store: &mut Store<T>) {
        store.set_epoch_deadline(self.ticks());
        store.epoch_deadline_callback(move |_| {
            if Instant::now() >= self.at {
                return Err(wasmtime::Error::new(DeadlinePassed(self.limit)));
            }
            Ok(UpdateDeadline::Continue(self.ticks()))
        });
    }

    fn ticks(self) -> u64 {
        let left = self.at.saturating_duration_since(Instant::now());
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within_a_second(condition: impl Fn() -> bool) -> bool {
        (0..1000).any(|_| {
            thread::sleep(TICK);
            condition()
        })
    }

    #[test]
    fn the_clock_ticks_while_a_call_is_under_way_and_is_parked_otherwise() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        assert!(within_a_second(|| ticker.is_parked()));
        for _ in 0..3 {
            let running = ticker.run();
            assert!(!ticker.is_parked());
            drop(running);
            assert!(within_a_second(|| ticker.is_parked()));
        }
    }

    #[test]
    fn the_clock_s_thread_ends_with_its_owner() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        let shared = Arc::downgrade(&ticker.shared);
        drop(ticker);
        assert!(within_a_second(|| shared.strong_count() == 0));
    }
}

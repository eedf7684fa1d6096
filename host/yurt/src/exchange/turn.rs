//! What serves now: a guest and its configuration, always both of one turn, and the way back to the turn before.
//!
//! Publishing a turn is the exchange of one pointer. Who took the one before goes on with it to the end of his call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use yurt_guest::{Cause, GuestError};

/// One guest with one configuration, for as long as it serves.
pub(crate) struct Turn<S> {
    /// Grows with every turn of this process, from 1.
    pub(crate) number: u64,
    pub(crate) serving: Arc<S>,
    probation: Mutex<Option<Probation<S>>>,
}

/// While it lasts, failures lead back.
struct Probation<S> {
    before: Arc<S>,
    until: Instant,
    failures: u32,
    budget: u32,
}

/// How much a new turn may fail, and for how long it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// The failure with this number ends the turn.
    pub(crate) errors: u32,
    pub(crate) within: Duration,
}

/// A turn that was ended because its guest failed.
#[derive(Debug)]
pub(crate) struct Undone<S> {
    pub(crate) failed: Arc<S>,
    pub(crate) why: String,
}

/// The newest turn, and whoever wants to know of it.
pub(crate) struct Turns<S> {
    sender: watch::Sender<Arc<Turn<S>>>,
    undone: mpsc::UnboundedSender<Undone<S>>,
}

impl<S> Turns<S> {
    /// The first turn, and where turns that failed are told of.
    pub(crate) fn new(first: S) -> (Turns<S>, mpsc::UnboundedReceiver<Undone<S>>) {
        let (undone, told) = mpsc::unbounded_channel();
        let first = Turn { number: 1, serving: Arc::new(first), probation: Mutex::new(None) };
        (Turns { sender: watch::Sender::new(Arc::new(first)), undone }, told)
    }

    pub(crate) fn now(&self) -> Arc<Turn<S>> {
        Arc::clone(&self.sender.borrow())
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Turn<S>>> {
        self.sender.subscribe()
    }

    /// Lets another serve from the next call on, in place of the turn with the number `after`; false: that one is over already. With a
    /// budget the present one takes over again if it is spent.
    pub(crate) fn publish(&self, after: u64, serving: Arc<S>, budget: Option<Budget>) -> bool {
        let now = self.now();
        let probation = budget.map(|budget| Probation {
            before: Arc::clone(&now.serving),
            until: Instant::now() + budget.within,
            failures: 0,
            budget: budget.errors,
        });
        let next = Turn { number: after.saturating_add(1), serving, probation: Mutex::new(probation) };
        self.exchange(after, Arc::new(next))
    }

    /// Readers wait for no longer than two pointers take to change places: what is made is made before, what goes goes after.
    fn exchange(&self, after: u64, mut next: Arc<Turn<S>>) -> bool {
        self.sender.send_if_modified(|turn| {
            let ours = turn.number == after;
            if ours {
                std::mem::swap(turn, &mut next);
            }
            ours
        })
    }

    /// A call failed. True: that turn is over, and the one before it serves again.
    pub(crate) fn failed(&self, turn: &Turn<S>, why: &GuestError) -> bool {
        // Neither is the guest's doing.
        if matches!(why.cause(), Cause::Busy { .. } | Cause::HostPanic(_)) {
            return false;
        }
        self.spent(turn, &why.to_string())
    }

    fn spent(&self, turn: &Turn<S>, why: &str) -> bool {
        let before = {
            let mut probation = turn.probation.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(watched) = probation.as_mut().filter(|watched| Instant::now() < watched.until) else {
                return false;
            };
            watched.failures = watched.failures.saturating_add(1);
            if watched.failures < watched.budget {
                return false;
            }
            Arc::clone(&watched.before)
        };
        let number = turn.number.saturating_add(1);
        // Others may have seen it fail, too.
        if self.exchange(turn.number, Arc::new(Turn { number, serving: before, probation: Mutex::new(None) })) {
            let _ = self.undone.send(Undone { failed: Arc::clone(&turn.serving), why: why.to_owned() });
        }
        true
    }
}

impl<S> Turn<S> {
    /// When it will have proved itself; none: it has, or nothing was before it.
    pub(crate) fn on_probation_until(&self) -> Option<Instant> {
        let probation = self.probation.lock().unwrap_or_else(PoisonError::into_inner);
        probation.as_ref().map(|watched| watched.until).filter(|until| Instant::now() < *until)
    }

    /// Who served before, while that is kept.
    pub(crate) fn before(&self) -> Option<Arc<S>> {
        let probation = self.probation.lock().unwrap_or_else(PoisonError::into_inner);
        probation.as_ref().map(|watched| Arc::clone(&watched.before))
    }

    /// It has proved itself: what was before it may go.
    pub(crate) fn prove(&self) {
        *self.probation.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Budget = Budget { errors: 1, within: Duration::from_secs(3600) };

    #[test]
    fn a_turn_that_spends_its_budget_gives_way_to_the_one_before() {
        let (turns, mut undone) = Turns::new("old");
        turns.publish(1, Arc::new("new"), Some(Budget { errors: 2, ..HOUR }));
        let new = turns.now();
        assert!(!turns.spent(&new, "first"));
        assert_eq!((*turns.now().serving, new.number), ("new", 2));
        assert!(turns.spent(&new, "second"));
        assert_eq!((*turns.now().serving, turns.now().number), ("old", 3));
        let told = undone.try_recv().unwrap();
        assert_eq!((*told.failed, told.why.as_str()), ("new", "second"));
        // A call that began before and fails later: it may be made again, but nothing more is undone.
        assert!(turns.spent(&new, "third"));
        assert!(undone.try_recv().is_err() && turns.now().number == 3);
    }

    #[test]
    fn nothing_leads_back_from_a_turn_that_proved_itself_or_had_no_budget() {
        let (turns, _undone) = Turns::new(1);
        assert!(!turns.spent(&turns.now(), "the first has nobody before it"));
        assert!(turns.publish(1, Arc::new(2), None) && !turns.publish(1, Arc::new(0), None));
        assert!(!turns.spent(&turns.now(), "no budget"));
        turns.publish(2, Arc::new(3), Some(HOUR));
        assert_eq!(turns.now().before().as_deref(), Some(&2));
        turns.now().prove();
        assert!(!turns.spent(&turns.now(), "proved") && turns.now().before().is_none());
        turns.publish(3, Arc::new(4), Some(Budget { within: Duration::ZERO, ..HOUR }));
        assert!(!turns.spent(&turns.now(), "its time is over"));
        assert_eq!(*turns.now().serving, 4);
    }

    #[test]
    fn whoever_took_a_turn_keeps_guest_and_configuration_of_it() {
        let (turns, _undone) = Turns::new(("guest 1", "config 1"));
        let taken = turns.now();
        turns.publish(1, Arc::new(("guest 2", "config 2")), Some(HOUR));
        assert_eq!(*taken.serving, ("guest 1", "config 1"));
        assert_eq!(*turns.now().serving, ("guest 2", "config 2"));
    }
}

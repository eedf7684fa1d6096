//! When a device may be looked at: a plug is a burst of events, and what is read in the middle of it is half the truth.
//!
//! The kernel tells of a device before it has a configuration. `bind` of the `usb_device` says that all drivers that
//! bind at once have bound; what comes later (`sda` after a second) is an event of its own. udev, which gives nodes
//! their owners and names, tells the kernel's group nothing: so what has changed is looked at twice more.

use std::time::{Duration, Instant};

use super::Settings;

/// After `bind`, at most this long without an event is enough.
const BOUND_QUIET: Duration = Duration::from_millis(50);
/// Events of a device that is known come in bursts too: it is read when none came for this long …
const LATE_QUIET: Duration = Duration::from_millis(15);
/// … or this long after the first.
const LATE_MAX: Duration = Duration::from_millis(150);
/// Nothing is waited for longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Settings {
    /// The same without what cannot be meant.
    pub(super) fn sane(self) -> Self {
        let settle = self.settle.min(LONGEST);
        Self { settle, settle_max: self.settle_max.clamp(settle, LONGEST), grace: self.grace.min(LONGEST) }
    }
}

/// A device that has come and is not settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settling {
    pub(super) since: Instant,
    last: Instant,
    bound: bool,
}

impl Settling {
    pub(super) fn begin(now: Instant) -> Self {
        Self { since: now, last: now, bound: false }
    }

    /// Something happened on its branch.
    pub(super) fn stir(&mut self, now: Instant, bound: bool) {
        self.last = now;
        self.bound |= bound;
    }

    /// It could not be read: another round.
    pub(super) fn again(&mut self, now: Instant) {
        (self.last, self.bound) = (now, false);
    }

    /// When it is settled if nothing more happens.
    pub(super) fn due(&self, settings: &Settings) -> Instant {
        let quiet = if self.bound { settings.settle.min(BOUND_QUIET) } else { settings.settle };
        (self.last + quiet).min(self.end(settings))
    }

    /// When waiting for it ends in any case.
    pub(super) fn end(&self, settings: &Settings) -> Instant {
        self.since + settings.settle_max
    }
}

/// Events about a device that is settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burst {
    first: Instant,
    last: Instant,
}

impl Burst {
    pub(super) fn begin(now: Instant) -> Self {
        Self { first: now, last: now }
    }

    pub(super) fn stir(&mut self, now: Instant) {
        self.last = now;
    }

    pub(super) fn due(&self) -> Instant {
        (self.last + LATE_QUIET).min(self.first + LATE_MAX)
    }

    /// What is left of it after a look that began at `started`.
    pub(super) fn after(self, started: Instant) -> Option<Self> {
        (self.last > started).then(|| Self::begin(self.last))
    }
}

/// Looks after a change, for what nobody tells of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reviews {
    changed: Instant,
    done: u8,
}

impl Reviews {
    pub(super) fn begin(changed: Instant) -> Self {
        Self { changed, done: 0 }
    }

    pub(super) fn due(&self, settings: &Settings) -> Instant {
        self.changed + if self.done == 0 { settings.settle } else { settings.settle_max }
    }

    /// What is left of them after a look that began at `started`.
    pub(super) fn after(self, started: Instant, settings: &Settings) -> Option<Self> {
        if started < self.due(settings) {
            return Some(self);
        }
        (self.done == 0).then_some(Self { done: 1, ..self })
    }
}

//! Holds libusb's list of devices against ours.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::libusb::Libusb;

/// The lists are compared this long after a change, if it is quiet then.
const PAUSE: Duration = Duration::from_millis(250);
/// After a disagreement the other one is given this long to see what we see.
const SECOND_CHANCE: Duration = Duration::from_secs(1);

/// Bus and address of a device.
pub(super) type Place = (u8, u8);

/// The comparison, now and then.
#[derive(Debug)]
pub(super) struct Check {
    libusb: Arc<Libusb>,
    due: Option<Instant>,
    /// Something happened since the list was asked for.
    stale: bool,
    /// The disagreement that was found last.
    told: Vec<Place>,
}

impl Check {
    pub(super) fn new(libusb: Arc<Libusb>) -> Self {
        Self { libusb, due: None, stale: false, told: Vec::new() }
    }

    /// Something happened on the bus.
    pub(super) fn stir(&mut self) {
        self.stale = true;
        self.libusb.retry();
    }

    /// There is a new list on one side.
    pub(super) fn plan(&mut self, now: Instant) {
        self.due = Some(now + PAUSE);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Asks for libusb's list when it is time and nothing is going on.
    pub(super) fn ask(&mut self, now: Instant, quiet: bool) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        if quiet {
            (self.due, self.stale) = (None, false);
            self.libusb.list();
        } else {
            self.plan(now);
        }
    }

    /// Compares; says whether everything should be looked at again. A disagreement that lasts is told once.
    pub(super) fn compare(&mut self, list: &[Place], ours: &[Place], now: Instant) -> bool {
        if self.stale {
            self.plan(now);
            return false;
        }
        let mut apart: Vec<Place> = list.iter().filter(|place| !ours.contains(place)).copied().collect();
        apart.extend(ours.iter().filter(|place| !list.contains(place)));
        apart.sort_unstable();
        tracing::debug!("libusb knows {} devices, {} are not known to both of us", list.len(), apart.len());
        if apart == self.told {
            return false;
        }
        let news = !apart.is_empty();
        if news {
            tracing::warn!("sysfs and libusb do not agree on the devices (bus, address) {apart:?}: looking again");
            self.due = Some(now + SECOND_CHANCE);
        }
        self.told = apart;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disagreement_is_looked_into_once() {
        let now = Instant::now();
        let mut check = Check::new(Arc::default());
        assert!(!check.compare(&[(1, 1), (1, 2)], &[(1, 2), (1, 1)], now));
        assert!(check.compare(&[(1, 1), (1, 2)], &[(1, 1), (1, 3)], now));
        assert_eq!(check.due(), Some(now + SECOND_CHANCE));
        assert!(!check.compare(&[(1, 1), (1, 2)], &[(1, 1), (1, 3)], now));
        assert!(!check.compare(&[(1, 1)], &[(1, 1)], now));
        assert!(check.compare(&[], &[(1, 1)], now), "a new one is looked into again");
    }

    #[test]
    fn a_list_from_before_an_event_is_not_compared() {
        let now = Instant::now();
        let mut check = Check::new(Arc::default());
        check.plan(now);
        check.ask(now + PAUSE, false);
        assert_eq!(check.due(), Some(now + 2 * PAUSE), "not while something is going on");
        check.ask(now + 2 * PAUSE, true);
        assert_eq!(check.due(), None);
        check.stir();
        assert!(!check.compare(&[], &[(1, 1)], now));
        assert_eq!(check.due(), Some(now + PAUSE));
    }
}

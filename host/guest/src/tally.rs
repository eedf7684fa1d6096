//! Receipts, added up by guest and call for as long as the process runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::call::{CALLS, Kind};
use crate::identity::Identity;
use crate::receipt::{Receipt, nanos};
use crate::runtime::Runtime;

/// Guests that are counted: the present one, and those that served or were tried before.
const GUESTS: usize = 32;

/// All calls of one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestTotals {
    /// As it says itself; before that the file's name.
    pub name: String,
    /// As it says itself; empty before that.
    pub version: String,
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// Those that were made.
    pub calls: Vec<CallTotals>,
}

/// All calls of one function of one guest: real ones, trials and shadow runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CallTotals {
    /// The function of the contract.
    pub call: String,
    /// How many.
    pub count: u64,
    /// How many of them failed, by [`crate::Cause::kind`].
    pub failures: BTreeMap<String, u64>,
    /// Sum of [`Receipt::guest_time`].
    pub guest_nanoseconds: u64,
    /// The longest.
    pub guest_nanoseconds_max: u64,
    /// Sum of [`Receipt::host_time`].
    pub host_nanoseconds: u64,
    /// The longest.
    pub host_nanoseconds_max: u64,
    /// The most bytes of memory in one call.
    pub memory_max: u64,
    /// Sum.
    pub bytes_in: u64,
    /// Sum.
    pub bytes_out: u64,
    /// Sum.
    pub log_lines: u64,
    /// Calls by time, guest and host together: four steps to every doubling of nanoseconds, from 1 on.
    pub histogram: Vec<u64>,
}

/// Steps to a doubling.
const STEPS: u64 = 4;

impl CallTotals {
    fn add(&mut self, receipt: &Receipt) {
        let sum = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        let (guest, host) = (nanos(receipt.guest_time), nanos(receipt.host_time));
        sum(&mut self.count, 1);
        sum(&mut self.guest_nanoseconds, guest);
        sum(&mut self.host_nanoseconds, host);
        sum(&mut self.bytes_in, receipt.bytes_in);
        sum(&mut self.bytes_out, receipt.bytes_out);
        sum(&mut self.log_lines, receipt.log_lines);
        self.guest_nanoseconds_max = self.guest_nanoseconds_max.max(guest);
        self.host_nanoseconds_max = self.host_nanoseconds_max.max(host);
        self.memory_max = self.memory_max.max(receipt.memory);
        if let Some(kind) = receipt.failed {
            sum(self.failures.entry(kind.to_owned()).or_default(), 1);
        }
        let step = step(guest.saturating_add(host));
        if self.histogram.len() <= step {
            self.histogram.resize(step + 1, 0);
        }
        if let Some(calls) = self.histogram.get_mut(step) {
            sum(calls, 1);
        }
    }

    /// Nanoseconds within which this part of the calls was answered, to a fifth: `0.99` for p99. 0 without calls.
    pub fn quantile(&self, part: f64) -> u64 {
        let mut before = 0.0;
        let all = float(self.count);
        for (step, calls) in self.histogram.iter().enumerate() {
            before += float(*calls);
            if *calls > 0 && before >= part * all {
                return end_of(step);
            }
        }
        0
    }

    /// Calls that were answered within 2^`power` nanoseconds.
    pub fn within(&self, power: u32) -> u64 {
        let steps = usize::try_from(u64::from(power).saturating_mul(STEPS)).unwrap_or(usize::MAX);
        self.histogram.iter().take(steps).fold(0, |sum, calls| sum.saturating_add(*calls))
    }
}

/// The step of a time: the power of two below it, and the quarter of the way to the next.
fn step(nanos: u64) -> usize {
    let power = u64::from(nanos.max(1).ilog2());
    let above = nanos.max(1) - (1 << power);
    let quarter = u64::try_from((u128::from(above) * u128::from(STEPS)) >> power).unwrap_or(0);
    usize::try_from(power * STEPS + quarter).unwrap_or(0)
}

/// Where a step ends.
fn end_of(step: usize) -> u64 {
    let step = u64::try_from(step).unwrap_or(0) + 1;
    let (power, quarter) = (step / STEPS, step % STEPS);
    let end = (1_u128 << power.min(64)) * u128::from(STEPS + quarter) / u128::from(STEPS);
    u64::try_from(end).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}

/// The calls of one guest, each function's behind a lock of its own.
#[derive(Debug)]
pub(crate) struct Tally {
    digest: String,
    named: Mutex<(String, String)>,
    calls: [Mutex<CallTotals>; CALLS.len()],
}

impl Tally {
    pub(crate) fn add(&self, kind: &Kind, receipt: &Receipt) {
        if let Some(totals) = self.calls.get(kind.place) {
            locked(totals).add(receipt);
        }
    }

    fn totals(&self) -> GuestTotals {
        let (name, version) = locked(&self.named).clone();
        let calls = CALLS.iter().zip(&self.calls).filter_map(|(kind, totals)| {
            let totals = locked(totals);
            (totals.count > 0).then(|| CallTotals { call: kind.name.to_owned(), ..totals.clone() })
        });
        GuestTotals { name, version, digest: self.digest.clone(), calls: calls.collect() }
    }
}

/// By guest, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<VecDeque<Arc<Tally>>>);

impl Tallies {
    /// Where calls of this guest are counted.
    pub(crate) fn of(&self, guest: &Identity) -> Arc<Tally> {
        let named = (guest.name.clone(), guest.version.clone());
        let mut all = locked(&self.0);
        if let Some(known) = all.iter().find(|tally| tally.digest == guest.digest) {
            let mut before = locked(&known.named);
            if before.1.is_empty() {
                *before = named;
            }
            return Arc::clone(known);
        }
        // Who was forgotten while it still serves would be counted where nobody looks: the oldest that nobody holds goes first.
        while all.len() >= GUESTS {
            let idle = all.iter().position(|tally| Arc::strong_count(tally) == 1).unwrap_or(0);
            all.remove(idle);
        }
        let tally =
            Arc::new(Tally { digest: guest.digest.clone(), named: Mutex::new(named), calls: Default::default() });
        all.push_back(Arc::clone(&tally));
        tally
    }
}

impl Runtime {
    /// What every guest of this process took so far; of the last few guests.
    pub fn totals(&self) -> Vec<GuestTotals> {
        let all: Vec<Arc<Tally>> = locked(&self.0.tallies.0).iter().cloned().collect();
        all.iter().map(|tally| tally.totals()).filter(|guest| !guest.calls.is_empty()).collect()
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_step_begins_where_the_one_before_ends() {
        // Below that steps are less than a nanosecond.
        for nanos in (4..2000).chain([u64::MAX / 3, u64::MAX]) {
            let step = step(nanos);
            assert!(nanos < end_of(step) || nanos == u64::MAX, "{nanos}");
            assert!(step == 0 || nanos >= end_of(step - 1), "{nanos}");
        }
        assert_eq!((end_of(step(1 << 20)), step(1 << 20)), ((1 << 20) / 4 * 5, 80));
    }

    #[test]
    fn the_slow_hundredth_is_seen_in_p99_and_not_in_the_median() {
        let mut totals = CallTotals::default();
        for call in 0..100 {
            let guest_time = if call < 98 { Duration::from_micros(100) } else { Duration::from_millis(50) };
            let failed = (call == 99).then_some("trap");
            totals.add(&Receipt { guest_time, failed, ..Receipt::of("group") });
        }
        assert!((100_000..125_000).contains(&totals.quantile(0.5)), "{}", totals.quantile(0.5));
        assert!((50_000_000..62_500_000).contains(&totals.quantile(0.99)), "{}", totals.quantile(0.99));
        assert_eq!((totals.within(17), totals.within(30), totals.within(64)), (98, 100, 100));
        assert_eq!(totals.failures, BTreeMap::from([("trap".to_owned(), 1)]));
        assert_eq!(totals.guest_nanoseconds_max, 50_000_000);
    }

    #[test]
    fn guests_that_nobody_holds_are_forgotten_first() {
        let tallies = Tallies::default();
        let named = |number: usize| Identity { name: "x".into(), version: "1".into(), digest: number.to_string() };
        let held = tallies.of(&named(0));
        for number in 1..1000 {
            tallies.of(&named(number));
        }
        assert!(Arc::ptr_eq(&held, &tallies.of(&named(0))));
        assert_eq!(locked(&tallies.0).len(), GUESTS);
    }
}

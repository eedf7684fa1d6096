//! A USB policy that may be called.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use semver::Version;
use serde::Serialize;
use wasmtime::Store;

use crate::answer;
use crate::call::{self, Callee, Kind};
use crate::error::{Cause, GuestError};
use crate::guest::Guest;
use crate::limits::Limits;
use crate::outline::Import;
use crate::question::{Answer, Question};
use crate::state::State;
use crate::tier::{Code, Ready};
use crate::usb::{
    CounterSet, Description, Diagnostic, GroupName, Instance, InstanceStats, Offer, Reservation, Snapshot,
};
use crate::worlds::usb::{Usb, UsbPre};

/// A guest of world `usb-plugin` that passed every stage of loading. Cheap to clone.
///
/// Calls block, at most for their deadline: make them on a thread that may, with the usual 2 MiB of stack (a guest uses up to 512 KiB of
/// the calling thread's), never on an async runtime's worker. Any number may be made at once; each runs in a fresh instance, so one
/// that fails or spins is nothing to the others.
#[derive(Clone)]
pub struct UsbPolicy {
    pub(crate) guest: Arc<Guest>,
    pub(crate) code: Code<UsbPre>,
}

impl fmt::Debug for UsbPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UsbPolicy({} from {})", self.guest.callee.identity, self.guest.origin)
    }
}

impl UsbPolicy {
    /// What it says of itself.
    pub fn about(&self) -> &Description {
        &self.guest.about
    }

    /// SHA-256 of the component, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.guest.callee.identity.digest
    }

    /// The version of `yurt:plugin` that it was built for.
    pub fn contract(&self) -> &Version {
        &self.guest.contract
    }

    /// What it asked for, all granted.
    pub fn imports(&self) -> &[Import] {
        &self.guest.imports
    }

    /// The file or embedded guest that it came from.
    pub fn origin(&self) -> &str {
        &self.guest.origin
    }

    /// Who translated the code that the next call runs in: `cranelift`, or `winch` until that is ready.
    pub fn translator(&self) -> &'static str {
        self.code.now().tier.translator.word()
    }

    /// Judges a configuration (JSON text by the guest's own schema).
    pub fn check_config(&self, config: &str) -> Result<Vec<Diagnostic>, GuestError> {
        let question = Question::CheckConfig { config: config.into() };
        let config = config.to_owned();
        self.call(
            &call::CHECK_CONFIG,
            question,
            |guest, store| guest.check_config(store, &config),
            |answer, limits| answer::diagnostics(answer, limits),
            |answer| answer,
            |answer| Answer::Diagnostics(answer.into()),
        )
    }

    /// What to offer. `memory` is what the last offer said to remember. The inner error is the guest's own, printable: the last offer stands.
    pub fn group(
        &self,
        config: &str,
        facts: &Snapshot,
        memory: Option<&str>,
    ) -> Result<Result<Offer, String>, GuestError> {
        let question =
            Question::Group { config: config.into(), facts: Cow::Borrowed(facts), memory: memory.map(Cow::from) };
        let (config, memory) = (config.to_owned(), memory.map(str::to_owned));
        self.call(
            &call::GROUP,
            question,
            |guest, store| guest.group(store, &config, facts, memory.as_ref()),
            |answer, limits| either(answer, |offer| answer::usb::offer(offer, limits)),
            |answer| self.printable(answer),
            |answer| Answer::Offer(Cow::Borrowed(answer)),
        )
    }

    /// What a task gets for `reserved`, instances of `group` as they were offered. `facts` are of their members and the hubs above.
    pub fn reserve(
        &self,
        config: &str,
        facts: &Snapshot,
        group: &GroupName,
        reserved: &[Instance],
    ) -> Result<Result<Reservation, String>, GuestError> {
        let question = Question::Reserve {
            config: config.into(),
            facts: Cow::Borrowed(facts),
            group: Cow::Borrowed(group),
            reserved: reserved.into(),
        };
        let config = config.to_owned();
        self.call(
            &call::RESERVE,
            question,
            |guest, store| guest.reserve(store, &config, facts, group, reserved),
            |answer, limits| either(answer, |reservation| answer::usb::reservation(reservation, limits)),
            |answer| self.printable(answer),
            |answer| Answer::Reservation(Cow::Borrowed(answer)),
        )
    }

    /// Figures for people about `offered`, from the kernel's counters of their members.
    pub fn stats(
        &self,
        config: &str,
        counters: &[CounterSet],
        offered: &[Instance],
    ) -> Result<Result<Vec<InstanceStats>, String>, GuestError> {
        let question = Question::Stats { config: config.into(), counters: counters.into(), offered: offered.into() };
        let config = config.to_owned();
        self.call(
            &call::STATS,
            question,
            |guest, store| guest.stats(store, &config, counters, offered),
            |answer, limits| either(answer, |stats| answer::usb::stats(stats, limits)),
            |answer| self.printable(answer),
            |answer| Answer::Stats(Cow::Borrowed(answer)),
        )
    }

    fn call<R: Serialize>(
        &self,
        kind: &Kind,
        question: Question<'_>,
        function: impl FnOnce(&Usb, &mut Store<State>) -> wasmtime::Result<R>,
        check: impl FnOnce(&R, &Limits) -> Result<(), Cause>,
        clean: impl FnOnce(R) -> R,
        answer: impl for<'r> FnOnce(&'r R) -> Answer<'r>,
    ) -> Result<R, GuestError> {
        let code = self.code.now();
        let (outcome, receipt) =
            self.guest.callee.call(kind, &code.tier, &question, |store| code.pre.instantiate(store), function, check);
        let outcome = outcome.map(clean);
        self.guest.told(question, &outcome, &receipt, answer);
        outcome
    }

    fn printable<T>(&self, answer: Result<T, String>) -> Result<T, String> {
        answer.map_err(|why| self.guest.printable(&why))
    }
}

/// Only answers are held against limits; an error's text is cut instead.
fn either<T, E>(answer: &Result<T, String>, check: impl FnOnce(&T) -> Result<(), E>) -> Result<(), E> {
    answer.as_ref().map_or(Ok(()), check)
}

/// What a guest says of itself, before it is known by it.
pub(crate) fn describe(callee: &Callee, ready: &Ready<UsbPre>) -> Result<Description, GuestError> {
    let outcome = callee.call(
        &call::DESCRIBE,
        &ready.tier,
        &(),
        |store| ready.pre.instantiate(store),
        |guest, store| guest.describe(store),
        answer::description,
    );
    outcome.0
}

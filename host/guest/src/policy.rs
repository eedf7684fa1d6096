//! A USB policy that may be called.

use std::fmt;
use std::sync::Arc;

use semver::Version;

use crate::answer;
use crate::call::{self, Callee};
use crate::error::GuestError;
use crate::journal::clean;
use crate::outline::Import;
use crate::usb::{
    CounterSet, Description, Diagnostic, GroupName, Instance, InstanceStats, Offer, Reservation, Snapshot,
};

/// A guest that passed every stage of loading. Cheap to clone.
///
/// Calls block, at most for their deadline: make them on a thread that may, with the usual 2 MiB of stack (a guest uses up to 512 KiB of
/// the calling thread's), never on an async runtime's worker. Any number may be made at once; each runs in a fresh instance, so one
/// that fails or spins is nothing to the others.
#[derive(Clone)]
pub struct UsbPolicy(pub(crate) Arc<Active>);

pub(crate) struct Active {
    pub(crate) callee: Callee,
    pub(crate) about: Description,
    pub(crate) contract: Version,
    pub(crate) imports: Vec<Import>,
    pub(crate) origin: String,
}

impl fmt::Debug for UsbPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UsbPolicy({} from {})", self.0.callee.identity, self.0.origin)
    }
}

impl UsbPolicy {
    /// What it says of itself.
    pub fn about(&self) -> &Description {
        &self.0.about
    }

    /// SHA-256 of the component, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.0.callee.identity.digest
    }

    /// The version of `yurt:plugin` that it was built for.
    pub fn contract(&self) -> &Version {
        &self.0.contract
    }

    /// What it asked for, all granted.
    pub fn imports(&self) -> &[Import] {
        &self.0.imports
    }

    /// The file or embedded guest that it came from.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Judges a configuration (JSON text by the guest's own schema).
    pub fn check_config(&self, config: &str) -> Result<Vec<Diagnostic>, GuestError> {
        let config = config.to_owned();
        self.0.callee.call(
            &call::CHECK_CONFIG,
            |guest, store| guest.yurt_plugin_usb_policy().call_check_config(store, &config),
            |answer, limits| answer::diagnostics(answer, limits),
        )
    }

    /// What to offer. `memory` is what the last offer said to remember. The inner error is the guest's own, printable: the last offer stands.
    pub fn group(
        &self,
        config: &str,
        facts: &Snapshot,
        memory: Option<&str>,
    ) -> Result<Result<Offer, String>, GuestError> {
        let (config, memory) = (config.to_owned(), memory.map(str::to_owned));
        self.0
            .callee
            .call(
                &call::GROUP,
                |guest, store| guest.yurt_plugin_usb_policy().call_group(store, &config, facts, memory.as_ref()),
                |answer, limits| either(answer, |offer| answer::offer(offer, limits)),
            )
            .map(|answer| self.printable(answer))
    }

    /// What a task gets for `reserved`, instances of `group` as they were offered. `facts` are of their members and the hubs above.
    pub fn reserve(
        &self,
        config: &str,
        facts: &Snapshot,
        group: &GroupName,
        reserved: &[Instance],
    ) -> Result<Result<Reservation, String>, GuestError> {
        let config = config.to_owned();
        self.0
            .callee
            .call(
                &call::RESERVE,
                |guest, store| guest.yurt_plugin_usb_policy().call_reserve(store, &config, facts, group, reserved),
                |answer, limits| either(answer, |reservation| answer::reservation(reservation, limits)),
            )
            .map(|answer| self.printable(answer))
    }

    /// Figures for people about `offered`, from the kernel's counters of their members.
    pub fn stats(
        &self,
        config: &str,
        counters: &[CounterSet],
        offered: &[Instance],
    ) -> Result<Result<Vec<InstanceStats>, String>, GuestError> {
        let config = config.to_owned();
        self.0
            .callee
            .call(
                &call::STATS,
                |guest, store| guest.yurt_plugin_usb_policy().call_stats(store, &config, counters, offered),
                |answer, limits| either(answer, |stats| answer::stats(stats, limits)),
            )
            .map(|answer| self.printable(answer))
    }

    /// The guest's own errors end up in logs and in front of people.
    fn printable<T>(&self, answer: Result<T, String>) -> Result<T, String> {
        let most = usize::try_from(self.0.callee.shared.limits().text).unwrap_or(usize::MAX);
        answer.map_err(|why| clean(&why, most).0)
    }
}

/// Only answers are held against limits; an error's text is cut instead.
fn either<T, E>(answer: &Result<T, String>, check: impl FnOnce(&T) -> Result<(), E>) -> Result<(), E> {
    answer.as_ref().map_or(Ok(()), check)
}

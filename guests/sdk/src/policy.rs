//! The world `usb-plugin` as a trait with typed configuration and memory, and the adapter that speaks WIT for it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::exports::yurt::plugin::usb_policy::{self as wit, Guest};
use crate::facts::{CounterSet, Snapshot};
use crate::offer::{DeviceGroup, GroupName, Instance, InstanceStats, Reservation};
use crate::{Description, Diagnostic, Severity, config, log};

/// A policy for USB devices. Every function is pure: the same arguments give the same answer, and nothing survives a call but
/// the memory that [`UsbPolicy::group`] returns.
pub trait UsbPolicy: 'static {
    /// The operator's configuration. Every key of the schema is present in the JSON that it is read from, `null` where nothing
    /// was given: use `Option`, or defaults in the schema.
    type Config: DeserializeOwned;
    /// What [`UsbPolicy::group`] wants back with its next call, at most 64 KiB as JSON; `()` for a policy that remembers nothing.
    type Memory: Serialize + DeserializeOwned;

    /// What the guest says of itself; must not depend on anything.
    fn describe() -> Description;

    /// Findings about a configuration that could be read into [`UsbPolicy::Config`]; what could not be is reported without asking.
    /// An error stops the operator's agent at its start, so report only what was typed wrong, never the state of the hardware.
    fn check_config(_config: &Self::Config) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// What to offer. On an error the last offer stands.
    fn group(
        config: &Self::Config,
        facts: &Snapshot,
        memory: Option<Self::Memory>,
    ) -> Result<Offer<Self::Memory>, String>;

    /// What the task gets for these instances of one offered group; the facts are of their members and the hubs above them.
    /// On an error Nomad places the task again.
    fn reserve(
        config: &Self::Config,
        facts: &Snapshot,
        group: &GroupName,
        reserved: &[Instance],
    ) -> Result<Reservation, String>;

    /// Numbers for people, per instance. Asked once a second by default.
    fn stats(
        _config: &Self::Config,
        _counters: &[CounterSet],
        _offered: &[Instance],
    ) -> Result<Vec<InstanceStats>, String> {
        Ok(Vec::new())
    }
}

/// What is offered, and what to remember.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer<M> {
    /// The groups.
    pub groups: Vec<DeviceGroup>,
    /// Handed back with the next call.
    pub memory: Option<M>,
    /// Ask again after this time even if no fact changed.
    pub ask_again_milliseconds: Option<u32>,
}

impl<M> Offer<M> {
    /// Groups alone: nothing to remember, asked again on change only.
    pub fn of(groups: Vec<DeviceGroup>) -> Self {
        Self { groups, memory: None, ask_again_milliseconds: None }
    }
}

/// Speaks the contract for a [`UsbPolicy`]; named by [`crate::usb_policy!`], of no use elsewhere.
pub struct Adapter<P>(std::marker::PhantomData<P>);

impl<P: UsbPolicy> Guest for Adapter<P> {
    fn describe() -> Description {
        log::panics_to_log();
        P::describe()
    }

    fn check_config(text: String) -> Vec<Diagnostic> {
        log::panics_to_log();
        match config::parse(&text) {
            Ok(config) => P::check_config(&config),
            Err(problem) => {
                vec![Diagnostic { severity: Severity::Error, path: problem.path, message: problem.message, hint: None }]
            }
        }
    }

    fn group(text: String, facts: Snapshot, memory: Option<String>) -> Result<wit::Offer, String> {
        log::panics_to_log();
        let config = config::parse(&text).map_err(|problem| problem.to_string())?;
        let offer = P::group(&config, &facts, memory.as_deref().and_then(recall))?;
        let memory = match &offer.memory {
            Some(memory) => Some(serde_json::to_string(memory).map_err(|e| format!("memory cannot be kept: {e}"))?),
            None => None,
        };
        Ok(wit::Offer { groups: offer.groups, memory, ask_again_milliseconds: offer.ask_again_milliseconds })
    }

    fn reserve(
        text: String,
        facts: Snapshot,
        group: GroupName,
        reserved: Vec<Instance>,
    ) -> Result<Reservation, String> {
        log::panics_to_log();
        let config = config::parse(&text).map_err(|problem| problem.to_string())?;
        P::reserve(&config, &facts, &group, &reserved)
    }

    fn stats(text: String, counters: Vec<CounterSet>, offered: Vec<Instance>) -> Result<Vec<InstanceStats>, String> {
        log::panics_to_log();
        let config = config::parse(&text).map_err(|problem| problem.to_string())?;
        P::stats(&config, &counters, &offered)
    }
}

/// Memory may come from another version of the guest (it outlives swaps and restarts): what cannot be read counts as none.
fn recall<M: DeserializeOwned>(text: &str) -> Option<M> {
    match serde_json::from_str(text) {
        Ok(memory) => Some(memory),
        Err(e) => {
            crate::warn!("memory of another version is left behind: {e}");
            None
        }
    }
}

/// Makes a type that implements [`UsbPolicy`] the one that this component exports. Once per crate; does nothing in a native build,
/// so that the same crate is unit-tested without wasm.
#[macro_export]
macro_rules! usb_policy {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            type Exported = $crate::Adapter<$policy>;
    $crate::bindings::export!(Exported with_types_in $crate::bindings);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_policy<P: $crate::UsbPolicy>() {}
            is_a_policy::<$policy>()
        };
    };
}

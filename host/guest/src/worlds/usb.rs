//! World `usb-plugin`, whatever version of it a guest was built for.

use wasmtime::component::InstancePre;
use wasmtime::{Result, Store};

use super::Contract;
#[cfg(test)]
use super::v0_0_9;
use super::v0_1_0::bindings::{UsbPlugin, UsbPluginPre};
use crate::state::State;
use crate::usb::{
    CounterSet, Description, Diagnostic, GroupName, Instance, InstanceStats, Offer, Reservation, Snapshot,
};

/// A linked guest.
pub(crate) enum UsbPre {
    V0_1(UsbPluginPre<State>),
    #[cfg(test)]
    V0_0(v0_0_9::bindings::UsbPluginPre<State>),
}

impl UsbPre {
    pub(crate) fn new(contract: Contract, pre: InstancePre<State>) -> Result<UsbPre> {
        match contract {
            Contract::V0_1 => UsbPluginPre::new(pre).map(UsbPre::V0_1),
            #[cfg(test)]
            Contract::V0_0 => v0_0_9::bindings::UsbPluginPre::new(pre).map(UsbPre::V0_0),
        }
    }

    pub(crate) fn instantiate(&self, store: &mut Store<State>) -> Result<Usb> {
        match self {
            UsbPre::V0_1(pre) => pre.instantiate(store).map(Usb::V0_1),
            #[cfg(test)]
            UsbPre::V0_0(pre) => pre.instantiate(store).map(|guest| Usb::V0_0(v0_0_9::Usb(guest))),
        }
    }
}

/// An instance, to be called once.
pub(crate) enum Usb {
    V0_1(UsbPlugin),
    #[cfg(test)]
    V0_0(v0_0_9::Usb),
}

type Answer<T> = Result<std::result::Result<T, String>>;

impl Usb {
    pub(crate) fn describe(&self, store: &mut Store<State>) -> Result<Description> {
        match self {
            Usb::V0_1(guest) => guest.yurt_plugin_usb_policy().call_describe(store),
            #[cfg(test)]
            Usb::V0_0(guest) => guest.describe(store),
        }
    }

    pub(crate) fn check_config(&self, store: &mut Store<State>, config: &String) -> Result<Vec<Diagnostic>> {
        match self {
            Usb::V0_1(guest) => guest.yurt_plugin_usb_policy().call_check_config(store, config),
            #[cfg(test)]
            Usb::V0_0(guest) => guest.check_config(store, config),
        }
    }

    pub(crate) fn group(
        &self,
        store: &mut Store<State>,
        config: &String,
        facts: &Snapshot,
        memory: Option<&String>,
    ) -> Answer<Offer> {
        match self {
            Usb::V0_1(guest) => guest.yurt_plugin_usb_policy().call_group(store, config, facts, memory),
            #[cfg(test)]
            Usb::V0_0(guest) => guest.group(store, config, facts, memory),
        }
    }

    pub(crate) fn reserve(
        &self,
        store: &mut Store<State>,
        config: &String,
        facts: &Snapshot,
        group: &GroupName,
        reserved: &[Instance],
    ) -> Answer<Reservation> {
        match self {
            Usb::V0_1(guest) => guest.yurt_plugin_usb_policy().call_reserve(store, config, facts, group, reserved),
            #[cfg(test)]
            Usb::V0_0(guest) => guest.reserve(store, config, facts, group, reserved),
        }
    }

    pub(crate) fn stats(
        &self,
        store: &mut Store<State>,
        config: &String,
        counters: &[CounterSet],
        offered: &[Instance],
    ) -> Answer<Vec<InstanceStats>> {
        match self {
            Usb::V0_1(guest) => guest.yurt_plugin_usb_policy().call_stats(store, config, counters, offered),
            #[cfg(test)]
            Usb::V0_0(guest) => guest.stats(store, config, counters, offered),
        }
    }
}

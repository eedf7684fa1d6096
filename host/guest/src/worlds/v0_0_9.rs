//! `yurt:plugin@0.0.9`, which never was: what a version looks like to which the newest has added a field of a device and one of an offer.

use wasmtime::{Result, Store};

use super::converted;
use crate::state::State;
use crate::usb::{
    CounterSet, Description, Diagnostic, GroupName, Instance, InstanceStats, Offer, Reservation, Snapshot,
};

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "tests/older",
        world: "usb-plugin",
        with: { "yurt:plugin/common": crate::worlds::v0_1_0::bindings::yurt::plugin::common },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        require_store_data_send: true,
    });
}

use bindings::UsbPlugin;
use bindings::yurt::plugin::log;

type Answer<T> = Result<std::result::Result<T, String>>;

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) {
        use super::v0_1_0::bindings::yurt::plugin::log::{Host, Level};
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        Host::write(self, level, message);
    }
}

/// The guest's own error inside, ours outside.
fn swapped<T>(answer: std::result::Result<Result<T>, String>) -> Answer<T> {
    match answer {
        Ok(answer) => answer.map(Ok),
        Err(why) => Ok(Err(why)),
    }
}

pub(crate) struct Usb(pub(crate) UsbPlugin);

impl Usb {
    pub(crate) fn describe(&self, store: &mut Store<State>) -> Result<Description> {
        self.0.yurt_plugin_usb_policy().call_describe(store)
    }

    pub(crate) fn check_config(&self, store: &mut Store<State>, config: &String) -> Result<Vec<Diagnostic>> {
        self.0.yurt_plugin_usb_policy().call_check_config(store, config)
    }

    pub(crate) fn group(
        &self,
        store: &mut Store<State>,
        config: &String,
        facts: &Snapshot,
        memory: Option<&String>,
    ) -> Answer<Offer> {
        let answer = self.0.yurt_plugin_usb_policy().call_group(store, config, &converted(facts)?, memory)?;
        swapped(answer.map(|offer| converted(&offer)))
    }

    pub(crate) fn reserve(
        &self,
        store: &mut Store<State>,
        config: &String,
        facts: &Snapshot,
        group: &GroupName,
        reserved: &[Instance],
    ) -> Answer<Reservation> {
        let guest = self.0.yurt_plugin_usb_policy();
        let reserved: Vec<_> = converted(reserved)?;
        let answer = guest.call_reserve(store, config, &converted(facts)?, &converted(group)?, &reserved)?;
        swapped(answer.map(|reservation| converted(&reservation)))
    }

    pub(crate) fn stats(
        &self,
        store: &mut Store<State>,
        config: &String,
        counters: &[CounterSet],
        offered: &[Instance],
    ) -> Answer<Vec<InstanceStats>> {
        let (counters, offered): (Vec<_>, Vec<_>) = (converted(counters)?, converted(offered)?);
        let answer = self.0.yurt_plugin_usb_policy().call_stats(store, config, &counters, &offered)?;
        swapped(answer.map(|stats| converted(&stats)))
    }
}

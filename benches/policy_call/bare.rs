//! The same component on nothing but wasmtime: the least that anybody has to write to call it with the same engine settings.

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Result, Store};

mod bindings {
    wasmtime::component::bindgen!({ path: "../wit/0.1.0", world: "usb-plugin" });
}

use bindings::exports::yurt::plugin::usb_policy::Offer;
use bindings::yurt::plugin::log;
use bindings::{UsbPlugin, UsbPluginPre};

pub mod usb {
    pub use super::bindings::yurt::plugin::usb::*;
}

#[path = "facts.rs"]
pub mod facts;

/// The state of a store: the log import has nowhere to write.
pub struct Nothing;

impl log::Host for Nothing {
    fn write(&mut self, _level: log::Level, _message: String) {}
}

pub struct Bare {
    engine: Engine,
    pre: UsbPluginPre<Nothing>,
}

impl Bare {
    pub fn new(engine: &Engine, component: &Component) -> Result<Bare> {
        let mut linker = Linker::new(engine);
        log::add_to_linker::<Nothing, HasSelf<Nothing>>(&mut linker, |state| state)?;
        Ok(Bare { engine: engine.clone(), pre: UsbPluginPre::new(linker.instantiate_pre(component)?)? })
    }

    /// A fresh instance, one call, dropped.
    pub fn group(&self, config: &str, facts: &usb::Snapshot) -> Result<Result<Offer, String>> {
        let mut store = Store::new(&self.engine, Nothing);
        store.set_epoch_deadline(u64::MAX / 2);
        let guest: UsbPlugin = self.pre.instantiate(&mut store)?;
        guest.yurt_plugin_usb_policy().call_group(&mut store, &config.to_owned(), facts, None)
    }
}

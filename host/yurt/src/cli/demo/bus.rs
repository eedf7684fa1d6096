//! The simulated bus of the demo: a hub with a serial adapter and a key, and a port for a stick that comes and goes.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use yurt_usb::Roots;
use yurt_usb::sim::{Bus, models};

pub(super) struct SimulatedBus {
    pub(super) dir: PathBuf,
    bus: Bus,
    requests: Cell<u32>,
}

impl SimulatedBus {
    /// Where the stick is plugged.
    pub(super) const PORT: &'static str = "1-1.3";

    pub(super) fn make(dir: &Path) -> anyhow::Result<SimulatedBus> {
        let bus = Bus::create(&Roots::simulated(dir)).context("a USB bus cannot be simulated")?;
        bus.plug("usb1", &models::root_hub(4))?;
        bus.plug("1-1", &models::hub(4))?;
        bus.plug("1-1.1", &models::cp2102())?;
        bus.plug("1-1.2", &models::yubikey())?;
        Ok(SimulatedBus { dir: dir.to_owned(), bus, requests: Cell::new(12) })
    }

    pub(super) fn plug(&self) -> anyhow::Result<()> {
        self.bus.plug(Self::PORT, &models::memory_stick()).context("cannot plug the stick")
    }

    pub(super) fn unplug(&self) -> anyhow::Result<()> {
        self.bus.unplug(Self::PORT).context("cannot unplug the stick")
    }

    /// As if a task had talked to the stick.
    pub(super) fn use_it(&self) -> anyhow::Result<()> {
        self.requests.set(self.requests.get() + 30);
        Ok(self.bus.set_attribute(Self::PORT, "urbnum", self.requests.get().to_string())?)
    }
}

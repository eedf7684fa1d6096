//! What is to be known of a guest without serving it.

use std::time::Duration;

use crate::driver::DriverDescription;
use crate::error::LoadError;
use crate::load::Found;
use crate::outline::{Import, World};
use crate::runtime::Runtime;
use crate::source::Source;
use crate::usb::Description;

/// A guest from outside, as far as loading came.
#[derive(Debug)]
pub struct Inspection {
    /// The file, or the embedded guest's name.
    pub origin: String,
    /// Bytes of the component.
    pub size: Option<usize>,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: Option<String>,
    /// What it asks for.
    pub imports: Vec<Import>,
    /// What it offers.
    pub exports: Vec<String>,
    /// What it decides about.
    pub world: Option<World>,
    /// The version of `yurt:plugin` whose world it implements.
    pub contract: Option<semver::Version>,
    /// How long it took to compile; none where it was not, or came from the cache.
    pub compiling: Option<Duration>,
    /// What it says of itself, its configuration schema included.
    pub about: Option<Description>,
    /// What a task driver's guest says beside that, the schema of its tasks included.
    pub driver: Option<DriverDescription>,
    /// Why and at which stage it would be refused; none: it would be served if its trial with the default configuration succeeds.
    pub refused: Option<LoadError>,
    /// The guest, to be tried.
    pub loaded: Option<crate::load::Loaded>,
}

impl Runtime {
    /// Takes a guest as far as it gets. Never fails: what is wrong with the guest is part of the answer.
    pub fn inspect(&self, source: &Source) -> Inspection {
        let mut found = Found::default();
        let (loaded, refused) = match self.stages(source, &mut found) {
            Ok(loaded) => (Some(loaded), None),
            Err(why) => (None, Some(why)),
        };
        let Found { size, digest, outline, world, contract, compiling, about, driver } = found;
        let outline = outline.unwrap_or_default();
        Inspection {
            origin: source.origin(),
            size,
            digest,
            imports: outline.imports,
            exports: outline.exports,
            world,
            contract,
            compiling,
            about,
            driver,
            refused,
            loaded,
        }
    }
}

//! From bytes to a guest that may be called, stage by stage. Each stage has a type, so that an unchecked component cannot be called.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use semver::Version;
use wasmtime::component::Component;

use crate::call::Callee;
use crate::driver::DriverDescription;
use crate::error::{CompileCause, LoadCause, LoadError, Stage, short};
use crate::guest::Guest;
use crate::identity::{Identity, digest};
use crate::journal::clean;
use crate::limits::Limits;
use crate::logic::{self, DriverLogic};
use crate::outline::{Outline, World};
use crate::policy::{self, UsbPolicy};
use crate::runtime::Runtime;
use crate::source::{self, Source};
use crate::trial::{self, DriverTrial, Trial};
use crate::usb::Description;
use crate::worlds::v0_1_0::bindings::UsbPluginPre;
use crate::worlds::v0_1_0::driver_bindings::DriverPluginPre;
use crate::{about, cache, compiled};

/// A guest that was checked, compiled and asked who it is, but not tried: see [`Loaded::activate`] and [`Loaded::activate_driver`].
#[derive(Debug)]
pub struct Loaded(Logic);

#[derive(Debug)]
enum Logic {
    Usb(UsbPolicy),
    Driver(DriverLogic),
}

/// What loading found on its way, as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) size: Option<usize>,
    pub(crate) digest: Option<String>,
    pub(crate) outline: Option<Outline>,
    pub(crate) world: Option<World>,
    pub(crate) contract: Option<Version>,
    /// How long compiling took; none: it came from the cache.
    pub(crate) compiling: Option<Duration>,
    pub(crate) about: Option<Description>,
    pub(crate) driver: Option<DriverDescription>,
}

impl Runtime {
    /// Takes a guest through every stage up to its description. Blocks: the first time for as long as compiling takes (tens of
    /// milliseconds for a Rust guest, seconds for an interpreter), later for about a millisecond.
    pub fn open(&self, source: &Source) -> Result<Loaded, LoadError> {
        self.stages(source, &mut Found::default())
    }

    pub(crate) fn stages(&self, source: &Source, found: &mut Found) -> Result<Loaded, LoadError> {
        let mut stage = Stage::File;
        self.try_stages(source, found, &mut stage)
            .map_err(|cause| refused(source.origin(), found.digest.clone(), stage, cause))
    }

    fn try_stages(&self, source: &Source, found: &mut Found, stage: &mut Stage) -> Result<Loaded, LoadCause> {
        let shared = &self.0;
        let limits = shared.limits();
        let read;
        let bytes: &[u8] = match source {
            Source::Embedded { bytes, .. } => bytes,
            Source::Read { bytes, .. } => bytes,
            Source::File(path) => {
                read = source::read(path, &shared.trusted_uids, limits.component)?;
                &read
            }
        };
        found.size = Some(bytes.len());
        let digest = digest(bytes);
        found.digest = Some(digest.clone());

        *stage = Stage::Component;
        let outline = found.outline.insert(Outline::of(bytes)?);

        *stage = Stage::World;
        let (world, contract) = outline.world()?;
        found.world = Some(world);
        found.contract = Some(contract.clone());

        *stage = Stage::Imports;
        outline.granted()?;
        let imports = outline.imports.clone();

        *stage = Stage::Compile;
        let component = self.compiled(bytes, &digest, &limits, &mut found.compiling)?;

        *stage = Stage::Link;
        let link = |why: wasmtime::Error| LoadCause::Link(clean(&format!("{why:#}"), 1024).0);
        let linker = shared.linker(&imports).map_err(link)?;
        let pre = linker.instantiate_pre(&component).map_err(link)?;
        let nameless = Identity { name: short_name(source), version: String::new(), digest: digest.clone() };
        let nameless = Callee { shared: Arc::clone(shared), identity: Arc::new(nameless) };
        let guest = |about: &Description| {
            let identity = Identity { name: about.name.clone(), version: about.version.clone(), digest };
            let callee = Callee { shared: Arc::clone(shared), identity: Arc::new(identity) };
            Arc::new(Guest { callee, about: about.clone(), contract, imports, origin: source.origin() })
        };
        match world {
            World::UsbPlugin => {
                let pre = UsbPluginPre::new(pre).map_err(link)?;
                *stage = Stage::Describe;
                let about = policy::describe(&nameless, &pre).map_err(LoadCause::Call)?;
                let again = policy::describe(&nameless, &pre).map_err(LoadCause::Call)?;
                about::check(&about)?;
                steady(about::difference(&about, &again))?;
                found.about = Some(about.clone());
                Ok(Loaded(Logic::Usb(UsbPolicy { guest: guest(&about), pre })))
            }
            World::DriverPlugin => {
                let pre = DriverPluginPre::new(pre).map_err(link)?;
                *stage = Stage::Describe;
                let description = logic::describe(&nameless, &pre).map_err(LoadCause::Call)?;
                let again = logic::describe(&nameless, &pre).map_err(LoadCause::Call)?;
                about::check_driver(&description)?;
                steady(about::difference_of_drivers(&description, &again))?;
                found.about = Some(description.about.clone());
                found.driver = Some(description.clone());
                let guest = guest(&description.about);
                Ok(Loaded(Logic::Driver(DriverLogic { guest, pre, description: Arc::new(description) })))
            }
        }
    }

    fn compiled(
        &self,
        bytes: &[u8],
        digest: &str,
        limits: &Limits,
        compiling: &mut Option<Duration>,
    ) -> Result<Component, LoadCause> {
        let shared = &self.0;
        if let Some(component) = shared.cache.load(&shared.engine, digest) {
            return Ok(component);
        }
        let start = Instant::now();
        let code = match &shared.compiler {
            Some(compiler) => compiler.compile(shared.memory, bytes, limits),
            None => compiled::compile(&shared.engine, bytes).map_err(|why| CompileCause::Invalid(clean(&why, 1024).0)),
        };
        let code = code.map_err(LoadCause::Compile)?;
        *compiling = Some(start.elapsed());
        shared.cache.store(digest, &code, limits.cache);
        // Mapped from the cache it takes no memory of this process until it runs.
        match shared.cache.load(&shared.engine, digest) {
            Some(component) => Ok(component),
            None => cache::fresh(&shared.engine, &code).map_err(|why| LoadCause::Compile(CompileCause::Code(why))),
        }
    }
}

impl Loaded {
    /// What it decides about.
    pub fn world(&self) -> World {
        match &self.0 {
            Logic::Usb(_) => World::UsbPlugin,
            Logic::Driver(_) => World::DriverPlugin,
        }
    }

    /// What it says of itself: what the default configuration for a trial is evaluated from.
    pub fn about(&self) -> &Description {
        &self.0.guest().about
    }

    /// What a task driver says beside that; none: it is a USB policy.
    pub fn driver(&self) -> Option<&DriverDescription> {
        match &self.0 {
            Logic::Usb(_) => None,
            Logic::Driver(driver) => Some(driver.description()),
        }
    }

    /// Where it comes from and the first digits of its digest, as a [`LoadError`] says it: `/srv/acme.wasm (sha256 3f2a91c04b77)`.
    pub fn guest(&self) -> String {
        let guest = self.0.guest();
        format!("{} (sha256 {})", guest.origin, short(guest.digest()))
    }

    /// Calls every function of a USB policy once with made-up devices. A guest that traps, spins or answers nonsense here never serves;
    /// one that answers with an error of its own does. A task driver's guest is refused.
    pub fn activate(self, trial: &Trial<'_>) -> Result<UsbPolicy, LoadError> {
        let Logic::Usb(policy) = self.0 else { return Err(self.not(World::UsbPlugin)) };
        match trial::usb::run(&policy, trial) {
            Ok(()) => Ok(policy),
            Err(why) => Err(policy.guest.refused(Stage::Trial, LoadCause::Call(why))),
        }
    }

    /// Calls every function of a task driver's guest once, about a made-up task on a node where nothing is found. A USB policy is refused.
    pub fn activate_driver(self, trial: &DriverTrial<'_>) -> Result<DriverLogic, LoadError> {
        let Logic::Driver(driver) = self.0 else { return Err(self.not(World::DriverPlugin)) };
        match trial::driver::run(&driver, trial) {
            Ok(()) => Ok(driver),
            Err(why) => Err(driver.guest.refused(Stage::Trial, LoadCause::Call(why))),
        }
    }

    fn not(&self, wanted: World) -> LoadError {
        let guest = self.0.guest();
        guest.refused(Stage::World, self.world().not(&guest.contract, wanted))
    }
}

impl Logic {
    fn guest(&self) -> &Guest {
        match self {
            Logic::Usb(policy) => &policy.guest,
            Logic::Driver(driver) => &driver.guest,
        }
    }
}

fn refused(origin: String, digest: Option<String>, stage: Stage, cause: LoadCause) -> LoadError {
    LoadError { origin, digest, stage, cause: Box::new(cause) }
}

fn steady(differs: Option<&'static str>) -> Result<(), LoadCause> {
    differs.map_or(Ok(()), |part| Err(LoadCause::Unsteady(part)))
}

/// What to call a guest that did not say its name yet.
fn short_name(source: &Source) -> String {
    let origin = source.origin();
    Path::new(&origin).file_name().map_or(origin.clone(), |name| name.to_string_lossy().into_owned())
}

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
use crate::improve::Improving;
use crate::journal::clean;
use crate::limits::Limits;
use crate::logic::{self, DriverLogic};
use crate::outline::{Import, Outline, World};
use crate::policy::{self, UsbPolicy};
use crate::runtime::{FirstTier, Runtime, Shared};
use crate::source::{self, Source};
use crate::state::State;
use crate::tier::{Code, Ready, Tier};
use crate::trial::{self, DriverTrial, Trial};
use crate::usb::Description;
use crate::worlds::Contract;
use crate::worlds::usb::UsbPre;
use crate::worlds::v0_1_0::driver_bindings::DriverPluginPre;
use crate::{about, cache};

/// Bytes of a component for which another translator than Cranelift is worth its trouble.
const WINCH_FROM: usize = 1 << 20;

/// A guest that was checked, compiled and asked who it is, but not tried: see [`Loaded::activate`] and [`Loaded::activate_driver`].
#[derive(Debug)]
pub struct Loaded {
    logic: Logic,
    /// What brings it better code, once it serves.
    improving: Option<Improving>,
}

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
            Source::Read(component) => component.bytes(),
            Source::File(path) => {
                (_, read) = source::read(path, &shared.trusted_uids, limits.component)?;
                &read
            }
        };
        found.size = Some(bytes.len());
        let digest = source.digest().unwrap_or_else(|| digest(bytes));
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
        let (component, tier) = self.compiled(bytes, &digest, &limits, &mut found.compiling)?;
        // Cranelift's code of the same bytes may come later.
        let improvable = (!Arc::ptr_eq(&tier, &shared.tier)).then(|| Arc::<[u8]>::from(bytes));

        *stage = Stage::Link;
        let nameless = Identity { name: short_name(source), version: String::new(), digest: digest.clone() };
        let nameless = Callee::new(shared, nameless);
        let version = contract.clone();
        let guest = |about: &Description, imports| {
            let identity = Identity { name: about.name.clone(), version: about.version.clone(), digest };
            let callee = Callee::new(shared, identity);
            Arc::new(Guest { callee, about: about.clone(), contract, imports, origin: source.origin() })
        };
        match world {
            World::UsbPlugin => {
                let ready = usb_ready(tier, &component, &version, &imports)?;
                *stage = Stage::Describe;
                let about = policy::describe(&nameless, &ready).map_err(LoadCause::Call)?;
                let again = policy::describe(&nameless, &ready).map_err(LoadCause::Call)?;
                about::check(&about)?;
                steady(about::difference(&about, &again))?;
                found.about = Some(about.clone());
                let policy = UsbPolicy { guest: guest(&about, imports), code: Code::new(ready) };
                let improving = improvable.map(|bytes| Improving::usb(&policy, bytes));
                Ok(Loaded { logic: Logic::Usb(policy), improving })
            }
            World::DriverPlugin => {
                let ready = driver_ready(tier, &component, &imports)?;
                *stage = Stage::Describe;
                let description = logic::describe(&nameless, &ready).map_err(LoadCause::Call)?;
                let again = logic::describe(&nameless, &ready).map_err(LoadCause::Call)?;
                about::check_driver(&description)?;
                steady(about::difference_of_drivers(&description, &again))?;
                found.about = Some(description.about.clone());
                found.driver = Some(description.clone());
                let guest = guest(&description.about, imports);
                let driver = DriverLogic { guest, code: Code::new(ready), description: Arc::new(description) };
                let improving = improvable.map(|bytes| Improving::driver(&driver, bytes));
                Ok(Loaded { logic: Logic::Driver(driver), improving })
            }
        }
    }

    /// Its code and the tier that this is for.
    fn compiled(
        &self,
        bytes: &[u8],
        digest: &str,
        limits: &Limits,
        compiling: &mut Option<Duration>,
    ) -> Result<(Component, Arc<Tier>), LoadCause> {
        let shared = &self.0;
        let tier = &shared.tier;
        if let Some(component) = tier.cache.load(&tier.engine, digest) {
            return Ok((component, Arc::clone(tier)));
        }
        let start = Instant::now();
        if shared.first_tier == FirstTier::Winch && bytes.len() >= WINCH_FROM {
            // What Winch cannot translate, Cranelift may; and if neither can, its words are the better ones.
            match shared.winch().map_err(|why| why.to_string()).and_then(|winch| {
                let component = shared.code(&winch, bytes, digest, limits).map_err(|why| why.to_string())?;
                Ok((component, winch))
            }) {
                Ok((component, winch)) => {
                    *compiling = Some(start.elapsed());
                    return Ok((component, winch));
                }
                Err(why) => tracing::info!("a guest waits for Cranelift's code, as there is none of Winch's: {why}"),
            }
        }
        let component = shared.code(tier, bytes, digest, limits).map_err(LoadCause::Compile)?;
        *compiling = Some(start.elapsed());
        Ok((component, Arc::clone(tier)))
    }
}

impl Shared {
    /// From the cache, or compiled and put there.
    pub(crate) fn code(
        &self,
        tier: &Tier,
        bytes: &[u8],
        digest: &str,
        limits: &Limits,
    ) -> Result<Component, CompileCause> {
        if let Some(component) = tier.cache.load(&tier.engine, digest) {
            return Ok(component);
        }
        let code = tier.compile(self.compiler.as_ref(), bytes, limits)?;
        tier.cache.store(digest, &code, limits.cache);
        // Mapped from the cache it takes no memory of this process until it runs.
        match tier.cache.load(&tier.engine, digest) {
            Some(component) => Ok(component),
            None => cache::fresh(&tier.engine, &code).map_err(CompileCause::Code),
        }
    }
}

/// A USB policy that can be instantiated.
pub(crate) fn usb_ready(
    tier: Arc<Tier>,
    component: &Component,
    contract: &Version,
    imports: &[Import],
) -> Result<Ready<UsbPre>, LoadCause> {
    let contract = Contract::of(contract).ok_or_else(|| LoadCause::Link(format!("nobody speaks {contract}")))?;
    let pre = tier.linker(imports).and_then(|linker| UsbPre::new(contract, linker.instantiate_pre(component)?));
    Ok(Ready { pre: pre.map_err(link)?, tier })
}

/// A task driver's guest that can be instantiated.
pub(crate) fn driver_ready(
    tier: Arc<Tier>,
    component: &Component,
    imports: &[Import],
) -> Result<Ready<DriverPluginPre<State>>, LoadCause> {
    let pre = tier.linker(imports).and_then(|linker| DriverPluginPre::new(linker.instantiate_pre(component)?));
    Ok(Ready { pre: pre.map_err(link)?, tier })
}

fn link(why: wasmtime::Error) -> LoadCause {
    LoadCause::Link(clean(&format!("{why:#}"), 1024).0)
}

impl Loaded {
    /// What it decides about.
    pub fn world(&self) -> World {
        match &self.logic {
            Logic::Usb(_) => World::UsbPlugin,
            Logic::Driver(_) => World::DriverPlugin,
        }
    }

    /// What it says of itself: what the default configuration for a trial is evaluated from.
    pub fn about(&self) -> &Description {
        &self.logic.guest().about
    }

    /// What a task driver says beside that; none: it is a USB policy.
    pub fn driver(&self) -> Option<&DriverDescription> {
        match &self.logic {
            Logic::Usb(_) => None,
            Logic::Driver(driver) => Some(driver.description()),
        }
    }

    /// Where it comes from and the first digits of its digest, as a [`LoadError`] says it: `/srv/acme.wasm (sha256 3f2a91c04b77)`.
    pub fn guest(&self) -> String {
        let guest = self.logic.guest();
        format!("{} (sha256 {})", guest.origin, short(guest.digest()))
    }

    /// Calls every function of a USB policy once with made-up devices. A guest that traps, spins or answers nonsense here never serves;
    /// one that answers with an error of its own does. A task driver's guest is refused.
    pub fn activate(self, trial: &Trial<'_>) -> Result<UsbPolicy, LoadError> {
        let Logic::Usb(policy) = self.logic else { return Err(self.not(World::UsbPlugin)) };
        match trial::usb::run(&policy, trial) {
            Ok(()) => {
                if let Some(improving) = self.improving {
                    improving.begin();
                }
                Ok(policy)
            }
            Err(why) => Err(policy.guest.refused(Stage::Trial, LoadCause::Call(why))),
        }
    }

    /// Calls every function of a task driver's guest once, about a made-up task on a node where nothing is found. A USB policy is refused.
    pub fn activate_driver(self, trial: &DriverTrial<'_>) -> Result<DriverLogic, LoadError> {
        let Logic::Driver(driver) = self.logic else { return Err(self.not(World::DriverPlugin)) };
        match trial::driver::run(&driver, trial) {
            Ok(()) => {
                if let Some(improving) = self.improving {
                    improving.begin();
                }
                Ok(driver)
            }
            Err(why) => Err(driver.guest.refused(Stage::Trial, LoadCause::Call(why))),
        }
    }

    fn not(&self, wanted: World) -> LoadError {
        let guest = self.logic.guest();
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

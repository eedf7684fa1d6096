//! From bytes to a guest that may be called, stage by stage. Each stage has a type, so that an unchecked component cannot be called.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use semver::Version;
use wasmtime::component::Component;

use crate::call::{self, Callee};
use crate::error::{GuestError, LoadCause, LoadError, Stage, short};
use crate::identity::{Identity, digest};
use crate::journal::clean;
use crate::outline::Outline;
use crate::policy::{Active, UsbPolicy};
use crate::runtime::Runtime;
use crate::source::{self, Source};
use crate::trial::{self, Trial};
use crate::usb::Description;
use crate::worlds::v0_1_0::bindings::UsbPluginPre;
use crate::{about, answer, compiled};

/// A guest that was checked, compiled and asked who it is, but not tried: see [`Loaded::activate`].
#[derive(Debug)]
pub struct Loaded(pub(crate) UsbPolicy);

/// What loading found on its way, as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) size: Option<usize>,
    pub(crate) digest: Option<String>,
    pub(crate) outline: Option<Outline>,
    pub(crate) contract: Option<Version>,
    /// How long compiling took; none: it came from the cache.
    pub(crate) compiling: Option<Duration>,
    pub(crate) about: Option<Description>,
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
        let contract = outline.usb_policy()?;
        found.contract = Some(contract.clone());

        *stage = Stage::Imports;
        outline.granted()?;
        let imports = outline.imports.clone();

        *stage = Stage::Compile;
        let component = self.compiled(bytes, &digest, limits.cache, &mut found.compiling)?;

        *stage = Stage::Link;
        let link = |why: wasmtime::Error| LoadCause::Link(clean(&format!("{why:#}"), 1024).0);
        let linker = shared.linker(&imports).map_err(link)?;
        let pre = UsbPluginPre::new(linker.instantiate_pre(&component).map_err(link)?).map_err(link)?;

        *stage = Stage::Describe;
        let nameless = Arc::new(Identity { name: short_name(source), version: String::new(), digest: digest.clone() });
        let nameless = Callee { shared: Arc::clone(shared), pre: pre.clone(), identity: nameless };
        let about = describe(&nameless).map_err(LoadCause::Call)?;
        let again = describe(&nameless).map_err(LoadCause::Call)?;
        about::check(&about)?;
        if let Some(part) = about::difference(&about, &again) {
            return Err(LoadCause::Unsteady(part));
        }
        found.about = Some(about.clone());
        let identity = Arc::new(Identity { name: about.name.clone(), version: about.version.clone(), digest });
        let callee = Callee { shared: Arc::clone(shared), pre, identity };
        Ok(Loaded(UsbPolicy(Arc::new(Active { callee, about, contract, imports, origin: source.origin() }))))
    }

    fn compiled(
        &self,
        bytes: &[u8],
        digest: &str,
        most: u64,
        compiling: &mut Option<Duration>,
    ) -> Result<Component, LoadCause> {
        let shared = &self.0;
        if let Some(component) = shared.cache.load(&shared.engine, digest) {
            return Ok(component);
        }
        let start = Instant::now();
        let component =
            compiled::compile(&shared.engine, bytes).map_err(|why| LoadCause::Compile(clean(&why, 1024).0))?;
        *compiling = Some(start.elapsed());
        shared.cache.store(digest, &component, most);
        Ok(component)
    }
}

impl Loaded {
    /// What it says of itself: what the default configuration for a [`Trial`] is evaluated from.
    pub fn about(&self) -> &Description {
        self.0.about()
    }

    /// Where it comes from and the first digits of its digest, as a [`LoadError`] says it: `/srv/acme.wasm (sha256 3f2a91c04b77)`.
    pub fn guest(&self) -> String {
        format!("{} (sha256 {})", self.0.origin(), short(self.0.digest()))
    }

    /// Calls every function once with made-up devices. A guest that traps, spins or answers nonsense here never serves; one that
    /// answers with an error of its own does.
    pub fn activate(self, trial: &Trial<'_>) -> Result<UsbPolicy, LoadError> {
        let Loaded(policy) = self;
        match trial::run(&policy, trial) {
            Ok(()) => Ok(policy),
            Err(why) => {
                let digest = Some(policy.digest().to_owned());
                Err(refused(policy.origin().to_owned(), digest, Stage::Trial, LoadCause::Call(why)))
            }
        }
    }
}

fn refused(origin: String, digest: Option<String>, stage: Stage, cause: LoadCause) -> LoadError {
    LoadError { origin, digest, stage, cause: Box::new(cause) }
}

fn describe(callee: &Callee) -> Result<Description, GuestError> {
    callee.call(
        &call::DESCRIBE,
        |guest, store| guest.yurt_plugin_usb_policy().call_describe(store),
        answer::description,
    )
}

/// What to call a guest that did not say its name yet.
fn short_name(source: &Source) -> String {
    let origin = source.origin();
    Path::new(&origin).file_name().map_or(origin.clone(), |name| name.to_string_lossy().into_owned())
}

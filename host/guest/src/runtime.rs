//! The parts that every guest of a process shares.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use crate::cache::Cache;
use crate::engine::{self, Translator};
use crate::error::RuntimeError;
use crate::limits::Limits;
use crate::question::Observer;
use crate::tally::Tallies;
use crate::tier::Tier;
use crate::worker::Compiler;

/// How guests are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where compiled guests are kept; made 0700 when it is needed. None: they are compiled each time.
    pub cache_dir: Option<PathBuf>,
    /// Who compiles guests. None: threads of this process, which nothing can end; that is for programs whose guests are their own.
    pub compiler: Option<Compiler>,
    /// What a large guest serves by until Cranelift's code of it is there.
    pub first_tier: FirstTier,
    /// What guests may use.
    pub limits: Limits,
    /// Users beside root whose files may be loaded; by default the plugin's own.
    pub trusted_uids: Vec<u32>,
    /// Counts each call's units of work for its receipt. Guests are slower, and compiled for this runtime alone: neither cache nor
    /// compiler are used.
    pub fuel: bool,
}

impl Default for Options {
    fn default() -> Options {
        let trusted_uids = vec![rustix::process::geteuid().as_raw()];
        let first_tier = FirstTier::Cranelift;
        Options { cache_dir: None, compiler: None, first_tier, limits: Limits::default(), trusted_uids, fuel: false }
    }
}

/// What a guest of more than a MiB that was never compiled before serves by first. A smaller one is compiled in a moment either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstTier {
    /// Cranelift's code: it serves when that is there, seconds later where the guest brings an interpreter.
    #[default]
    Cranelift,
    /// Winch's code, in a fifth of the time, and Cranelift's from when that is there. Winch had more advisories than its age explains:
    /// this is for guests that one built oneself.
    Winch,
}

/// Engines with what belongs to them, and limits. Cheap to clone; the clocks' threads end with the last clone and guest.
#[derive(Clone)]
pub struct Runtime(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    /// Cranelift's.
    pub(crate) tier: Arc<Tier>,
    /// Winch's; there is none while no guest needs it.
    winch: Mutex<Weak<Tier>>,
    pub(crate) first_tier: FirstTier,
    cache_dir: Option<PathBuf>,
    pub(crate) compiler: Option<Compiler>,
    pub(crate) trusted_uids: Vec<u32>,
    pub(crate) places: Places,
    limits: RwLock<Arc<Limits>>,
    pub(crate) fuel: bool,
    pub(crate) tallies: Tallies,
    pub(crate) observer: RwLock<Option<Arc<dyn Observer>>>,
}

impl Runtime {
    /// Takes about a millisecond; touches no file.
    pub fn new(options: Options) -> Result<Runtime, RuntimeError> {
        let options = match options.fuel {
            true => Options { cache_dir: None, compiler: None, first_tier: FirstTier::Cranelift, ..options },
            false => options,
        };
        let (engine, memory) = engine::engine(options.fuel)?;
        let cache = |engine: &_| Cache::new(options.cache_dir.clone(), engine);
        let tier = Tier::new(Translator::Cranelift, engine, memory, cache)?;
        Ok(Runtime(Arc::new(Shared {
            tier: Arc::new(tier),
            winch: Mutex::new(Weak::new()),
            first_tier: options.first_tier,
            cache_dir: options.cache_dir,
            compiler: options.compiler,
            trusted_uids: options.trusted_uids,
            places: Places { free: Mutex::new(engine::PLACES), freed: Condvar::new() },
            limits: RwLock::new(Arc::new(options.limits)),
            fuel: options.fuel,
            tallies: Tallies::default(),
            observer: RwLock::default(),
        })))
    }

    /// What guests may use from the next call on.
    pub fn set_limits(&self, limits: Limits) {
        *self.0.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    /// What guests may use.
    pub fn limits(&self) -> Arc<Limits> {
        self.0.limits()
    }
}

impl Shared {
    pub(crate) fn cache_dir(&self) -> Option<&Path> {
        self.cache_dir.as_deref()
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Winch's tier, which lasts as long as somebody holds it.
    pub(crate) fn winch(&self) -> Result<Arc<Tier>, RuntimeError> {
        let mut winch = self.winch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = winch.upgrade() {
            return Ok(there);
        }
        let (engine, memory) =
            engine::winch(self.tier.memory).map_err(|why| RuntimeError::Engine(format!("{why:#}")))?;
        let cache = |engine: &_| Cache::new(self.cache_dir.clone(), engine);
        let made = Arc::new(Tier::new(Translator::Winch, engine, memory, cache)?);
        *winch = Arc::downgrade(&made);
        Ok(made)
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("memory", &self.0.tier.memory).finish_non_exhaustive()
    }
}

/// The places for running guests, as many as the pool of memories holds.
#[derive(Debug)]
pub(crate) struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Places {
    /// A place, if one gets free in time.
    pub(crate) fn take(&self, within: Duration) -> Option<Place<'_>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _) =
            self.freed.wait_timeout_while(free, within, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Place(self))
    }
}

/// One of them, until dropped.
pub(crate) struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

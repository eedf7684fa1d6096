//! The parts that every guest of a process shares.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::cache::Cache;
use crate::engine::{self, Memory};
use crate::error::RuntimeError;
use crate::limits::Limits;
use crate::outline::{Grant, Import};
use crate::state::State;
use crate::ticker::Ticker;
use crate::wasi;
use crate::worker::Compiler;
use crate::worlds::v0_1_0::bindings::yurt::plugin::log;

/// How guests are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where compiled guests are kept; made 0700 when it is needed. None: they are compiled each time.
    pub cache_dir: Option<PathBuf>,
    /// Who compiles guests. None: threads of this process, which nothing can end; that is for programs whose guests are their own.
    pub compiler: Option<Compiler>,
    /// What guests may use.
    pub limits: Limits,
    /// Users beside root whose files may be loaded; by default the plugin's own.
    pub trusted_uids: Vec<u32>,
}

impl Default for Options {
    fn default() -> Options {
        let trusted_uids = vec![rustix::process::geteuid().as_raw()];
        Options { cache_dir: None, compiler: None, limits: Limits::default(), trusted_uids }
    }
}

/// Engine, linker, clock, cache and limits. Cheap to clone; the clock's thread ends with the last clone and guest.
#[derive(Clone)]
pub struct Runtime(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) memory: Memory,
    /// Built once and never cloned.
    linker: Linker<State>,
    /// Beside the log the empty WASI: two hundred functions more, made when the first guest asks for one of them.
    linker_with_wasi: OnceLock<Linker<State>>,
    pub(crate) ticker: Ticker,
    pub(crate) cache: Cache,
    pub(crate) compiler: Option<Compiler>,
    pub(crate) trusted_uids: Vec<u32>,
    pub(crate) places: Places,
    limits: RwLock<Arc<Limits>>,
}

impl Runtime {
    /// Takes about a millisecond; touches no file.
    pub fn new(options: Options) -> Result<Runtime, RuntimeError> {
        let (engine, memory) = engine::engine()?;
        let linker = linker(&engine).map_err(|why| RuntimeError::Engine(format!("{why:#}")))?;
        let ticker = Ticker::start(&engine).map_err(RuntimeError::Ticker)?;
        let cache = Cache::new(options.cache_dir, &engine);
        Ok(Runtime(Arc::new(Shared {
            engine,
            memory,
            linker,
            linker_with_wasi: OnceLock::new(),
            ticker,
            cache,
            compiler: options.compiler,
            trusted_uids: options.trusted_uids,
            places: Places { free: Mutex::new(engine::PLACES), freed: Condvar::new() },
            limits: RwLock::new(Arc::new(options.limits)),
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
    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a guest with these imports is linked with.
    pub(crate) fn linker(&self, imports: &[Import]) -> wasmtime::Result<&Linker<State>> {
        if !imports.iter().any(|import| import.grant == Grant::Empty) {
            return Ok(&self.linker);
        }
        if let Some(made) = self.linker_with_wasi.get() {
            return Ok(made);
        }
        let mut linker = linker(&self.engine)?;
        wasi::add_to_linker(&mut linker)?;
        Ok(self.linker_with_wasi.get_or_init(|| linker))
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("memory", &self.0.memory).finish_non_exhaustive()
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    log::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
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

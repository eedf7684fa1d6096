//! One engine with all that belongs to it, and which of two a guest's code is in.
//!
//! Guests run as Cranelift translates them. Where the operator allows it ([`crate::FirstTier::Winch`]), a large guest that was never seen
//! before serves by Winch's code until Cranelift's is there, seconds later; then [`Code`] changes over between two calls. Nobody above
//! this room sees more of it than the time.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::cache::Cache;
use crate::compiled;
use crate::engine::{Memory, Translator};
use crate::error::{CompileCause, RuntimeError};
use crate::journal::clean;
use crate::limits::Limits;
use crate::outline::{Grant, Import};
use crate::state::State;
use crate::ticker::Ticker;
use crate::wasi;
use crate::worker::Compiler;
use crate::worlds;

pub(crate) struct Tier {
    pub(crate) translator: Translator,
    pub(crate) engine: Engine,
    pub(crate) memory: Memory,
    /// Built once and never cloned.
    linker: Linker<State>,
    /// Beside the log the empty WASI: two hundred functions more, made when the first guest asks for one of them.
    linker_with_wasi: OnceLock<Linker<State>>,
    pub(crate) ticker: Ticker,
    pub(crate) cache: Cache,
}

impl Tier {
    pub(crate) fn new(
        translator: Translator,
        engine: Engine,
        memory: Memory,
        cache: impl FnOnce(&Engine) -> Cache,
    ) -> Result<Tier, RuntimeError> {
        let linker = linker(&engine).map_err(|why| RuntimeError::Engine(format!("{why:#}")))?;
        let ticker = Ticker::start(&engine).map_err(RuntimeError::Ticker)?;
        let cache = cache(&engine);
        Ok(Tier { translator, engine, memory, linker, linker_with_wasi: OnceLock::new(), ticker, cache })
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

    /// Machine code for this engine. Without a worker it is made by threads of this process.
    pub(crate) fn compile(
        &self,
        worker: Option<&Compiler>,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Vec<u8>, CompileCause> {
        match worker {
            Some(worker) => worker.compile(self.translator, self.memory, bytes, limits),
            None => compiled::compile(&self.engine, bytes).map_err(|why| CompileCause::Invalid(clean(&why, 1024).0)),
        }
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    worlds::add_log_to_linker(&mut linker)?;
    Ok(linker)
}

/// A guest that can be instantiated in its tier.
pub(crate) struct Ready<P> {
    pub(crate) tier: Arc<Tier>,
    pub(crate) pre: P,
}

/// The best code of a guest that there is yet. Clones are of the same guest and change over together.
pub(crate) struct Code<P>(Arc<RwLock<Arc<Ready<P>>>>);

impl<P> Code<P> {
    pub(crate) fn new(ready: Ready<P>) -> Code<P> {
        Code(Arc::new(RwLock::new(Arc::new(ready))))
    }

    /// For one call, which ends in the tier that it began in.
    pub(crate) fn now(&self) -> Arc<Ready<P>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was there goes with the last call that is under way in it.
    pub(crate) fn improve(&self, ready: Ready<P>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ready);
    }
}

impl<P> Clone for Code<P> {
    fn clone(&self) -> Code<P> {
        Code(Arc::clone(&self.0))
    }
}

//! Engines: what WebAssembly may do here, who makes its machine code, and where instances live.
//!
//! Instances come from a small pool of pre-reserved memories, since a fresh instance per call is the rule (µs instead of tens of µs).
//! The pool is address space only; pages are touched when a guest touches them. Where address space is limited, each instance maps its own
//! memory, and where even that is too much, with bounds checks instead of guard regions.

use rustix::process::{Resource, getrlimit};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy, WasmBacktraceDetails,
};

use crate::error::RuntimeError;

/// Guests that may run at the same moment.
pub(crate) const PLACES: usize = 16;

/// Stack of a guest. It lies on the calling thread's stack, which has to be larger.
pub(crate) const WASM_STACK: usize = 512 << 10;

/// Bytes of a memory that stay mapped for the next call in the same place.
const KEEP_RESIDENT: usize = 256 << 10;

/// Address space that a pool and its guard regions take, roughly, and what one instance with guard regions takes.
const POOL_SPACE: u64 = 192 << 30;
const INSTANCE_SPACE: u64 = 16 << 30;

/// Where instances live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Pool,
    Mapped,
    /// Without the gigabytes of guard region that spare a bounds check.
    Small,
}

impl Memory {
    /// What a worker is told of it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Memory::Pool => "pool",
            Memory::Mapped => "mapped",
            Memory::Small => "small",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Memory> {
        [Memory::Pool, Memory::Mapped, Memory::Small].into_iter().find(|memory| memory.word() == word)
    }
}

/// Who translates WebAssembly to machine code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Translator {
    /// Well, in seconds where a guest brings an interpreter.
    Cranelift,
    /// Five to ten times sooner, and not well.
    Winch,
}

impl Translator {
    /// What a worker is told of it, and people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Translator::Cranelift => "cranelift",
            Translator::Winch => "winch",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Translator> {
        [Translator::Cranelift, Translator::Winch].into_iter().find(|translator| translator.word() == word)
    }
}

/// One that only compiles, for engines with this memory: where instances live is nothing to machine code, but a pool is memory.
pub(crate) fn compiling(translator: Translator, memory: Memory) -> wasmtime::Result<Engine> {
    let mut config = config(translator, memory);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// One for what Winch made, beside an engine with this memory. It serves for seconds: no second pool is made for that.
pub(crate) fn winch(beside: Memory) -> wasmtime::Result<(Engine, Memory)> {
    let memory = if beside == Memory::Pool { Memory::Mapped } else { beside };
    Ok((Engine::new(&config(Translator::Winch, memory))?, memory))
}

/// The best of the three that this process has the address space for. With `fuel` it counts what guests do.
pub(crate) fn engine(fuel: bool) -> Result<(Engine, Memory), RuntimeError> {
    let config = |memory| {
        let mut config = config(Translator::Cranelift, memory);
        config.consume_fuel(fuel);
        config
    };
    let space = getrlimit(Resource::As).current.unwrap_or(u64::MAX);
    if space >= POOL_SPACE
        && let Ok(engine) = Engine::new(&config(Memory::Pool))
    {
        return Ok((engine, Memory::Pool));
    }
    let memory = if space >= INSTANCE_SPACE { Memory::Mapped } else { Memory::Small };
    match Engine::new(&config(memory)) {
        Ok(engine) => Ok((engine, memory)),
        Err(why) => Err(RuntimeError::Engine(format!("{why:#}"))),
    }
}

/// The settings of the engine that guests usually run in, for measuring bare wasmtime beside it.
pub fn engine_settings() -> Config {
    config(Translator::Cranelift, Memory::Pool)
}

fn config(translator: Translator, memory: Memory) -> Config {
    let mut config = Config::new();
    config
        .strategy(match translator {
            Translator::Cranelift => Strategy::Cranelift,
            Translator::Winch => Strategy::Winch,
        })
        // Worlds here are synchronous; without the bookkeeping for concurrent guests a call costs a third.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        // The same call gives the same answer on every machine: replay and shadow runs depend on it.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // A guest's own debug information is not worth parsing in a privileged process; function names are kept.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Backtraces by function names need neither: no unwinder is told of a guest at every start, and what is cached is a sixth smaller.
        .native_unwind_info(false)
        .generate_address_map(false);
    match memory {
        Memory::Pool => config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool())),
        Memory::Mapped => config.allocation_strategy(InstanceAllocationStrategy::OnDemand),
        Memory::Small => config
            .allocation_strategy(InstanceAllocationStrategy::OnDemand)
            .memory_reservation(0)
            .memory_guard_size(64 << 10)
            .memory_reservation_for_growth(1 << 20),
    };
    config
}

fn pool() -> PoolingAllocationConfig {
    let places = u32::try_from(PLACES).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places * 64)
        .max_core_instances_per_component(64)
        .total_memories(places * 2)
        .max_memories_per_component(4)
        .max_memories_per_module(4)
        .total_tables(places * 8)
        .max_tables_per_component(16)
        .max_tables_per_module(8)
        .table_elements(65_536)
        .total_stacks(0)
        .max_unused_warm_slots(2)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(16 << 10)
        // Linux 6.7: resets exactly the pages that a call wrote.
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    use super::*;

    #[test]
    fn what_a_worker_compiles_runs_in_the_engine_that_it_compiles_for() {
        let hash = |engine: Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let mut all = Vec::new();
        for translator in [Translator::Cranelift, Translator::Winch] {
            for memory in [Memory::Pool, Memory::Mapped, Memory::Small] {
                let runs = hash(Engine::new(&config(translator, memory)).unwrap());
                assert_eq!(hash(compiling(translator, memory).unwrap()), runs, "{translator:?} {memory:?}");
                all.push(runs);
            }
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4, "a pool changes nothing; Winch and a small memory do");
    }
}

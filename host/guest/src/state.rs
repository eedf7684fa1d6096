//! What stands behind one guest instance: its log lines, its resource limits, its empty WASI.

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;

use crate::journal::{Journal, Level};
use crate::limits::Limits;
use crate::wasi;
use crate::worlds::v0_1_0::bindings::yurt::plugin::log;

/// The data of a store. One call long.
pub(crate) struct State {
    pub(crate) journal: Journal,
    pub(crate) usage: Usage,
    pub(crate) table: ResourceTable,
    pub(crate) wasi: wasi::Empty,
}

impl State {
    pub(crate) fn new(limits: &Limits) -> State {
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.handles).unwrap_or(usize::MAX));
        State { journal: Journal::new(limits), usage: Usage::new(limits), table, wasi: wasi::Empty::default() }
    }
}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.journal.write(level, &message);
    }
}

/// What was refused for want of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Memory,
    Table,
}

/// Counts memory and tables over all modules of one instance; wasmtime's own limits would hold for each memory alone.
#[derive(Debug)]
pub(crate) struct Usage {
    memory: u64,
    memory_limit: u64,
    elements: u64,
    elements_limit: u64,
    instances: usize,
    memories: usize,
    tables: usize,
    /// Set when growth was refused: what a trap that follows is about.
    pub(crate) refused: Option<Refused>,
}

impl Usage {
    fn new(limits: &Limits) -> Usage {
        let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Usage {
            memory: 0,
            memory_limit: limits.memory,
            elements: 0,
            elements_limit: limits.table_elements,
            instances: count(limits.instances),
            memories: count(limits.memories),
            tables: count(limits.tables),
            refused: None,
        }
    }

    /// Bytes of all memories; they never shrink, so it is the most there was.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }
}

/// Adds a growth to a sum, unless that went over the limit.
fn grow(sum: &mut u64, limit: u64, current: usize, desired: usize) -> bool {
    let more = u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX);
    let wanted = sum.saturating_add(more);
    let fits = wanted <= limit;
    if fits {
        *sum = wanted;
    }
    fits
}

impl ResourceLimiter for Usage {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Beyond the memory's own maximum it fails without our help and costs nothing.
        let fits = maximum.is_none_or(|maximum| desired <= maximum)
            && grow(&mut self.memory, self.memory_limit, current, desired);
        if !fits {
            self.refused = Some(Refused::Memory);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = maximum.is_none_or(|maximum| desired <= maximum)
            && grow(&mut self.elements, self.elements_limit, current, desired);
        if !fits {
            self.refused = Some(Refused::Table);
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

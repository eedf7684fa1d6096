//! A plugin's configuration by its schema, as JSON: every key that the schema declares is there, `null` where nothing was given.
//!
//! * [`from_msgpack`] reads what an agent sends: evaluated already, but with numbers in five forms and defaults unconverted.
//! * [`from_hcl`] evaluates what a person writes, as an agent would.
//! * [`laid_over`] evaluates what a person writes to stand over such a configuration.
//! * [`to_msgpack`] writes what an agent would send.
//! * [`job`] finds the `config` blocks of a job's tasks and evaluates them as far as that can be done before it runs.
//!
//! JSON numbers here are whole numbers where they are whole (within 64 bits, or exactly a float), else the nearest 64-bit
//! float; an agent's own have 512 bits.

mod convert;
mod hcl;
pub mod job;
mod msgpack;
mod normal;
mod places;
mod written;

pub(crate) use convert::{Strictness, converted};
pub use hcl::{Plugins, from_agent_file, from_hcl, laid_over, place_of, plugins_of};
pub use msgpack::{from_msgpack, to_msgpack};

/// Most keys or blocks in one place. Each costs all keys of its schema, even one of a single byte.
const ITEMS_MAX: usize = 4096;

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The bytes are not one msgpack value within bounds: a fault of the caller.
    #[error("the configuration is not in msgpack form: {0}")]
    Msgpack(String),
    /// A value is not what the schema says.
    #[error("{}{reason}", prefix(.path))]
    Value {
        /// Dotted keys and indexes, `rule[2].vendor`; empty: the whole.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What a person wrote is wrong.
    #[error("{file}:{line}:{column}: {reason}")]
    Text {
        /// As it was given.
        file: String,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What is wrong, and what to write.
        reason: String,
    },
}

fn prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

//! What configuration a plugin takes: hcldec's specifications, as text, as a tree and as protobuf.
//!
//! The text is the part of hcldec's specification language that the protocol's messages can say:
//!
//! ```hcl
//! object {                       # the top level is one object; labels are its keys
//!   attr "serial" {
//!     type     = string
//!     required = true
//!   }
//!   attr "vid" {
//!     name = "vendor_id"         # where key and name differ
//!     type = number
//!   }
//!   default "period" {           # the first, or the second where the first is null
//!     attr { type = string }     # inside: a label or name of its own, or else that of the default
//!     literal { value = "10s" }  # a constant, only as a default
//!   }
//!   array "pair" {               # as many values as there are in it, each with a name
//!     attr "left" { type = string }
//!     attr "right" { type = string }
//!   }
//!   block "limits" {             # at most one; `block_value` is the same
//!     required = true
//!     object {
//!       attr "memory" { type = number }
//!     }
//!   }
//!   block_list "rule" {          # any number within bounds; `block_set` is the same without order and repetition
//!     min_items = 1
//!     max_items = 9
//!     object {
//!       attr "vendor" { type = string }
//!     }
//!   }
//!   block_map "alias" {          # alias "stick" { to = "…" }
//!     labels = ["name"]
//!     object {
//!       attr "to" { type = string }
//!     }
//!   }
//!   block_attrs "meta" {         # free keys of one type; `element_type` is the same
//!     type = string
//!   }
//! }
//! ```
//!
//! `block_type` is another word for `name` in the block kinds. Types: `string`, `number`, `bool`, `list(T)`, `set(T)`,
//! `map(T)`, `tuple([T, …])`, `object({k = T, …})`. Not taken: `transform`, `variables`, functions, references.
//!
//! # House rules
//! Beyond what Nomad itself refuses, [`Spec::check_host_rules`] (part of [`Spec::parse`]) refuses
//! * `any`, in every place: in `block_attrs` and `block_map` it lets an operator's file make the agent panic, elsewhere a value
//!   would come in whatever form it was written;
//! * literals that are not the second part of a `default`, and those that the first part's type could not take, since agents
//!   hand defaults over as they stand;
//! * a name that stands for an attribute here and for a block there.

mod grow;
mod print;
mod rules;
mod text;
mod types;
mod wire;

use std::collections::BTreeMap;

use serde_json::Value;

pub use types::Type;

/// Longest place and reason in an error, in characters. Keys and names may be any guest's: an error stays one short line.
const AT_MAX: usize = 200;
const REASON_MAX: usize = 500;

/// One node of a specification. Names are always filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// An object: all keys are always there.
    Object(BTreeMap<String, Spec>),
    /// As many values as specifications.
    Array(Vec<Spec>),
    /// `name = value`; null where it is not given.
    Attr(Attr),
    /// At most one block; null where there is none.
    Block(Block),
    /// At most one block with free keys and values of one type; null where there is none.
    BlockAttrs(Attr),
    /// Blocks, in order.
    BlockList(Blocks),
    /// Blocks, without order and repetition.
    BlockSet(Blocks),
    /// Blocks by their labels.
    BlockMap(BlockMap),
    /// The first, or the second where the first is null.
    Default(Box<Spec>, Box<Spec>),
    /// A constant.
    Literal(Value),
}

/// An attribute, or a block of attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Attr {
    /// As it is written in the configuration.
    pub name: String,
    /// What its value, or each value in the block, may be.
    pub kind: Type,
    /// It must be given; null counts as given.
    pub required: bool,
}

/// A block that may stand once.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// As it is written in the configuration.
    pub name: String,
    /// It must be there.
    pub required: bool,
    /// What is in it.
    pub nested: Box<Spec>,
}

/// A block that may stand often.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    /// As it is written in the configuration.
    pub name: String,
    /// 0: no bound.
    pub min_items: u64,
    /// 0: no bound.
    pub max_items: u64,
    /// What is in each.
    pub nested: Box<Spec>,
}

/// A block with labels.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockMap {
    /// As it is written in the configuration.
    pub name: String,
    /// What the labels are called, for messages; how many there must be.
    pub labels: Vec<String>,
    /// What is in each.
    pub nested: Box<Spec>,
}

/// Why a specification cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The text is not in the language.
    #[error("schema, line {line}, column {column}: {reason}")]
    Text {
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// It is well formed, but may not be offered to an agent.
    #[error("schema: {at}: {reason}")]
    Rule {
        /// Dotted keys: `rule.vendor`; `the top level`.
        at: String,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// A peer's message is not a specification.
    #[error("schema message: {at}: {reason}")]
    Message {
        /// Dotted keys.
        at: String,
        /// What is wrong.
        reason: String,
    },
}

impl Spec {
    /// Takes no key at all.
    pub fn empty() -> Spec {
        Spec::Object(BTreeMap::new())
    }

    /// Adds a block to the top level, for at most one such block: the host's own beside a guest's keys.
    ///
    /// # Errors
    /// If the top level is not an object, or `name` is a key or a name in it already.
    pub fn merge_block(self, name: &str, nested: Spec) -> Result<Spec, SpecError> {
        let clash = |reason: String| SpecError::Rule { at: "the top level".to_owned(), reason };
        let taken = self.names().contains(name);
        let Spec::Object(mut keys) = self else {
            return Err(clash("must be one object { … }".to_owned()));
        };
        if taken || keys.contains_key(name) {
            return Err(clash(format!("the key {name:?} is taken by the host's own block: choose another")));
        }
        let block = Block { name: name.to_owned(), required: false, nested: Box::new(nested) };
        keys.insert(name.to_owned(), Spec::Block(block));
        Ok(Spec::Object(keys))
    }
}

//! What whoever submits a job gives its variables.

use std::collections::BTreeMap;

use hcl_edit::expr::Expression;
use hcl_edit::structure::{Block, Body};

use super::{Fault, Kind, Node, body, constant, expression, place, start};
use crate::config::ConfigError;

/// Values of a job's variables. What is given later wins.
#[derive(Debug, Default)]
pub struct Variables(BTreeMap<String, Given>);

#[derive(Debug)]
struct Given {
    value: Value,
    /// Whether the job has to declare it.
    declared: bool,
}

#[derive(Debug)]
enum Value {
    /// What it stands for depends on the variable's type.
    Word(String),
    Written(Node),
}

impl Variables {
    /// One word, as `nomad job run -var` takes it: a text or a number for a variable whose type is that or not said, else an expression.
    pub fn word(&mut self, name: &str, word: &str) {
        self.give(name, Value::Word(word.to_owned()), true);
    }

    /// The same from the environment, which may name variables of other jobs.
    pub fn inherited(&mut self, name: &str, word: &str) {
        self.give(name, Value::Word(word.to_owned()), false);
    }

    /// The text of a file of `name = value`, as `nomad job run -var-file` takes it. `file` is what sentences call it.
    ///
    /// # Errors
    /// If it is not HCL, or holds something other than constants.
    pub fn file(&mut self, text: &str, file: &str) -> Result<(), ConfigError> {
        self.written(text).map_err(|fault| {
            let (line, column) = place(text, fault.at);
            ConfigError::Text { file: file.to_owned(), line, column, reason: fault.sentence() }
        })
    }

    fn written(&mut self, text: &str) -> Result<(), Fault> {
        let body: Body = body(text)?;
        if let Some(block) = body.blocks().next() {
            return Err(Fault::new(start(block, 0), "this is a block").hinting("write name = value"));
        }
        for given in body.attributes() {
            let value = constant(&given.value, start(given, 0))?;
            self.give(given.key.as_str(), Value::Written(value), true);
        }
        Ok(())
    }

    fn give(&mut self, name: &str, value: Value, declared: bool) {
        self.0.insert(name.to_owned(), Given { value, declared });
    }

    /// The value given to a variable; none: nobody gave it one.
    pub(super) fn of(&self, name: &str, as_word: impl FnOnce() -> bool) -> Option<Result<Node, Fault>> {
        Some(match &self.0.get(name)?.value {
            Value::Written(node) => Ok(node.clone()),
            Value::Word(word) if as_word() => Ok(Node { kind: Kind::Text(word.clone()), at: 0, end: 0 }),
            Value::Word(word) => expression(word).and_then(|expression| constant(&expression, 0)),
        })
    }

    /// Those that a job would have to declare.
    pub(super) fn declared(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, given)| given.declared).map(|(name, _)| name.as_str())
    }
}

/// Whether a word given to this variable is a text, and no expression: by its type, else by its default.
pub(super) fn is_word(block: &Block, default: Option<&Node>) -> bool {
    match block.body.get_attribute("type").map(|kind| &kind.value) {
        Some(Expression::Variable(name)) => matches!(name.as_str(), "string" | "number" | "any"),
        Some(_) => false,
        None => default.is_none_or(is_one_word),
    }
}

pub(super) fn is_one_word(default: &Node) -> bool {
    !matches!(default.kind, Kind::Flag(_) | Kind::List(_) | Kind::Map(_))
}

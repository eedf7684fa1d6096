//! What the expressions of a job can refer to, as far as it stands in the job's own file: its variables by their defaults or by what whoever
//! submits the job gives them, and its locals. All else – what only the node knows, functions, operators – is unknown, which is no fault.

use std::cell::Cell;
use std::collections::BTreeMap;

use hcl_edit::Span;
use hcl_edit::expr::{Expression, Traversal, TraversalOperator};
use hcl_edit::structure::{Attribute, Block, BlockLabel, Body};

use super::variables::{Variables, is_one_word, is_word};
use super::{Fault, Faults, Kind, Node, evaluate, start};
use crate::text::nearest;

/// Most that references may put in their places, in bytes and values: references to references would grow without end.
const WEIGHT_MAX: usize = 1 << 20;

/// Deepest value that is referred to: values in values in values would grow without end, too.
const DEPTH_MAX: usize = 64;

/// Most names that are looked through for one that was meant.
const SUGGESTED_MAX: usize = 256;

/// Words that other languages have for values, and what they are here.
const WORDS: [(&str, &str); 8] = [
    ("true", "true"),
    ("yes", "true"),
    ("on", "true"),
    ("false", "false"),
    ("no", "false"),
    ("off", "false"),
    ("none", "null"),
    ("nil", "null"),
];

/// What there is to refer to.
#[derive(Debug)]
pub(crate) struct Scope {
    variables: BTreeMap<String, Node>,
    locals: BTreeMap<String, Node>,
    left: Cell<usize>,
}

impl Scope {
    /// Of a job's file. Locals may refer to those before them.
    pub(crate) fn of_file(file: &Body, given: &Variables, faults: &mut Faults) -> Scope {
        let mut scope = Scope { variables: BTreeMap::new(), locals: BTreeMap::new(), left: Cell::new(WEIGHT_MAX) };
        for block in file.blocks() {
            match (block.ident.as_str(), block.labels.as_slice()) {
                ("variable", [name]) => {
                    let name = label(name);
                    let default = block.body.get_attribute("default").map(|given| scope.given(given));
                    let value = given.of(&name, || is_word(block, default.as_ref()));
                    let value = value.map(|value| said(value, &name, block, faults));
                    // One with neither is for whoever submits the job to say.
                    scope.variables.insert(name, value.or(default).unwrap_or_else(|| unknown(block)));
                }
                ("variables", []) => {
                    for attribute in block.body.attributes() {
                        let (name, default) = (attribute.key.to_string(), scope.given(attribute));
                        let value = given.of(&name, || is_one_word(&default));
                        let value = value.map(|value| said(value, &name, attribute, faults));
                        scope.variables.insert(name, value.unwrap_or(default));
                    }
                }
                _ => {}
            }
        }
        for name in given.declared().filter(|name| !scope.variables.contains_key(*name)) {
            let reason = format!("no variable is called {name:?} in this file, and it is given a value");
            faults.push(Fault::new(0, reason).hinting(scope.meant("var", name)));
        }
        for given in file.get_blocks("locals").flat_map(|block| block.body.attributes()) {
            scope.locals.insert(given.key.to_string(), scope.given(given));
        }
        scope
    }

    /// The value of a variable or local; what is wrong with it is not the matter here.
    fn given(&self, attribute: &Attribute) -> Node {
        let at = start(attribute, 0);
        evaluate(&attribute.value, at, Some(self)).unwrap_or(Node { kind: Kind::Unknown, at, end: at })
    }

    /// What an expression that is no constant stands for.
    pub(super) fn of(&self, expression: &Expression, at: usize) -> Result<Node, Fault> {
        let unknown = Node { kind: Kind::Unknown, at, end: at };
        match expression {
            // An environment variable of the task, unless it is a slip.
            Expression::Variable(name) => {
                let word = WORDS.iter().find(|(word, _)| name.as_str().eq_ignore_ascii_case(word));
                match word {
                    None => Ok(unknown),
                    Some((_, meant)) => Err(Fault::new(at, format!("{} is read as a name here", name.as_str()))
                        .hinting(format!("write {meant}, or {:?} for text", name.as_str()))),
                }
            }
            Expression::Traversal(reference) => self.referred(reference, at).map(|found| found.unwrap_or(unknown)),
            _ => Ok(unknown),
        }
    }

    /// What to do about a name that nothing has.
    fn meant(&self, root: &str, name: &str) -> String {
        let known = if root == "var" { &self.variables } else { &self.locals };
        match nearest(name, known.keys().map(String::as_str).take(SUGGESTED_MAX)) {
            Some(near) => format!("did you mean {root}.{near}?"),
            None if root == "var" => format!("declare it: variable {name:?} {{ … }}"),
            None => format!("declare it: locals {{ {name} = … }}"),
        }
    }

    /// `var.name` or `local.name`, and nothing behind it.
    fn referred(&self, reference: &Traversal, at: usize) -> Result<Option<Node>, Fault> {
        let Expression::Variable(root) = &reference.expr else { return Ok(None) };
        let (known, kind) = match root.as_str() {
            "var" => (&self.variables, "variable"),
            "local" => (&self.locals, "local"),
            _ => return Ok(None),
        };
        let mut operators = reference.operators.iter().map(|operator| operator.value());
        let Some(TraversalOperator::GetAttr(name)) = operators.next() else { return Ok(None) };
        let Some(node) = known.get(name.as_str()) else {
            let fault = Fault::new(at, format!("no {kind} is called {:?} in this file", name.as_str()));
            return Err(fault.hinting(self.meant(root.as_str(), name.as_str())));
        };
        let weight = weight(node);
        if operators.next().is_some() || weight > self.left.get() || depth(node) > DEPTH_MAX {
            return Ok(None);
        }
        self.left.set(self.left.get() - weight);
        Ok(Some(node.clone()))
    }
}

/// What is wrong with a given value is said where the variable is declared.
fn said(value: Result<Node, Fault>, name: &str, declared: &impl Span, faults: &mut Faults) -> Node {
    value.unwrap_or_else(|fault| {
        let at = start(declared, 0);
        faults.push(Fault::new(
            at,
            format!("what is given for the variable {name:?} is no value of its type: {}", fault.reason),
        ));
        Node { kind: Kind::Unknown, at, end: at }
    })
}

fn unknown(block: &Block) -> Node {
    let at = start(block, 0);
    Node { kind: Kind::Unknown, at, end: at }
}

fn weight(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Text(text) => text.len(),
        Kind::List(items) => items.iter().map(weight).sum(),
        Kind::Map(entries) => entries.iter().map(|entry| entry.key.len() + weight(&entry.value)).sum(),
        Kind::Null | Kind::Flag(_) | Kind::Number(_) | Kind::Unknown => 0,
    }
}

fn depth(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::List(items) => items.iter().map(depth).max().unwrap_or_default(),
        Kind::Map(entries) => entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or_default(),
        Kind::Null | Kind::Flag(_) | Kind::Number(_) | Kind::Text(_) | Kind::Unknown => 0,
    }
}

/// A block's label, with quotes or without.
pub(crate) fn label(label: &BlockLabel) -> String {
    match label {
        BlockLabel::Ident(name) => name.to_string(),
        BlockLabel::String(text) => text.value().clone(),
    }
}

//! What an operator writes, evaluated as an agent would.

use serde_json::{Map, Value};

use super::convert::{Mismatch, Strictness, as_set, converted};
use super::normal::fallen_back;
use super::written::{Content, Found};
use super::{ConfigError, prefix};
use crate::hcl::{self, Fault, Faults, Node};
use crate::schema::{Attr, BlockMap, Blocks, Spec};
use crate::text::{cleaned, nearest};

/// Longest reason in an error, in characters. Names from the text stand in it, and may be of any length and kind.
const REASON_MAX: usize = 500;

/// Evaluates a plugin's `config` block, or a file of the same form, by the plugin's schema: attributes, blocks, labels, defaults,
/// what is required and how often.
///
/// As for an agent, `rule { … }` and `rule = { … }` are the same, and so an attribute of a map type cannot be given (a list of
/// maps, or a block, can); numbers and booleans become text and text a number where the schema says so. References, templates,
/// functions and operators are refused: a plugin's configuration has nothing to refer to. `$${` and `%%{` stand for `${` and
/// `%{`.
///
/// # Errors
/// The first thing that is wrong, with `file`, line and column. A text of more than 256 KiB or 8192 keys is wrong at its start.
pub fn from_hcl(text: &str, file: &str, spec: &Spec) -> Result<Value, ConfigError> {
    let result = read(text, |content, faults| Ok(body(spec, content, faults)));
    result.map_err(|fault| placed(text, file, &fault))
}

/// The configuration of one plugin in an agent's file, `plugin "NAME" { config { … } }`; whatever else stands there is left alone. None: it
/// has no such stanza. One without `config` is an empty one.
///
/// # Errors
/// As [`from_hcl`], and two stanzas of the name.
pub fn from_agent_file(text: &str, file: &str, plugin: &str, spec: &Spec) -> Result<Option<Value>, ConfigError> {
    let result = read(text, |content, faults| {
        let Some(stanza) = stanza_of(content, plugin)? else { return Ok(None) };
        Ok(Some(match once("config", false, &stanza.content)? {
            Some(config) => body(spec, &config.content, faults),
            None => body(spec, &Content { items: Vec::new(), at: stanza.content.at }, faults),
        }))
    });
    result.map_err(|fault| placed(text, file, &fault))
}

fn stanza_of(content: &Content, plugin: &str) -> Result<Option<Found>, Fault> {
    let stanzas = content.blocks("plugin", &["name".to_owned()])?;
    let mut ours = stanzas.into_iter().filter(|found| found.labels.iter().eq([plugin]));
    match (ours.next(), ours.next()) {
        (_, Some(second)) => {
            Err(Fault::new(second.content.at, format!("the stanza plugin {plugin:?} may stand here once")))
        }
        (first, None) => Ok(first),
    }
}

/// What an agent's file says of its plugins, besides their configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plugins {
    /// Where their files are.
    pub dir: Option<String>,
    /// Names of the stanzas, which are those of the files, with their `args`; in order.
    pub stanzas: Vec<(String, Vec<String>)>,
}

/// Which plugins an agent's file names.
///
/// # Errors
/// As [`from_hcl`].
pub fn plugins_of(text: &str, file: &str) -> Result<Plugins, ConfigError> {
    let result = read(text, |content, _| {
        let stanzas = content.blocks("plugin", &["name".to_owned()])?.into_iter().map(|stanza| {
            let args = match stanza.content.value("args").map(Node::into_json) {
                Some(Value::Array(args)) => args.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                _ => Vec::new(),
            };
            (stanza.labels.concat(), args)
        });
        let dir = content.value("plugin_dir").map(Node::into_json);
        Ok(Plugins { dir: dir.as_ref().and_then(Value::as_str).map(str::to_owned), stanzas: stanzas.collect() })
    });
    result.map_err(|fault| placed(text, file, &fault))
}

/// The same for a text that is laid over a configuration: what stands in it counts, at the top level as a whole (a key, or all blocks of
/// a name), and for the rest `below`, a value of the same schema. So nothing is required of the text alone.
///
/// # Errors
/// As [`from_hcl`].
pub fn laid_over(text: &str, file: &str, spec: &Spec, below: &Value) -> Result<Value, ConfigError> {
    let result = read(text, |content, faults| {
        let Spec::Object(keys) = spec else { return Ok(body(spec, content, faults)) };
        stands_nothing_unknown(spec, content, faults);
        let mut merged = Map::new();
        for (key, nested) in keys {
            let given = nested.names().iter().any(|name| content.items.iter().any(|item| item.name == *name));
            let value = match below.get(key) {
                Some(value) if !given => value.clone(),
                _ => value(nested, content, faults),
            };
            merged.insert(key.clone(), value);
        }
        Ok(Value::Object(merged))
    });
    result.map_err(|fault| placed(text, file, &fault))
}

/// The first fault of a text counts: of its values before that of its schema.
fn read<T>(text: &str, evaluate: impl FnOnce(&Content, &mut Faults) -> Result<T, Fault>) -> Result<T, Fault> {
    let parsed = hcl::body(text)?;
    let mut faults = Faults::default();
    let content = Content::read(&parsed, 0, None, &mut faults);
    faults.clone().first_or(())?;
    let value = evaluate(&content, &mut faults)?;
    faults.first_or(value)
}

/// Where a dotted path such as `rule[2].vendor` stands in a text, as line and column from 1: as much of the path as is written there.
pub fn place_of(text: &str, path: &str) -> Option<(usize, usize)> {
    let mut faults = Faults::default();
    let mut content = Content::read(&hcl::body(text).ok()?, 0, None, &mut faults);
    faults.first_or(()).ok()?;
    let mut at = None;
    for step in path.split('.') {
        let (name, index) = match step.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().unwrap_or_default()),
            None => (step, 0),
        };
        let of_name: Vec<_> = content.items.iter().filter(|item| item.name == name).collect();
        let Some(item) = of_name.get(index).or(of_name.first()) else { break };
        at = Some(item.at);
        match content.blocks(name, &[]).ok().and_then(|blocks| blocks.into_iter().nth(index)) {
            Some(found) => content = found.content,
            None => break,
        }
    }
    at.map(|at| hcl::place(text, at))
}

fn placed(text: &str, file: &str, fault: &Fault) -> ConfigError {
    let (line, column) = hcl::place(text, fault.at);
    ConfigError::Text { file: file.to_owned(), line, column, reason: cleaned(&fault.sentence(), REASON_MAX) }
}

/// Everything in one pair of braces: nothing may stand there that the schema does not know.
pub(super) fn body(spec: &Spec, content: &Content, faults: &mut Faults) -> Value {
    stands_nothing_unknown(spec, content, faults);
    value(spec, content, faults)
}

fn stands_nothing_unknown(spec: &Spec, content: &Content, faults: &mut Faults) {
    let known = spec.names();
    for item in content.items.iter().filter(|item| !known.contains(&item.name)) {
        let near = nearest(&item.name, known.iter().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None if known.is_empty() => "nothing may stand here".to_owned(),
            None => format!("there are {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        faults.push(Fault::new(item.at, format!("no key or block is called {:?} here", item.name)).hinting(hint));
    }
}

/// Null where something is wrong or unknown.
fn value(spec: &Spec, content: &Content, faults: &mut Faults) -> Value {
    match spec {
        Spec::Object(keys) => {
            Value::Object(keys.iter().map(|(key, nested)| (key.clone(), value(nested, content, faults))).collect())
        }
        Spec::Array(items) => Value::Array(items.iter().map(|nested| value(nested, content, faults)).collect()),
        Spec::Attr(attr) => told(attribute(attr, content), faults),
        Spec::Block(block) => match told(once(&block.name, block.required, content), faults) {
            Some(found) => body(&block.nested, &found.content, faults),
            None => Value::Null,
        },
        Spec::BlockAttrs(attrs) => match told(once(&attrs.name, attrs.required, content), faults) {
            Some(found) => free_keys(attrs, &found.content, faults),
            None => Value::Null,
        },
        Spec::BlockList(blocks) => Value::Array(each(blocks, content, faults)),
        Spec::BlockSet(blocks) => Value::Array(as_set(each(blocks, content, faults))),
        Spec::BlockMap(map) => labelled(map, content, faults),
        Spec::Default(primary, fallback) => match value(primary, content, faults) {
            Value::Null if primary.names().iter().any(|name| content.is_open(name)) => Value::Null,
            Value::Null => {
                let fallback = fallen_back(primary, value(fallback, content, faults));
                told(fallback.map_err(|why| fault(why, "", content.at)), faults)
            }
            given => given,
        },
        Spec::Literal(value) => value.clone(),
    }
}

/// Notes what is wrong, and goes on without.
fn told<T: Default>(result: Result<T, Fault>, faults: &mut Faults) -> T {
    result.unwrap_or_else(|fault| {
        faults.push(fault);
        T::default()
    })
}

fn attribute(attr: &Attr, content: &Content) -> Result<Value, Fault> {
    match content.value(&attr.name) {
        Some(node) => typed(node, attr, &attr.name),
        None if attr.required => Err(Fault::new(content.at, format!("{:?} is missing here", attr.name))
            .hinting(format!("write {} = …, a {}", attr.name, attr.kind))),
        None => Ok(Value::Null),
    }
}

/// A value in the type of its attribute. One that is unknown in part is checked in the rest, and unknown as a whole.
fn typed(node: Node, attr: &Attr, path: &str) -> Result<Value, Fault> {
    let value = converted(node.clone().into_json(), &attr.kind, Strictness::Strict).map_err(|why| {
        let at = node.begins(&why.path);
        fault(why, path, at)
    })?;
    Ok(if node.is_open() { Value::Null } else { value })
}

fn fault(why: Mismatch, key: &str, at: usize) -> Fault {
    let why = if key.is_empty() { why } else { why.below(key) };
    Fault::new(at, format!("{}{}", prefix(&why.path), why.reason))
}

/// A block that may stand once.
fn once(name: &str, required: bool, content: &Content) -> Result<Option<Found>, Fault> {
    let mut found = content.blocks(name, &[])?.into_iter();
    match (found.next(), found.next()) {
        (Some(_), Some(second)) => Err(Fault::new(second.content.at, format!("the block {name} may stand here once"))),
        (None, _) if required && !content.is_open(name) => {
            let fault = Fault::new(content.at, format!("the block {name} is missing here"));
            Err(fault.hinting(format!("write {name} {{ … }}")))
        }
        (first, _) => Ok(first),
    }
}

fn free_keys(attrs: &Attr, content: &Content, faults: &mut Faults) -> Value {
    let mut keys = Map::new();
    for item in &content.items {
        if let Some(node) = content.value(&item.name) {
            let value = typed(node, attrs, &format!("{}.{}", attrs.name, item.name));
            keys.insert(item.name.clone(), told(value, faults));
        }
    }
    Value::Object(keys)
}

fn each(blocks: &Blocks, content: &Content, faults: &mut Faults) -> Vec<Value> {
    let found = match content.blocks(&blocks.name, &[]) {
        Ok(found) => found,
        Err(fault) => {
            faults.push(fault);
            return Vec::new();
        }
    };
    let (name, count) = (&blocks.name, found.len() as u64);
    if count < blocks.min_items && !content.is_open(name) {
        let why = format!("{} block(s) {name} stand here, at least {} must", count, blocks.min_items);
        faults.push(Fault::new(content.at, why));
    }
    if blocks.max_items > 0 && count > blocks.max_items {
        let why = format!("{} blocks {name} stand here, at most {} may", count, blocks.max_items);
        faults.push(Fault::new(content.at, why));
    }
    found.iter().map(|found| body(&blocks.nested, &found.content, faults)).collect()
}

fn labelled(map: &BlockMap, content: &Content, faults: &mut Faults) -> Value {
    let mut all = Map::new();
    for found in told(content.blocks(&map.name, &map.labels), faults) {
        let value = body(&map.nested, &found.content, faults);
        if !inserted(&mut all, &found.labels, value) {
            let labels = found.labels.join("\" \"");
            let why = format!("the block {} \"{labels}\" stands here already", map.name);
            faults.push(Fault::new(found.content.at, why));
        }
    }
    Value::Object(all)
}

/// Puts a value below its labels, if nothing stands there.
fn inserted(all: &mut Map<String, Value>, labels: &[String], value: Value) -> bool {
    let Some((last, above)) = labels.split_last() else { return true };
    let mut level = all;
    for label in above {
        match level.entry(label.clone()).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(below) => level = below,
            _ => return false,
        }
    }
    level.insert(last.clone(), value).is_none()
}

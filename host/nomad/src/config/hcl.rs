//! What an operator writes, evaluated as an agent would.

use serde_json::{Map, Value};

use super::convert::{Mismatch, Strictness, as_set, converted};
use super::normal::fallen_back;
use super::written::{Content, Found};
use super::{ConfigError, prefix};
use crate::hcl::{self, Fault};
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
    let result = hcl::body(text).and_then(|parsed| Content::read(&parsed, 0)).and_then(|content| body(spec, &content));
    result.map_err(|fault| placed(text, file, &fault))
}

/// The configuration of one plugin in an agent's file, `plugin "NAME" { config { … } }`; whatever else stands there is left alone. None: it
/// has no such stanza. One without `config` is an empty one.
///
/// # Errors
/// As [`from_hcl`], and two stanzas of the name.
pub fn from_agent_file(text: &str, file: &str, plugin: &str, spec: &Spec) -> Result<Option<Value>, ConfigError> {
    let label = ["name".to_owned()];
    let result = hcl::body(text).and_then(|parsed| Content::read(&parsed, 0)).and_then(|content| {
        let stanzas = content.blocks("plugin", &label)?;
        let mut ours = stanzas.iter().filter(|found| found.labels.iter().eq([plugin]));
        let (Some(stanza), second) = (ours.next(), ours.next()) else { return Ok(None) };
        if let Some(second) = second {
            return Err(Fault::new(second.content.at, format!("the stanza plugin {plugin:?} may stand here once")));
        }
        match once("config", false, &stanza.content)? {
            Some(config) => body(spec, &config.content).map(Some),
            None => body(spec, &Content::read(&hcl::body("")?, stanza.content.at)?).map(Some),
        }
    });
    result.map_err(|fault| placed(text, file, &fault))
}

/// The same for a text that is laid over a configuration: what stands in it counts, at the top level as a whole (a key, or all blocks of
/// a name), and for the rest `below`, a value of the same schema. So nothing is required of the text alone.
///
/// # Errors
/// As [`from_hcl`].
pub fn laid_over(text: &str, file: &str, spec: &Spec, below: &Value) -> Result<Value, ConfigError> {
    let result = hcl::body(text).and_then(|parsed| Content::read(&parsed, 0)).and_then(|content| {
        let Spec::Object(keys) = spec else { return body(spec, &content) };
        stands_nothing_unknown(spec, &content)?;
        let merged = keys.iter().map(|(key, nested)| {
            let given = nested.names().iter().any(|name| content.items.iter().any(|item| item.name == *name));
            let value = match below.get(key) {
                Some(value) if !given => value.clone(),
                _ => value(nested, &content)?,
            };
            Ok((key.clone(), value))
        });
        Ok(Value::Object(merged.collect::<Result<Map<_, _>, _>>()?))
    });
    result.map_err(|fault| placed(text, file, &fault))
}

/// Where a dotted path such as `rule[2].vendor` stands in a text, as line and column from 1: as much of the path as is written there.
pub fn place_of(text: &str, path: &str) -> Option<(usize, usize)> {
    let mut content = hcl::body(text).and_then(|parsed| Content::read(&parsed, 0)).ok()?;
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
    ConfigError::Text { file: file.to_owned(), line, column, reason: cleaned(&fault.reason, REASON_MAX) }
}

/// Everything in one pair of braces: nothing may stand there that the schema does not know.
fn body(spec: &Spec, content: &Content) -> Result<Value, Fault> {
    stands_nothing_unknown(spec, content)?;
    value(spec, content)
}

fn stands_nothing_unknown(spec: &Spec, content: &Content) -> Result<(), Fault> {
    let known = spec.names();
    for item in &content.items {
        if !known.contains(&item.name) {
            let near = nearest(&item.name, known.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("; did you mean {near:?}?"),
                None if known.is_empty() => "; nothing may stand here".to_owned(),
                None => format!("; there are {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
            };
            return Err(Fault::new(item.at, format!("no key or block is called {:?} here{hint}", item.name)));
        }
    }
    Ok(())
}

fn value(spec: &Spec, content: &Content) -> Result<Value, Fault> {
    match spec {
        Spec::Object(keys) => {
            let keys = keys.iter().map(|(key, nested)| Ok((key.clone(), value(nested, content)?)));
            Ok(Value::Object(keys.collect::<Result<Map<_, _>, _>>()?))
        }
        Spec::Array(items) => {
            Ok(Value::Array(items.iter().map(|nested| value(nested, content)).collect::<Result<_, _>>()?))
        }
        Spec::Attr(attr) => attribute(attr, content),
        Spec::Block(block) => match once(&block.name, block.required, content)? {
            Some(found) => body(&block.nested, &found.content),
            None => Ok(Value::Null),
        },
        Spec::BlockAttrs(attrs) => match once(&attrs.name, attrs.required, content)? {
            Some(found) => free_keys(attrs, &found.content),
            None => Ok(Value::Null),
        },
        Spec::BlockList(blocks) => Ok(Value::Array(each(blocks, content)?)),
        Spec::BlockSet(blocks) => Ok(Value::Array(as_set(each(blocks, content)?))),
        Spec::BlockMap(map) => labelled(map, content),
        Spec::Default(primary, fallback) => match value(primary, content)? {
            Value::Null => fallen_back(primary, value(fallback, content)?).map_err(|why| fault(why, "", content.at)),
            given => Ok(given),
        },
        Spec::Literal(value) => Ok(value.clone()),
    }
}

fn attribute(attr: &Attr, content: &Content) -> Result<Value, Fault> {
    match content.value(&attr.name) {
        Some(node) => {
            let at = node.at;
            converted(node.into_json(), &attr.kind, Strictness::Strict).map_err(|why| fault(why, &attr.name, at))
        }
        None if attr.required => Err(Fault::new(
            content.at,
            format!("{:?} is missing here: write {} = …, a {}", attr.name, attr.name, attr.kind),
        )),
        None => Ok(Value::Null),
    }
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
        (None, _) if required => {
            Err(Fault::new(content.at, format!("the block {name} is missing here: write {name} {{ … }}")))
        }
        (first, _) => Ok(first),
    }
}

fn free_keys(attrs: &Attr, content: &Content) -> Result<Value, Fault> {
    let mut keys = Map::new();
    for item in &content.items {
        if let Some(node) = content.value(&item.name) {
            let value = converted(node.into_json(), &attrs.kind, Strictness::Strict)
                .map_err(|why| fault(why.below(&item.name), &attrs.name, item.at))?;
            keys.insert(item.name.clone(), value);
        }
    }
    Ok(Value::Object(keys))
}

fn each(blocks: &Blocks, content: &Content) -> Result<Vec<Value>, Fault> {
    let found = content.blocks(&blocks.name, &[])?;
    let (name, count) = (&blocks.name, found.len() as u64);
    if count < blocks.min_items {
        return Err(Fault::new(
            content.at,
            format!("{} block(s) {name} stand here, at least {} must", count, blocks.min_items),
        ));
    }
    if blocks.max_items > 0 && count > blocks.max_items {
        return Err(Fault::new(
            content.at,
            format!("{} blocks {name} stand here, at most {} may", count, blocks.max_items),
        ));
    }
    found.iter().map(|found| body(&blocks.nested, &found.content)).collect()
}

fn labelled(map: &BlockMap, content: &Content) -> Result<Value, Fault> {
    let mut all = Map::new();
    for found in content.blocks(&map.name, &map.labels)? {
        let value = body(&map.nested, &found.content)?;
        let twice = || {
            let labels = found.labels.join("\" \"");
            Fault::new(found.content.at, format!("the block {} \"{labels}\" stands here already", map.name))
        };
        let Some((last, above)) = found.labels.split_last() else { continue };
        let mut level = &mut all;
        for label in above {
            let below = level.entry(label.clone()).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(below) = below else { return Err(twice()) };
            level = below;
        }
        if level.insert(last.clone(), value).is_some() {
            return Err(twice());
        }
    }
    Ok(Value::Object(all))
}

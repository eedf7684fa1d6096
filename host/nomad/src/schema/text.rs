//! Reads the specification language.

use std::collections::BTreeMap;

use hcl_edit::structure::{Block as HclBlock, BlockLabel, Body, Structure};

use super::{Attr, Block, BlockMap, Blocks, REASON_MAX, Spec, SpecError, Type};
use crate::hcl::{self, Fault, Kind, start};
use crate::text::{cleaned, nearest};

/// Deepest nesting of specifications in a text.
const DEPTH_MAX: usize = 32;

const KINDS: [&str; 11] = [
    "object",
    "array",
    "attr",
    "block",
    "block_value",
    "block_attrs",
    "block_list",
    "block_set",
    "block_map",
    "default",
    "literal",
];

impl Spec {
    /// Reads the language of this module's header and holds the result against the house rules.
    ///
    /// # Errors
    /// One sentence with line and column, or with the key that breaks a rule.
    pub fn parse(text: &str) -> Result<Spec, SpecError> {
        let spec = parse(text).map_err(|fault| {
            let (line, column) = hcl::place(text, fault.at);
            SpecError::Text { line, column, reason: cleaned(&fault.reason, REASON_MAX) }
        })?;
        spec.check_host_rules()?;
        Ok(spec)
    }
}

fn parse(text: &str) -> Result<Spec, Fault> {
    let body = hcl::body(text)?;
    let mut top = children(&body, 0)?.into_iter();
    match (top.next(), top.next()) {
        (Some(only), None) if only.ident.as_str() == "object" && only.labels.is_empty() => {
            spec(only, None, 0, DEPTH_MAX)
        }
        (Some(other), _) => {
            Err(Fault::new(start(other, 0), "the top level must be one object { … } without a label, and nothing else"))
        }
        (None, _) => Err(Fault::new(0, "there is no specification: write object { … }")),
    }
}

/// The blocks of a body that must hold nothing but specifications.
fn children(body: &Body, otherwise: usize) -> Result<Vec<&HclBlock>, Fault> {
    body.iter()
        .map(|structure| match structure {
            Structure::Block(block) => Ok(block),
            Structure::Attribute(attribute) => {
                let name = attribute.key.as_str();
                Err(Fault::new(
                    start(attribute, otherwise),
                    format!("{name:?} means nothing here: only specifications may stand here"),
                ))
            }
        })
        .collect()
}

/// `inherited` is the name that stands in for one of its own: the key above, also through a `default`.
fn spec(block: &HclBlock, inherited: Option<&str>, otherwise: usize, depth: usize) -> Result<Spec, Fault> {
    let at = start(block, otherwise);
    let depth =
        depth.checked_sub(1).ok_or_else(|| Fault::new(at, format!("specifications nest at most {DEPTH_MAX} deep")))?;
    let label = label(block, at)?;
    let inherited = label.as_deref().or(inherited);
    let kind = block.ident.as_str();
    let mut parts = Parts::of(block, at)?;
    let spec = match kind {
        "object" => {
            let mut keys = BTreeMap::new();
            for child in parts.children() {
                let place = start(child, at);
                let key = self::label(child, place)?.ok_or_else(|| {
                    Fault::new(place, format!("in an object every {} needs a label: its key", child.ident.as_str()))
                })?;
                if keys.contains_key(&key) {
                    return Err(Fault::new(place, format!("the key {key:?} stands in this object already")));
                }
                let nested = spec(child, None, place, depth)?;
                keys.insert(key, nested);
            }
            Spec::Object(keys)
        }
        "array" => {
            let children = parts.children();
            Spec::Array(children.into_iter().map(|child| spec(child, None, at, depth)).collect::<Result<_, _>>()?)
        }
        "attr" => Spec::Attr(Attr {
            name: parts.name(inherited)?,
            kind: parts.kind("type")?,
            required: parts.flag("required")?,
        }),
        "block_attrs" => {
            let word = if parts.has("element_type") { "element_type" } else { "type" };
            Spec::BlockAttrs(Attr {
                name: parts.name(inherited)?,
                kind: parts.kind(word)?,
                required: parts.flag("required")?,
            })
        }
        "block" | "block_value" => Spec::Block(Block {
            name: parts.name(inherited)?,
            required: parts.flag("required")?,
            nested: parts.nested(depth)?,
        }),
        "block_list" | "block_set" => {
            let blocks = Blocks {
                name: parts.name(inherited)?,
                min_items: parts.count("min_items")?,
                max_items: parts.count("max_items")?,
                nested: parts.nested(depth)?,
            };
            if blocks.max_items > 0 && blocks.min_items > blocks.max_items {
                return Err(Fault::new(at, "min_items is more than max_items"));
            }
            if kind == "block_list" { Spec::BlockList(blocks) } else { Spec::BlockSet(blocks) }
        }
        "block_map" => Spec::BlockMap(BlockMap {
            name: parts.name(inherited)?,
            labels: parts.labels()?,
            nested: parts.nested(depth)?,
        }),
        "default" => {
            let children = parts.children();
            let &[primary, fallback] = children.as_slice() else {
                return Err(Fault::new(
                    at,
                    "a default holds two specifications: the value, and what stands in for null",
                ));
            };
            let primary = spec(primary, inherited, at, depth)?;
            Spec::Default(Box::new(primary), Box::new(spec(fallback, inherited, at, depth)?))
        }
        "literal" => Spec::Literal(parts.value()?),
        other => {
            let hint = nearest(other, KINDS).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(Fault::new(
                at,
                format!("no specification is called {other:?}{hint} (there are {})", KINDS.join(", ")),
            ));
        }
    };
    parts.nothing_left(kind)?;
    Ok(spec)
}

fn label(block: &HclBlock, at: usize) -> Result<Option<String>, Fault> {
    let text = |label: &BlockLabel| match label {
        BlockLabel::Ident(name) => name.to_string(),
        BlockLabel::String(text) => text.value().clone(),
    };
    match block.labels.as_slice() {
        [] => Ok(None),
        [label] if text(label).is_empty() => Err(Fault::new(at, "the label is empty")),
        [label] => Ok(Some(text(label))),
        _ => Err(Fault::new(at, "a specification has one label at most")),
    }
}

/// What stands in a specification's braces; everything must be taken out.
struct Parts<'a> {
    attributes: Vec<(&'a str, &'a hcl_edit::structure::Attribute)>,
    children: Vec<&'a HclBlock>,
    at: usize,
}

impl<'a> Parts<'a> {
    fn of(block: &'a HclBlock, at: usize) -> Result<Parts<'a>, Fault> {
        let mut parts = Parts { attributes: Vec::new(), children: Vec::new(), at };
        for structure in block.body.iter() {
            match structure {
                Structure::Block(child) => parts.children.push(child),
                Structure::Attribute(attribute) => {
                    let name = attribute.key.as_str();
                    if parts.has(name) {
                        return Err(Fault::new(start(attribute, at), format!("{name} is given twice")));
                    }
                    parts.attributes.push((name, attribute));
                }
            }
        }
        Ok(parts)
    }

    fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|(other, _)| *other == name)
    }

    fn take(&mut self, name: &str) -> Option<&'a hcl_edit::structure::Attribute> {
        let at = self.attributes.iter().position(|(other, _)| *other == name)?;
        Some(self.attributes.swap_remove(at).1)
    }

    fn constant(&mut self, name: &str) -> Result<Option<hcl::Node>, Fault> {
        let Some(attribute) = self.take(name) else { return Ok(None) };
        hcl::constant(&attribute.value, start(attribute, self.at)).map(Some)
    }

    fn children(&mut self) -> Vec<&'a HclBlock> {
        std::mem::take(&mut self.children)
    }

    fn name(&mut self, inherited: Option<&str>) -> Result<String, Fault> {
        let word = if self.has("block_type") { "block_type" } else { "name" };
        match self.constant(word)? {
            Some(hcl::Node { kind: Kind::Text(name), .. }) if !name.is_empty() => Ok(name),
            Some(other) => Err(Fault::new(other.at, format!("{word} must be a text that is not empty"))),
            None => inherited
                .map(str::to_owned)
                .ok_or_else(|| Fault::new(self.at, "it has no name: give it a label, or name = \"…\"")),
        }
    }

    fn kind(&mut self, word: &str) -> Result<Type, Fault> {
        let attribute =
            self.take(word).ok_or_else(|| Fault::new(self.at, format!("{word} is missing: write {word} = string")))?;
        Type::from_expression(&attribute.value).map_err(|why| Fault::new(start(&attribute.value, self.at), why))
    }

    fn flag(&mut self, name: &str) -> Result<bool, Fault> {
        match self.constant(name)? {
            None => Ok(false),
            Some(hcl::Node { kind: Kind::Flag(flag), .. }) => Ok(flag),
            Some(other) => Err(Fault::new(other.at, format!("{name} must be true or false"))),
        }
    }

    fn count(&mut self, name: &str) -> Result<u64, Fault> {
        match self.constant(name)? {
            None => Ok(0),
            Some(hcl::Node { kind: Kind::Number(number), at, .. }) => number
                .as_u64()
                .ok_or_else(|| Fault::new(at, format!("{name} must be a whole number that is not negative"))),
            Some(other) => Err(Fault::new(other.at, format!("{name} must be a number"))),
        }
    }

    fn labels(&mut self) -> Result<Vec<String>, Fault> {
        let fault = |at| Fault::new(at, "labels must be a list of at least one text: labels = [\"name\"]");
        let node = self.constant("labels")?.ok_or_else(|| fault(self.at))?;
        let Kind::List(items) = node.kind else { return Err(fault(node.at)) };
        if items.is_empty() {
            return Err(fault(node.at));
        }
        items
            .into_iter()
            .map(|item| match item.kind {
                Kind::Text(text) if !text.is_empty() => Ok(text),
                _ => Err(fault(item.at)),
            })
            .collect()
    }

    fn nested(&mut self, depth: usize) -> Result<Box<Spec>, Fault> {
        let children = self.children();
        let &[only] = children.as_slice() else {
            return Err(Fault::new(self.at, "it must hold exactly one specification: of what is in the block"));
        };
        spec(only, None, self.at, depth).map(Box::new)
    }

    fn value(&mut self) -> Result<serde_json::Value, Fault> {
        let value =
            self.constant("value")?.ok_or_else(|| Fault::new(self.at, "value is missing: write value = \"…\""))?;
        Ok(value.into_json())
    }

    fn nothing_left(&self, kind: &str) -> Result<(), Fault> {
        if let Some((name, attribute)) = self.attributes.first() {
            return Err(Fault::new(start(*attribute, self.at), format!("{name} means nothing in {kind}")));
        }
        if let Some(child) = self.children.first() {
            let name = child.ident.as_str();
            return Err(Fault::new(
                start(*child, self.at),
                format!("{kind} holds no specifications, so no {name} either"),
            ));
        }
        Ok(())
    }
}

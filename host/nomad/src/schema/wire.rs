//! Specifications as messages, both ways.

use std::collections::BTreeMap;

use super::{AT_MAX, Attr, Block, BlockMap, Blocks, REASON_MAX, Spec, SpecError, Type, print};
use crate::hcl;
use crate::proto::hclspec as proto;
use crate::proto::hclspec::spec::Block as Case;
use crate::text::cleaned;

/// Deepest nesting that is read; prost's own bound is 100.
const DEPTH_MAX: usize = 64;

impl Spec {
    /// The message that an agent gets. Every name is written out.
    pub fn to_proto(&self) -> proto::Spec {
        let case = match self {
            Spec::Object(keys) => Case::Object(proto::Object {
                attributes: keys.iter().map(|(key, nested)| (key.clone(), nested.to_proto())).collect(),
            }),
            Spec::Array(items) => Case::Array(proto::Array { values: items.iter().map(Spec::to_proto).collect() }),
            Spec::Attr(attr) => Case::Attr(proto::Attr {
                name: attr.name.clone(),
                r#type: attr.kind.to_string(),
                required: attr.required,
            }),
            Spec::Block(block) => Case::BlockValue(Box::new(proto::Block {
                name: block.name.clone(),
                required: block.required,
                nested: Some(Box::new(block.nested.to_proto())),
            })),
            Spec::BlockAttrs(attrs) => Case::BlockAttrs(proto::BlockAttrs {
                name: attrs.name.clone(),
                r#type: attrs.kind.to_string(),
                required: attrs.required,
            }),
            Spec::BlockList(blocks) => Case::BlockList(Box::new(proto::BlockList {
                name: blocks.name.clone(),
                min_items: blocks.min_items,
                max_items: blocks.max_items,
                nested: Some(Box::new(blocks.nested.to_proto())),
            })),
            Spec::BlockSet(blocks) => Case::BlockSet(Box::new(proto::BlockSet {
                name: blocks.name.clone(),
                min_items: blocks.min_items,
                max_items: blocks.max_items,
                nested: Some(Box::new(blocks.nested.to_proto())),
            })),
            Spec::BlockMap(map) => Case::BlockMap(Box::new(proto::BlockMap {
                name: map.name.clone(),
                labels: map.labels.clone(),
                nested: Some(Box::new(map.nested.to_proto())),
            })),
            Spec::Default(primary, fallback) => Case::Default(Box::new(proto::Default {
                primary: Some(Box::new(primary.to_proto())),
                default: Some(Box::new(fallback.to_proto())),
            })),
            Spec::Literal(value) => Case::Literal(proto::Literal { value: print::constant(value) }),
        };
        proto::Spec { block: Some(case) }
    }

    /// Reads a peer's message as an agent would: a key stands in for the name of its direct child only.
    ///
    /// # Errors
    /// If a part is missing that an agent insists on, or a type or literal does not parse.
    pub fn from_proto(message: &proto::Spec) -> Result<Spec, SpecError> {
        read(Some(message), None, "the top level", DEPTH_MAX)
    }
}

fn read(message: Option<&proto::Spec>, key: Option<&str>, at: &str, depth: usize) -> Result<Spec, SpecError> {
    let fault = |reason: String| SpecError::Message { at: cleaned(at, AT_MAX), reason: cleaned(&reason, REASON_MAX) };
    let depth = depth.checked_sub(1).ok_or_else(|| fault(format!("it nests deeper than {DEPTH_MAX}")))?;
    let case = message
        .and_then(|message| message.block.as_ref())
        .ok_or_else(|| fault("there is no specification".to_owned()))?;
    let named = |name: &str| match (name, key) {
        ("", Some(key)) => Ok(key.to_owned()),
        ("", None) => Err(fault("it has no name, and no key stands in for it".to_owned())),
        (name, _) => Ok(name.to_owned()),
    };
    let nested =
        |nested: &Option<Box<proto::Spec>>| read(nested.as_deref(), None, &below(at, "nested"), depth).map(Box::new);
    let kind = |text: &str| Type::parse(text).map_err(fault);
    Ok(match case {
        Case::Object(object) => {
            let mut keys = BTreeMap::new();
            for (key, nested) in &object.attributes {
                keys.insert(key.clone(), read(Some(nested), Some(key), &below(at, key), depth)?);
            }
            Spec::Object(keys)
        }
        Case::Array(array) => {
            let items = array.values.iter().enumerate();
            Spec::Array(
                items
                    .map(|(number, item)| read(Some(item), None, &below(at, &number.to_string()), depth))
                    .collect::<Result<_, _>>()?,
            )
        }
        Case::Attr(attr) => {
            Spec::Attr(Attr { name: named(&attr.name)?, kind: kind(&attr.r#type)?, required: attr.required })
        }
        Case::BlockValue(block) => {
            Spec::Block(Block { name: named(&block.name)?, required: block.required, nested: nested(&block.nested)? })
        }
        Case::BlockAttrs(attrs) => {
            Spec::BlockAttrs(Attr { name: named(&attrs.name)?, kind: kind(&attrs.r#type)?, required: attrs.required })
        }
        Case::BlockList(blocks) => Spec::BlockList(Blocks {
            name: named(&blocks.name)?,
            min_items: blocks.min_items,
            max_items: blocks.max_items,
            nested: nested(&blocks.nested)?,
        }),
        Case::BlockSet(blocks) => Spec::BlockSet(Blocks {
            name: named(&blocks.name)?,
            min_items: blocks.min_items,
            max_items: blocks.max_items,
            nested: nested(&blocks.nested)?,
        }),
        Case::BlockMap(map) => {
            if map.labels.is_empty() {
                return Err(fault("a block_map needs at least one label".to_owned()));
            }
            Spec::BlockMap(BlockMap {
                name: named(&map.name)?,
                labels: map.labels.clone(),
                nested: nested(&map.nested)?,
            })
        }
        Case::Default(default) => Spec::Default(
            Box::new(read(default.primary.as_deref(), None, &below(at, "primary"), depth)?),
            Box::new(read(default.default.as_deref(), None, &below(at, "default"), depth)?),
        ),
        Case::Literal(literal) => {
            let expression = hcl::expression(&literal.value)
                .map_err(|why| fault(format!("the literal {:?} is no expression: {}", literal.value, why.reason)))?;
            let value = hcl::constant(&expression, 0)
                .map_err(|why| fault(format!("the literal {:?} is no constant: {}", literal.value, why.reason)))?;
            Spec::Literal(value.into_json())
        }
    })
}

fn below(at: &str, key: &str) -> String {
    if at == "the top level" { key.to_owned() } else { format!("{at}.{key}") }
}

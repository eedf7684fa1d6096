//! What an agent evaluated, held against the schema once more: every declared key there, every value of its declared type.

use serde_json::{Map, Value};

use super::ITEMS_MAX;
use super::convert::{Mismatch, Strictness, as_set, converted, named};
use crate::schema::{Blocks, Spec};

/// The value of a specification, from what was sent for it. Lenient where an older or newer schema was at the other end: unknown
/// keys are left out, missing ones are as if nothing was given.
pub(super) fn normal(spec: &Spec, given: Option<Value>) -> Result<Value, Mismatch> {
    let given = given.filter(|value| !value.is_null());
    match spec {
        Spec::Object(keys) => {
            let mut given = match given {
                None => Map::new(),
                Some(Value::Object(given)) => given,
                Some(other) => return Err(Mismatch::new(format!("must be an object, is {}", named(&other)))),
            };
            let mut object = Map::new();
            for (key, nested) in keys {
                let value = normal(nested, given.remove(key)).map_err(|why| why.below(key))?;
                object.insert(key.clone(), value);
            }
            Ok(Value::Object(object))
        }
        Spec::Array(specs) => {
            let given = list(given)?;
            let mut given = given.into_iter();
            let items = specs.iter().enumerate();
            let items = items.map(|(at, nested)| normal(nested, given.next()).map_err(|why| why.at(at)));
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
        Spec::Attr(attr) => given.map_or(Ok(Value::Null), |value| converted(value, &attr.kind, Strictness::Lenient)),
        Spec::Block(block) => given.map_or(Ok(Value::Null), |value| normal(&block.nested, Some(value))),
        Spec::BlockAttrs(attrs) => match given {
            None => Ok(Value::Null),
            Some(Value::Object(keys)) => {
                let keys = keys.into_iter().map(|(key, value)| {
                    let value = converted(value, &attrs.kind, Strictness::Lenient).map_err(|why| why.below(&key))?;
                    Ok((key, value))
                });
                Ok(Value::Object(keys.collect::<Result<Map<_, _>, _>>()?))
            }
            Some(other) => Err(Mismatch::new(format!("must be a block of keys, is {}", named(&other)))),
        },
        Spec::BlockList(blocks) => Ok(Value::Array(each(blocks, given)?)),
        Spec::BlockSet(blocks) => Ok(Value::Array(as_set(each(blocks, given)?))),
        Spec::BlockMap(map) => labelled(&map.nested, map.labels.len(), given),
        Spec::Default(primary, fallback) => defaulted(primary, fallback, given),
        Spec::Literal(value) => Ok(value.clone()),
    }
}

fn list(given: Option<Value>) -> Result<Vec<Value>, Mismatch> {
    match given {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(Mismatch::new(format!("must be a list, is {}", named(&other)))),
    }
}

fn few(blocks: usize) -> Result<(), Mismatch> {
    if blocks <= ITEMS_MAX {
        return Ok(());
    }
    Err(Mismatch::new(format!("{blocks} blocks stand here, at most {ITEMS_MAX} may")))
}

fn each(blocks: &Blocks, given: Option<Value>) -> Result<Vec<Value>, Mismatch> {
    let items = list(given)?;
    few(items.len())?;
    let items = items.into_iter().enumerate();
    items.map(|(at, item)| normal(&blocks.nested, Some(item)).map_err(|why| why.at(at))).collect()
}

fn labelled(nested: &Spec, labels: usize, given: Option<Value>) -> Result<Value, Mismatch> {
    let Some(labels) = labels.checked_sub(1) else { return normal(nested, given) };
    let keys = match given {
        None => Map::new(),
        Some(Value::Object(keys)) => keys,
        Some(other) => return Err(Mismatch::new(format!("must be blocks by label, is {}", named(&other)))),
    };
    few(keys.len())?;
    let keys = keys.into_iter().map(|(label, value)| {
        let value = labelled(nested, labels, Some(value)).map_err(|why| why.below(&label))?;
        Ok((label, value))
    });
    Ok(Value::Object(keys.collect::<Result<Map<_, _>, _>>()?))
}

/// Agents send the fallback as it stands, of whatever type it is.
fn defaulted(primary: &Spec, fallback: &Spec, given: Option<Value>) -> Result<Value, Mismatch> {
    match normal(primary, given.clone()) {
        Ok(Value::Null) => fallen_back(primary, normal(fallback, None)?),
        Ok(value) => Ok(value),
        Err(why) => match (fallback, given) {
            (Spec::Literal(literal), Some(given)) if *literal == given => Ok(given),
            (Spec::Literal(_), _) => Err(why),
            (_, given) => normal(fallback, given).map_err(|_| why),
        },
    }
}

/// The fallback in the primary's type, if it can be that.
pub(super) fn fallen_back(primary: &Spec, value: Value) -> Result<Value, Mismatch> {
    match primary {
        Spec::Attr(attr) => Ok(converted(value.clone(), &attr.kind, Strictness::Lenient).unwrap_or(value)),
        _ => Ok(value),
    }
}

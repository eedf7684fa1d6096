//! Values turned into the types that a schema declares, by the rules of the language that agents use: numbers and booleans
//! become text, text that reads as one becomes a number or boolean, nothing else changes its kind.

use serde_json::{Map, Number, Value};

use crate::hcl::number_text;
use crate::schema::Type;
use crate::text::cleaned;

/// Longest path in a message, in characters. Keys may be anybody's: only what fits into a log line is named.
const PATH_MAX: usize = 200;

/// A value that is not what the schema says; the path grows while the error travels outwards.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mismatch {
    pub(crate) path: String,
    pub(crate) reason: String,
}

impl Mismatch {
    pub(crate) fn new(reason: impl Into<String>) -> Mismatch {
        Mismatch { path: String::new(), reason: reason.into() }
    }

    /// The same, seen from one key further out.
    pub(crate) fn below(mut self, key: &str) -> Mismatch {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = cleaned(&format!("{key}{dot}{}", self.path), PATH_MAX);
        self
    }

    /// The same, seen from one index further out.
    pub(crate) fn at(self, index: usize) -> Mismatch {
        self.below(&format!("[{index}]"))
    }
}

/// Whether a key that an object type declares may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It must be there, as for an agent.
    Strict,
    /// It is null then.
    Lenient,
}

/// Turns a value into a type. Null is of every type.
pub(crate) fn converted(value: Value, to: &Type, strictness: Strictness) -> Result<Value, Mismatch> {
    match (to, value) {
        (_, Value::Null) => Ok(Value::Null),
        (Type::Any, value) => Ok(value),
        (Type::String, Value::String(text)) => Ok(Value::String(text)),
        (Type::String, Value::Number(number)) => Ok(Value::String(number_text(&number))),
        (Type::String, Value::Bool(flag)) => Ok(Value::String(flag.to_string())),
        (Type::Number, Value::Number(number)) => Ok(Value::Number(canonical(number))),
        (Type::Number, Value::String(text)) => {
            number(&text).map(Value::Number).ok_or_else(|| wanted(to, &Value::String(text)))
        }
        (Type::Bool, Value::Bool(flag)) => Ok(Value::Bool(flag)),
        (Type::Bool, Value::String(text)) => match text.as_str() {
            "true" | "1" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            _ => Err(wanted(to, &Value::String(text))),
        },
        (Type::List(of), Value::Array(items)) => Ok(Value::Array(each(items, of, strictness)?)),
        (Type::Set(of), Value::Array(items)) => Ok(Value::Array(as_set(each(items, of, strictness)?))),
        (Type::Map(of), Value::Object(keys)) => {
            let keys = keys.into_iter().map(|(key, value)| {
                let value = converted(value, of, strictness).map_err(|why| why.below(&key))?;
                Ok((key, value))
            });
            Ok(Value::Object(keys.collect::<Result<Map<_, _>, _>>()?))
        }
        (Type::Tuple(types), Value::Array(items)) if types.len() == items.len() => {
            let items = types.iter().zip(items).enumerate();
            let items = items.map(|(at, (of, item))| converted(item, of, strictness).map_err(|why| why.at(at)));
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
        (Type::Object(types), Value::Object(mut keys)) => {
            let mut object = Map::new();
            for (key, of) in types {
                let value = match keys.remove(key) {
                    Some(value) => converted(value, of, strictness).map_err(|why| why.below(key))?,
                    None if strictness == Strictness::Lenient => Value::Null,
                    None => return Err(Mismatch::new(format!("the key {key:?} is missing: it must be {to}"))),
                };
                object.insert(key.clone(), value);
            }
            Ok(Value::Object(object))
        }
        (_, value) => Err(wanted(to, &value)),
    }
}

fn each(items: Vec<Value>, of: &Type, strictness: Strictness) -> Result<Vec<Value>, Mismatch> {
    items.into_iter().enumerate().map(|(at, item)| converted(item, of, strictness).map_err(|why| why.at(at))).collect()
}

/// Without repetition; texts and numbers in their order, others as they came.
pub(crate) fn as_set(items: Vec<Value>) -> Vec<Value> {
    let mut set: Vec<Value> = Vec::with_capacity(items.len());
    // Items are bounded by the size of a configuration; equal ones are told apart by their text.
    let mut seen = std::collections::BTreeSet::new();
    for item in items {
        if seen.insert(item.to_string()) {
            set.push(item);
        }
    }
    set.sort_by(|a, b| match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(std::cmp::Ordering::Equal)
        }
        _ => std::cmp::Ordering::Equal,
    });
    set
}

fn wanted(to: &Type, value: &Value) -> Mismatch {
    Mismatch::new(format!("must be {to}, is {}", named(value)))
}

/// What a value is, for messages.
pub(crate) fn named(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the text {:?}", cleaned(text, 60)),
        Value::Array(items) if items.len() == 1 && items.first().is_some_and(Value::is_object) => {
            "a block, or an object, which counts as a list of one".to_owned()
        }
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(keys) => format!("an object of {} keys", keys.len()),
    }
}

/// A decimal number, with or without fraction and exponent.
pub(crate) fn number(text: &str) -> Option<Number> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Number::from(whole));
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some(Number::from(whole));
    }
    // Rust's parser also knows infinities, which are no numbers here.
    let decimal = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let float = text.parse::<f64>().ok().filter(|float| decimal && float.is_finite())?;
    Number::from_f64(float).map(canonical)
}

/// A float that is whole, and within 64 bits, as that whole number: to an agent there is only one kind of number.
pub(crate) fn canonical(number: Number) -> Number {
    const SIGNED: std::ops::Range<f64> = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
    const UNSIGNED: std::ops::Range<f64> = 0.0..18_446_744_073_709_551_616.0;
    match number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0) {
        Some(float) if SIGNED.contains(&float) => Number::from(float as i64),
        Some(float) if UNSIGNED.contains(&float) => Number::from(float as u64),
        _ => number,
    }
}

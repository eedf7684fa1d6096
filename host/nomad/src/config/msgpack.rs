//! The bytes that an agent sends: msgpack as Nomad's configuration language writes it.

use rmpv::{Integer, Value as Packed};
use serde_json::{Map, Number, Value};

use super::convert::{Mismatch, canonical};
use super::{ConfigError, normal};
use crate::schema::Spec;

/// Longest configuration, in bytes.
const BYTES_MAX: usize = 1 << 20;
/// Deepest nesting: more than any schema allows.
const DEPTH_MAX: usize = 128;

/// Evaluates what an agent sends by the plugin's own schema.
///
/// Takes numbers as integers, floats and decimal text, nil for null, and defaults that an agent hands over as they stand.
/// Keys that the schema does not know are left out; those that are missing are as if nothing was given. No bytes (a plugin
/// without schema, or before any configuration) are an empty configuration: its defaults, and null for what is required.
///
/// # Errors
/// If the bytes are not one msgpack value of at most 1 MiB and 128 levels, if more than 4096 blocks stand in one place, or if a
/// value cannot be what the schema declares: then the error names its key.
pub fn from_msgpack(bytes: &[u8], spec: &Spec) -> Result<Value, ConfigError> {
    let given = if bytes.is_empty() { None } else { Some(decode(bytes)?) };
    normal::normal(spec, given).map_err(|why| ConfigError::Value { path: why.path, reason: why.reason })
}

fn decode(bytes: &[u8]) -> Result<Value, ConfigError> {
    if bytes.len() > BYTES_MAX {
        return Err(ConfigError::Msgpack(format!("it is longer than {BYTES_MAX} bytes")));
    }
    let mut rest = bytes;
    let packed = rmpv::decode::read_value_with_max_depth(&mut rest, DEPTH_MAX)
        .map_err(|why| ConfigError::Msgpack(why.to_string()))?;
    if !rest.is_empty() {
        return Err(ConfigError::Msgpack(format!("{} bytes follow its end", rest.len())));
    }
    plain(packed).map_err(|why| ConfigError::Value { path: why.path, reason: why.reason })
}

fn plain(packed: Packed) -> Result<Value, Mismatch> {
    match packed {
        Packed::Nil => Ok(Value::Null),
        Packed::Boolean(flag) => Ok(Value::Bool(flag)),
        Packed::Integer(number) => integer(number).map(Value::Number),
        Packed::F32(number) => float(f64::from(number)),
        Packed::F64(number) => float(number),
        Packed::String(text) => {
            text.into_str().map(Value::String).ok_or_else(|| Mismatch::new("is text that is not UTF-8"))
        }
        Packed::Binary(bytes) => {
            String::from_utf8(bytes).map(Value::String).map_err(|_| Mismatch::new("is bytes that are no text"))
        }
        Packed::Array(items) => {
            let items = items.into_iter().enumerate().map(|(at, item)| plain(item).map_err(|why| why.at(at)));
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
        Packed::Map(entries) => {
            let mut keys = Map::new();
            for (key, value) in entries {
                let key = key.as_str().ok_or_else(|| Mismatch::new("has a key that is not text"))?.to_owned();
                let value = plain(value).map_err(|why| why.below(&key))?;
                keys.insert(key, value);
            }
            Ok(Value::Object(keys))
        }
        Packed::Ext(..) => Err(Mismatch::new("is a value that is not known yet, or of a kind that agents do not send")),
    }
}

fn integer(number: Integer) -> Result<Number, Mismatch> {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => Ok(Number::from(number)),
        (None, Some(number)) => Ok(Number::from(number)),
        (None, None) => Err(Mismatch::new("is an integer of no known size")),
    }
}

fn float(number: f64) -> Result<Value, Mismatch> {
    let number =
        Number::from_f64(number).ok_or_else(|| Mismatch::new(format!("is {number}, which is no number here")))?;
    Ok(Value::Number(canonical(number)))
}

/// Writes a value as an agent would: whole numbers within 64 bits and a sign as integers, larger ones as decimal text; others as
/// a float where that is exact in decimal (`0.5`), else as decimal text (`0.1`); keys sorted.
pub fn to_msgpack(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory fails only where memory ends.
    if let Err(why) = rmpv::encode::write_value(&mut bytes, &packed(value)) {
        tracing::error!("a configuration could not be written as msgpack: {why}");
    }
    bytes
}

fn packed(value: &Value) -> Packed {
    match value {
        Value::Null => Packed::Nil,
        Value::Bool(flag) => Packed::from(*flag),
        Value::Number(number) => packed_number(number),
        Value::String(text) => Packed::from(text.as_str()),
        Value::Array(items) => Packed::Array(items.iter().map(packed).collect()),
        Value::Object(keys) => {
            let mut keys: Vec<(&String, &Value)> = keys.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            Packed::Map(keys.into_iter().map(|(key, value)| (Packed::from(key.as_str()), packed(value))).collect())
        }
    }
}

fn packed_number(number: &Number) -> Packed {
    let number = canonical(number.clone());
    if let Some(whole) = number.as_i64() {
        return Packed::from(whole);
    }
    let text = crate::hcl::number_text(&number);
    match number.as_f64().filter(|_| text.contains('.')) {
        // An agent reads decimals and has more bits: a float is exact only if its shortest decimal form is its exact one.
        Some(float) if exact_decimal(float) == text => Packed::from(float),
        _ => Packed::from(text),
    }
}

/// All digits that a float has: at most 1074 after the point.
fn exact_decimal(float: f64) -> String {
    let digits = format!("{float:.1074}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

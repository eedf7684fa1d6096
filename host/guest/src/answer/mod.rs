//! Answers held against the limits, before anything else looks at them.
//!
//! What Nomad and the operator allow is judged elsewhere; here an answer only must be of a size that a host can handle. Every record
//! is taken apart field by field, so that a field added to the contract does not compile until it is bounded here.

pub(crate) mod driver;
pub(crate) mod usb;

use crate::error::Cause;
use crate::limits::Limits;
use crate::usb::{Attribute, Description, Diagnostic, Value};

/// Bytes of one schema of a guest's.
const SPEC: u64 = 64 << 10;

pub(crate) fn description(answer: &Description, limits: &Limits) -> Result<(), Cause> {
    let Description { name, version, summary, config_spec } = answer;
    texts([name, version, summary].map(String::as_str), limits)?;
    within("bytes of configuration schema", config_spec.len(), SPEC, "fixed")
}

pub(crate) fn diagnostics(answer: &[Diagnostic], limits: &Limits) -> Result<(), Cause> {
    within("diagnostics", answer.len(), limits.entries, "entries")?;
    answer.iter().try_for_each(|Diagnostic { path, message, hint, severity: _ }| {
        texts([path.as_str(), message, optional(hint)], limits)
    })
}

fn attributes(what: &'static str, answer: &[Attribute], limits: &Limits) -> Result<(), Cause> {
    within(what, answer.len(), limits.attributes, "attributes")?;
    answer.iter().try_for_each(|Attribute { name, value: its, unit }| texts([name, value(its), optional(unit)], limits))
}

fn value(value: &Value) -> &str {
    if let Value::Text(text) = value { text } else { "" }
}

fn optional(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

fn texts<const N: usize>(texts: [&str; N], limits: &Limits) -> Result<(), Cause> {
    texts.iter().try_for_each(|text| within("bytes in one text", text.len(), limits.text, "text"))
}

fn within(what: &'static str, size: usize, limit: u64, key: &'static str) -> Result<(), Cause> {
    match u64::try_from(size) {
        Ok(size) if size <= limit => Ok(()),
        size => Err(Cause::TooLarge { what, size: size.unwrap_or(u64::MAX), limit, key }),
    }
}

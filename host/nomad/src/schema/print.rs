//! A specification as text in the language that it is read from; and constants as HCL, which the messages carry.

use std::fmt::{self, Write};

use serde_json::Value;

use super::{Attr, Blocks, Spec};
use crate::hcl::number_text;

impl fmt::Display for Spec {
    /// Text that [`Spec::parse`] reads as the same specification.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        spec(f, self, None, 0)
    }
}

fn spec(f: &mut fmt::Formatter<'_>, of: &Spec, label: Option<&str>, depth: usize) -> fmt::Result {
    let kind = match of {
        Spec::Object(_) => "object",
        Spec::Array(_) => "array",
        Spec::Attr(_) => "attr",
        Spec::Block(_) => "block",
        Spec::BlockAttrs(_) => "block_attrs",
        Spec::BlockList(_) => "block_list",
        Spec::BlockSet(_) => "block_set",
        Spec::BlockMap(_) => "block_map",
        Spec::Default(..) => "default",
        Spec::Literal(_) => "literal",
    };
    let pad = "  ".repeat(depth);
    write!(f, "{pad}{kind}")?;
    if let Some(label) = label {
        write!(f, " {}", quoted(label))?;
    }
    f.write_str(" {\n")?;
    let mut line = |name: &str, value: String| writeln!(f, "{pad}  {name} = {value}");
    // A name that the label gives already is left out.
    let named = |name: &str| if label == Some(name) { None } else { Some(quoted(name)) };
    match of {
        Spec::Object(keys) => {
            for (key, nested) in keys {
                spec(f, nested, Some(key), depth + 1)?;
            }
        }
        Spec::Array(items) => {
            for nested in items {
                spec(f, nested, None, depth + 1)?;
            }
        }
        Spec::Attr(Attr { name, kind, required }) | Spec::BlockAttrs(Attr { name, kind, required }) => {
            if let Some(name) = named(name) {
                line("name", name)?;
            }
            line("type", kind.to_string())?;
            if *required {
                line("required", "true".to_owned())?;
            }
        }
        Spec::Block(block) => {
            if let Some(name) = named(&block.name) {
                line("name", name)?;
            }
            if block.required {
                line("required", "true".to_owned())?;
            }
            spec(f, &block.nested, None, depth + 1)?;
        }
        Spec::BlockList(Blocks { name, min_items, max_items, nested })
        | Spec::BlockSet(Blocks { name, min_items, max_items, nested }) => {
            if let Some(name) = named(name) {
                line("name", name)?;
            }
            for (bound, items) in [("min_items", min_items), ("max_items", max_items)] {
                if *items > 0 {
                    line(bound, items.to_string())?;
                }
            }
            spec(f, nested, None, depth + 1)?;
        }
        Spec::BlockMap(map) => {
            if let Some(name) = named(&map.name) {
                line("name", name)?;
            }
            let labels: Vec<String> = map.labels.iter().map(|label| quoted(label)).collect();
            line("labels", format!("[{}]", labels.join(", ")))?;
            spec(f, &map.nested, None, depth + 1)?;
        }
        Spec::Default(primary, fallback) => {
            spec(f, primary, None, depth + 1)?;
            spec(f, fallback, None, depth + 1)?;
        }
        Spec::Literal(value) => line("value", constant(value))?,
    }
    writeln!(f, "{pad}}}")
}

/// A constant as an HCL expression.
pub(super) fn constant(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number_text(number),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(constant).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(keys) => {
            let keys: Vec<String> =
                keys.iter().map(|(key, value)| format!("{} = {}", quoted(key), constant(value))).collect();
            format!("{{{}}}", keys.join(", "))
        }
    }
}

/// A text as an HCL string: nothing in it is a template.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '$' | '%' if characters.peek() == Some(&'{') => {
                quoted.push(character);
                quoted.push(character);
            }
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key of an object: a word as it is, anything else quoted.
pub(super) fn key(key: &str) -> String {
    let word =
        key.chars().enumerate().all(|(at, c)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit()));
    if word && !key.is_empty() { key.to_owned() } else { quoted(key) }
}

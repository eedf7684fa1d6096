//! Lines on stderr. An agent dies of a `@level`, `@message` or `@timestamp` that is no string, and takes a line whose timestamp has
//! another layout for plain text.

use serde_json::{Map, Value};

/// The agent reads lines into a buffer of this size; a longer one arrives in pieces that are no JSON.
const LINE_MAX: usize = 64 * 1024;

/// A line, read as an agent reads it.
#[derive(Debug, Clone)]
pub struct Line {
    /// `trace` to `error`.
    pub level: String,
    /// What it says.
    pub message: String,
    /// All the rest, `@module` included.
    pub fields: Map<String, Value>,
}

/// Reads a line, or says what an agent would stumble over.
pub fn read(line: &str) -> Result<Line, String> {
    if line.len() > LINE_MAX {
        return Err(format!("{} bytes long", line.len()));
    }
    if line.chars().any(char::is_control) {
        return Err("a control character in it".to_owned());
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return Err("no JSON object".to_owned());
    };
    let mut text = |key: &str| match fields.remove(key) {
        Some(Value::String(text)) => Ok(text),
        other => Err(format!("{key} is {other:?} and not a string")),
    };
    let (level, message, timestamp) = (text("@level")?, text("@message")?, text("@timestamp")?);
    if !["trace", "debug", "info", "warn", "error"].contains(&level.as_str()) {
        return Err(format!("@level is {level:?}"));
    }
    if !is_timestamp(&timestamp) {
        return Err(format!("@timestamp is {timestamp:?}"));
    }
    if let Some(wrong) = fields.iter().find(|(key, value)| key.starts_with('@') && !value.is_string()) {
        return Err(format!("{} is {} and not a string", wrong.0, wrong.1));
    }
    // JSON would have let it through as an escape.
    let texts = || fields.values().filter_map(Value::as_str).chain([message.as_str()]);
    if let Some(raw) = texts().find(|text| text.chars().any(char::is_control)) {
        return Err(format!("a control character in {raw:?}"));
    }
    Ok(Line { level, message, fields })
}

/// Every line is as it must be.
#[track_caller]
pub fn all_valid(lines: &[String]) -> Vec<Line> {
    lines.iter().map(|line| read(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
}

/// Go's layout `2006-01-02T15:04:05.000000Z07:00`.
fn is_timestamp(text: &str) -> bool {
    let like = |text: &str, pattern: &str| {
        text.len() == pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(c, p)| if p == b'0' { c.is_ascii_digit() } else { c == p })
    };
    let Some((time, zone)) = text.split_at_checked("0000-00-00T00:00:00.000000".len()) else { return false };
    like(time, "0000-00-00T00:00:00.000000") && (zone == "Z" || like(zone, "+00:00") || like(zone, "-00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_would_harm_an_agent_is_told_apart() {
        let good =
            r#"{"@level":"info","@message":"m","@timestamp":"2026-11-25T07:00:00.000001Z","@module":"yurt","n":1}"#;
        assert_eq!(read(good).unwrap().message, "m");
        assert!(read(&good.replace("Z\"", "+01:00\"")).is_ok());
        for (from, to) in [
            ("\"m\"", "5"),
            ("\"info\"", "\"loud\""),
            ("\"yurt\"", "null"),
            (".000001", ".001"),
            ("\"m\"", "\"\\u001b[31m\""),
            ("{", "["),
        ] {
            assert!(read(&good.replacen(from, to, 1)).is_err(), "{to}");
        }
        assert!(read(&good.replace('m', &"m".repeat(70_000))).is_err());
    }
}

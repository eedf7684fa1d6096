//! One event as one line of JSON that no parent can choke on.
//!
//! What begins with `@` is ours and always a string. Text is bounded, and characters that could forge a line, move a cursor or
//! turn the reading direction are written out as escapes, so that they are harmless also after the parent has decoded them.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::SystemTime;

use tracing::Level;
use tracing::field::{Field, Visit};

use super::time;

/// Longest line, with its newline. Go's parents read with a buffer of 64 KiB.
pub(super) const LINE_MAX: usize = 60 * 1024;
/// Longest text of one value, as encoded.
const TEXT_MAX: usize = 16 * 1024;
const NAME_MAX: usize = 128;
/// What a line needs beside message and fields: braces, level, timestamp, the count of fields left out.
const FRAME: usize = 256;

/// Integers of a larger absolute value do not survive a parent that reads every number as a float.
const EXACT_MAX: u128 = 1 << 53;

/// Message and fields of an event, or fields of a span, encoded.
pub(super) struct Fields {
    /// An event's message; a span's field of that name is one among others.
    message: Option<String>,
    takes_message: bool,
    /// Names and values as JSON, in order; a later one replaces an earlier one of its name.
    values: Vec<(String, String)>,
}

impl Fields {
    pub(super) fn of_event() -> Fields {
        Fields { message: None, takes_message: true, values: Vec::new() }
    }

    pub(super) fn of_span() -> Fields {
        Fields { message: None, takes_message: false, values: Vec::new() }
    }

    pub(super) fn take_over(&mut self, span: &Fields) {
        for (name, value) in &span.values {
            self.put(name.clone(), value.clone());
        }
    }

    pub(super) fn text(&mut self, name: &str, value: &dyn fmt::Display) {
        let value = text(TEXT_MAX, format_args!("{value}"));
        if self.takes_message && name == "message" {
            self.message = Some(value);
        } else {
            self.put(encoded_name(name), value);
        }
    }

    /// A value that is JSON already.
    fn json(&mut self, name: &str, value: String) {
        if self.takes_message && name == "message" {
            // Only a string may be the message.
            self.message = Some(text(TEXT_MAX, format_args!("{value}")));
        } else {
            self.put(encoded_name(name), value);
        }
    }

    fn integer(&mut self, name: &str, absolute: u128, value: &dyn fmt::Display) {
        let exact = absolute <= EXACT_MAX;
        self.json(name, if exact { value.to_string() } else { format!("\"{value}\"") });
    }

    fn float(&mut self, name: &str, value: f64) {
        // JSON knows neither infinities nor NaN.
        self.json(name, if value.is_finite() { format!("{value:?}") } else { format!("\"{value}\"") });
    }

    fn put(&mut self, name: String, value: String) {
        match self.values.iter_mut().find(|(taken, _)| *taken == name) {
            Some((_, old)) => *old = value,
            None => self.values.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.json(field.name(), value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.integer(field.name(), value.unsigned_abs().into(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.integer(field.name(), value.into(), &value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.integer(field.name(), value.unsigned_abs(), &value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.integer(field.name(), value, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.float(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field.name(), &Chain(value));
    }
}

/// An error and what caused it.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut error = self.0;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}

/// The whole line, newline included, never longer than [`LINE_MAX`].
pub(super) fn line(level: Level, module: &str, now: SystemTime, fields: &Fields) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let message = fields.message.as_deref().unwrap_or("\"\"");
    let module = text(NAME_MAX, format_args!("{module}"));
    let timestamp = time::Timestamp(now);
    let mut line =
        format!("{{\"@level\":\"{level}\",\"@message\":{message},\"@module\":{module},\"@timestamp\":\"{timestamp}\"");
    let mut left_out = 0usize;
    for (name, value) in &fields.values {
        if line.len() + name.len() + value.len() + FRAME > LINE_MAX {
            left_out += 1;
            continue;
        }
        let _ = write!(line, ",{name}:{value}");
    }
    if left_out > 0 {
        let _ = write!(line, ",\"fields_left_out\":{left_out}");
    }
    line.push_str("}\n");
    line
}

/// A field's name, with nothing before it that would make it one of the parent's own.
fn encoded_name(name: &str) -> String {
    let own = name.trim_start_matches('@');
    let mark = if own.len() == name.len() && !name.is_empty() { "" } else { "_" };
    text(NAME_MAX, format_args!("{mark}{own}"))
}

/// A JSON string of at most `max` bytes within its quotes. Formatting stops where it is full.
fn text(max: usize, value: fmt::Arguments<'_>) -> String {
    let mut text = Text { encoded: String::from("\""), max: max + 1 - ELLIPSIS.len() };
    let full = text.write_fmt(value).is_err();
    if full {
        text.encoded.push_str(ELLIPSIS);
    }
    text.encoded.push('"');
    text.encoded
}

const ELLIPSIS: &str = "…";

struct Text {
    encoded: String,
    max: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| self.write_char(character))
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        let before = self.encoded.len();
        match character {
            '"' => self.encoded.push_str("\\\""),
            '\\' => self.encoded.push_str("\\\\"),
            // Escapes of the text, not of the JSON: they are there after decoding, too.
            '\n' => self.encoded.push_str("\\\\n"),
            '\r' => self.encoded.push_str("\\\\r"),
            '\t' => self.encoded.push_str("\\\\t"),
            harmful if is_harmful(harmful) => write!(self.encoded, "\\\\u{{{:x}}}", u32::from(harmful))?,
            harmless => self.encoded.push(harmless),
        }
        if self.encoded.len() > self.max {
            self.encoded.truncate(before);
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// Control characters, line and paragraph separators, and what turns or hides text.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;
    use crate::client::{Form, LogLine};

    fn encoded(fields: &Fields) -> LogLine {
        let line = line(Level::WARN, "test", UNIX_EPOCH, fields);
        assert!(line.len() <= LINE_MAX, "{}", line.len());
        let raw = line.strip_suffix('\n').unwrap();
        assert!(!raw.contains(char::is_control), "{raw}");
        let read = LogLine::parse(raw);
        assert_eq!((read.form, read.level, read.module.as_deref()), (Form::Entry, Level::WARN, Some("test")), "{raw}");
        read
    }

    #[derive(Debug, Clone)]
    enum Value {
        Text(String),
        Flag(bool),
        Integer(i128),
        Unsigned(u128),
        Float(f64),
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<String>().prop_map(Value::Text),
            any::<Vec<char>>().prop_map(|text| Value::Text(text.into_iter().collect())),
            any::<bool>().prop_map(Value::Flag),
            any::<i128>().prop_map(Value::Integer),
            any::<i64>().prop_map(|value| Value::Integer(value.into())),
            any::<u128>().prop_map(Value::Unsigned),
            any::<f64>().prop_map(Value::Float),
            any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        ]
    }

    fn name() -> impl Strategy<Value = String> {
        let parents = prop::sample::select(vec!["@level", "@message", "@timestamp", "@module", "message", "@@level"]);
        prop_oneof![
            any::<String>(),
            any::<String>().prop_map(|name| format!("@{name}")),
            parents.prop_map(String::from)
        ]
    }

    fn put(fields: &mut Fields, name: &str, value: &Value) {
        match value {
            Value::Text(text) => fields.text(name, text),
            Value::Flag(flag) => fields.json(name, flag.to_string()),
            Value::Integer(value) => fields.integer(name, value.unsigned_abs(), value),
            Value::Unsigned(value) => fields.integer(name, *value, value),
            Value::Float(value) => fields.float(name, *value),
        }
    }

    proptest! {
        #[test]
        fn no_field_can_make_a_parent_panic_or_forge_a_line(
            given in prop::collection::vec((name(), value()), 0..12),
            of_span in any::<bool>(),
        ) {
            let mut fields = Fields::of_event();
            if of_span {
                let mut span = Fields::of_span();
                given.iter().for_each(|(name, value)| put(&mut span, name, value));
                fields.take_over(&span);
            } else {
                given.iter().for_each(|(name, value)| put(&mut fields, name, value));
            }
            let read = encoded(&fields);
            prop_assert!(read.fields.keys().all(|name| !name.starts_with('@')), "{:?}", read.fields);
            prop_assert!(!read.message.contains(is_harmful));
            for (name, value) in &read.fields {
                prop_assert!(!name.contains(is_harmful));
                prop_assert!(!value.as_str().is_some_and(|text| text.contains(is_harmful)));
            }
            prop_assert!(!read.fields.contains_key("fields_left_out"));
        }

        #[test]
        fn harmless_text_arrives_as_it_was(text in "[ -~äöü€𝄞]{0,200}") {
            let mut fields = Fields::of_event();
            fields.text("message", &text);
            fields.text("value", &text);
            let read = encoded(&fields);
            prop_assert_eq!(&read.message, &text);
            prop_assert_eq!(read.fields["value"].as_str(), Some(text.as_str()));
        }
    }

    #[test]
    fn a_long_line_is_cut_where_it_stays_one() {
        let mut fields = Fields::of_event();
        fields.text("message", &"\u{1}\"\\".repeat(100_000));
        for number in 0..100 {
            fields.text(&format!("name{number}{}", "n".repeat(5000)), &"€".repeat(3000));
        }
        fields.text("last", &"l");
        let read = encoded(&fields);
        assert!(read.message.ends_with("…"), "{}", read.message);
        assert!(read.message.len() > TEXT_MAX / 3);
        let left_out = read.fields["fields_left_out"].as_u64().unwrap();
        // Those that are short still found room.
        assert_eq!(read.fields.len() as u64 - 1 + left_out, 101);
        assert_eq!(read.fields["last"], "l");
    }

    #[test]
    fn a_value_without_end_is_not_written_to_its_end() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("and on ")?;
                }
            }
        }
        let mut fields = Fields::of_event();
        fields.text("message", &Endless);
        assert!(encoded(&fields).message.ends_with('…'));
    }

    #[test]
    fn numbers_that_a_float_cannot_hold_are_text() {
        let mut fields = Fields::of_event();
        fields.integer("exact", 1 << 53, &(1_u64 << 53));
        fields.integer("large", u64::MAX.into(), &u64::MAX);
        fields.integer("low", i64::MIN.unsigned_abs().into(), &i64::MIN);
        fields.float("nan", f64::NAN);
        fields.float("half", 0.5);
        let read = encoded(&fields).fields;
        assert_eq!(read["exact"], 1_u64 << 53);
        assert_eq!(read["large"], "18446744073709551615");
        assert_eq!(read["low"], "-9223372036854775808");
        assert_eq!(read["nan"], "NaN");
        assert_eq!(read["half"], 0.5);
    }

    #[test]
    fn an_errors_causes_are_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[source] std::io::Error);
        let why = Outer(std::io::Error::other("no\nroom"));
        let mut fields = Fields::of_event();
        fields.text("error", &Chain(&why));
        assert_eq!(encoded(&fields).fields["error"], "cannot start: no\\nroom");
    }

    #[test]
    fn of_two_fields_of_one_name_the_inner_one_counts() {
        let (mut outer, mut event) = (Fields::of_span(), Fields::of_event());
        outer.integer("attempt", 1, &1);
        outer.text("message", &"of the span");
        event.take_over(&outer);
        event.integer("attempt", 2, &2);
        event.text("message", &"of the event");
        let read = encoded(&event);
        assert_eq!(read.fields["attempt"], 2);
        assert_eq!(read.fields["message"], "of the span");
        assert_eq!(read.message, "of the event");
        assert_eq!(read.raw.matches("attempt").count(), 1);
    }
}

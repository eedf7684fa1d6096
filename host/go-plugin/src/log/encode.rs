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
        // JSON knows neither infinities nor NaN.
        self.json(field.name(), if value.is_finite() { format!("{value:?}") } else { format!("\"{value}\"") });
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
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

//! Attributes of a group, typed so that a job's constraint can match them.
//!
//! Nomad types a literal by its looks before it compares (its shared attribute rules): a unit, then an integer, then a float (`03e7`
//! and `1e23` are floats), then a truth value, else text; and values of different types are never equal. So a text that
//! *looks like* a number can be published, but never matched. [`text`] therefore publishes such a text in a form that stays text.

use crate::{Attribute, Value};

/// A text that can be matched: see [`matchable`] for what happens to one that looks like something else.
pub fn text(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), value: Value::Text(matchable(value)), unit: None }
}

/// A whole number without a unit.
pub fn integer(name: &str, value: impl Into<i64>) -> Attribute {
    Attribute { name: name.into(), value: Value::Integer(value.into()), unit: None }
}

/// A number that may have a fraction, without a unit.
pub fn number(name: &str, value: f64) -> Attribute {
    Attribute { name: name.into(), value: Value::Number(value), unit: None }
}

/// A truth value.
pub fn flag(name: &str, value: bool) -> Attribute {
    Attribute { name: name.into(), value: Value::Flag(value), unit: None }
}

/// A 16-bit id as the text `0x1e23`, which Nomad keeps as text (its float syntax wants an exponent after hexadecimal digits).
pub fn hex_id(name: &str, value: u16) -> Attribute {
    Attribute { name: name.into(), value: Value::Text(format!("0x{value:04x}")), unit: None }
}

/// The text itself if Nomad reads a literal of it as text, else `=` and the text: `=0781`. A short, visible mark keeps the digits
/// readable and cannot be taken for a number, a truth value or a quantity.
pub fn matchable(text: &str) -> String {
    if reads_as_text(text) { text.to_owned() } else { format!("={text}") }
}

/// Whether Nomad reads a literal with these characters as text. Cautious: says no where a unit or a number could be seen.
pub fn reads_as_text(text: &str) -> bool {
    !(text.is_empty() || is_number(text) || is_flag(text) || is_quantity(text))
}

fn is_flag(text: &str) -> bool {
    matches!(text, "t" | "T" | "true" | "TRUE" | "True" | "f" | "F" | "false" | "FALSE" | "False")
}

/// Go's integers and floats: decimal with or without exponent, `inf`, `nan`, `infinity` in any case, hexadecimal with a `p` exponent.
fn is_number(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = body.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return hex.contains('p') && hex.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, 'p' | '.' | '+' | '-'));
    }
    if matches!(lower.as_str(), "inf" | "infinity" | "nan") {
        return true;
    }
    let (mantissa, exponent) =
        lower.split_once('e').map_or((lower.as_str(), None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_ok
}

/// A number followed by one of Nomad's units: `5GB`, `5 GB`.
fn is_quantity(text: &str) -> bool {
    const UNITS: [&str; 34] = [
        "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "kB", "KB", "MB", "GB", "TB", "PB", "EB", "KiB/s", "MiB/s", "GiB/s",
        "TiB/s", "PiB/s", "EiB/s", "kB/s", "KB/s", "MB/s", "GB/s", "TB/s", "PB/s", "EB/s", "MHz", "GHz", "mW", "W",
        "kW", "MW", "GW", "Hz",
    ];
    UNITS.iter().any(|unit| text.strip_suffix(unit).is_some_and(|number| is_number(number.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nomad_keeps_as_text_passes_as_text() {
        for text in
            ["0x1050", "0x12f7", "TD 2B", "a", "=0781", "1-1.4", "sn-0781", "2.0.1", "e5", ".", "1e", "W", "1 000"]
        {
            assert!(reads_as_text(text), "{text}");
        }
        for text in [
            "", "0781", "03e7", "1e23", "05E3", "-7", "+7", "1.5", ".5", "5.", "inf", "NaN", "Infinity", "true", "f",
            "5GB", "5 MHz", "0x1p4",
        ] {
            assert!(!reads_as_text(text), "{text}");
            assert!(reads_as_text(&matchable(text)), "{text}");
        }
    }

    #[test]
    fn ids_stay_text() {
        for id in [0u16, 0x1050, 0x03e7, 0x1e23, 0xffff] {
            let Value::Text(text) = hex_id("vendor_id", id).value else { panic!("text expected") };
            assert!(reads_as_text(&text), "{text}");
        }
    }
}

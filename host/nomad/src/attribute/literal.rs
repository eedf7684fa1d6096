//! How the scheduler reads the literal that a job writes in a constraint.

use std::cmp::Ordering;

use super::{Attribute, UNITS, Value, compare};

/// Types a literal: a known unit at its end is taken off if the rest is a number; then a base-10 64-bit integer, a Go float
/// (`1e3`, `.5`, `inf`, `nan`, `0x1p4`, `1_000`), a Go boolean (`t`, `TRUE`, `false`, …), and otherwise the text itself.
pub fn parse_literal(text: &str) -> Attribute {
    let suffix = UNITS.iter().filter(|unit| text.ends_with(unit.name)).max_by_key(|unit| unit.name.len());
    let number = suffix.and_then(|unit| text.strip_suffix(unit.name)).map_or(text, str::trim);
    let unit = suffix.map(|unit| unit.name.to_owned());
    if let Ok(integer) = number.parse::<i64>() {
        return Attribute { value: Value::Integer(integer), unit };
    }
    if let Some(float) = go_float(number) {
        return Attribute { value: Value::Float(float), unit };
    }
    let value = match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Value::Flag(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Value::Flag(false),
        _ => Value::Text(text.to_owned()),
    };
    Attribute { value, unit: None }
}

/// True if there is a literal that `=` would find equal to this attribute.
///
/// False for text that reads as a number, a number with a unit or a boolean; for text that is empty or holds `${`, which
/// a constraint cannot say; and for what is no valid attribute at all.
pub fn matchable(attribute: &Attribute) -> bool {
    let literal = match (&attribute.value, &attribute.unit) {
        (Value::Text(text), None) if text.is_empty() || text.contains("${") => return false,
        (Value::Text(text), _) => text.clone(),
        (Value::Integer(number), unit) => format!("{number}{}", unit.as_deref().unwrap_or_default()),
        (Value::Float(number), unit) => format!("{number}{}", unit.as_deref().unwrap_or_default()),
        (Value::Flag(flag), _) => flag.to_string(),
    };
    compare(attribute, &parse_literal(&literal)) == Some(Ordering::Equal)
}

/// Go's `strconv.ParseFloat` for 64 bits: `None` where it reports an error, which includes a number out of range.
fn go_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if ["inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let hex = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X"));
    if text.contains('_') && !underscores_stand_between_digits(unsigned, hex.is_some()) {
        return None;
    }
    let value = match hex {
        Some(digits) => {
            let value = hex_float(&digits.replace('_', ""))?;
            if text.starts_with('-') { -value } else { value }
        }
        // What is left of Rust's grammar is Go's: digits, at most one point, an exponent.
        None if unsigned
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-' | b'_')) =>
        {
            text.replace('_', "").parse().ok()?
        }
        None => return None,
    };
    value.is_finite().then_some(value)
}

/// After a digit or the base prefix, and before a digit.
fn underscores_stand_between_digits(unsigned: &str, hex: bool) -> bool {
    let digit = |byte: Option<&u8>| byte.is_some_and(|b| if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() });
    let bytes = unsigned.as_bytes();
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_').all(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        (digit(before) || (hex && at == 2)) && digit(bytes.get(at + 1))
    })
}

/// `1.8p1` after the `0x`: the exponent, of two and in decimal, is mandatory.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if whole.len() + fraction.len() == 0 || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // An exponent that does not fit is beyond every float anyway.
    let mut power: i64 = match digits.parse::<i64>() {
        Ok(power) if power < 100_000 => power,
        _ => 100_000,
    };
    if exponent.starts_with('-') {
        power = -power;
    }
    // 15 hexadecimal digits hold more than a float's 53 bits; what is cut off is remembered in the last bit.
    let mut bits: u64 = 0;
    for (at, digit) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(digit.to_digit(16)?);
        let after_point = at >= whole.len();
        if bits >> 56 == 0 {
            bits = bits << 4 | digit;
            power -= if after_point { 4 } else { 0 };
        } else {
            bits |= u64::from(digit != 0);
            power += if after_point { 0 } else { 4 };
        }
    }
    if bits == 0 {
        return Some(0.0);
    }
    // In steps, so that neither factor leaves the range while the product is within it.
    let mut value = bits as f64;
    let mut left = power.clamp(-2400, 2400);
    while left != 0 {
        let step = left.clamp(-512, 512);
        value *= 2f64.powi(i32::try_from(step).ok()?);
        left -= step;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Attribute {
        parse_literal(text)
    }

    #[test]
    fn text_that_a_live_agent_matched_stays_text() {
        for text in [
            "0x0781", "046d", "SN-1", "SN2", "00E04C", "acme", "", "-", "e5", "0x10", "1__0", "_1", "1_", "+nan",
            "12f7",
        ] {
            assert_eq!(typed(text), Attribute::text(text), "{text:?}");
            assert_eq!(matchable(&Attribute::text(text)), !text.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn text_that_a_live_agent_never_matched_is_another_type() {
        for (text, value) in [
            ("0781", Value::Integer(781)),
            ("781", Value::Integer(781)),
            ("1234", Value::Integer(1234)),
            ("-5", Value::Integer(-5)),
            ("+5", Value::Integer(5)),
            ("03e7", Value::Float(3e7)),
            ("1e23", Value::Float(1e23)),
            ("2.00", Value::Float(2.0)),
            ("true", Value::Flag(true)),
            ("T", Value::Flag(true)),
            ("f", Value::Flag(false)),
            ("False", Value::Flag(false)),
            ("1", Value::Integer(1)),
            ("0", Value::Integer(0)),
        ] {
            assert_eq!(typed(text), Attribute { value, unit: None }, "{text:?}");
            assert!(!matchable(&Attribute::text(text)), "{text:?}");
        }
    }

    /// What `strconv.ParseFloat(text, 64)` of Go 1.26 gave, run by hand.
    #[test]
    fn floats_are_those_of_go() {
        let none = None;
        for (text, float) in [
            ("1_000", Some(1000.0)),
            ("1_000.5", Some(1000.5)),
            ("0x1p4", Some(16.0)),
            ("-0x1p4", Some(-16.0)),
            ("0x1_0p4", Some(256.0)),
            ("0x_1p4", Some(16.0)),
            ("0x10", none),
            ("0x1.8p1", Some(3.0)),
            ("0x.8p0", Some(0.5)),
            ("0x1P-4", Some(0.0625)),
            ("0xp1", none),
            ("0x1p", none),
            ("0b1p1", none),
            ("0x1p2000", none),
            ("inf", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("Infinity", Some(f64::INFINITY)),
            ("-infinity", Some(f64::NEG_INFINITY)),
            ("infi", none),
            ("1e400", none),
            ("1e-400", Some(0.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e5", Some(100_000.0)),
            ("1e", none),
            (".", none),
            ("1__0", none),
            ("_1", none),
            ("1_", none),
            ("1 ", none),
            ("", none),
        ] {
            assert_eq!(go_float(text), float, "{text:?}");
        }
        assert!(go_float("nan").unwrap().is_nan() && go_float("NaN").unwrap().is_nan());
        assert_eq!(go_float("+nan"), None);
    }

    #[test]
    fn hexadecimal_floats_round_as_they_should() {
        assert_eq!(go_float("0x1.fffffffffffffp1023"), Some(f64::MAX));
        assert_eq!(go_float("0x1p-1074"), Some(f64::from_bits(1)));
        assert_eq!(go_float("0x1p-1022"), Some(f64::MIN_POSITIVE));
        // Half a unit in the last place above an even one, and a little more.
        assert_eq!(go_float("0x20000000000001p0"), Some(9_007_199_254_740_992.0));
        assert_eq!(go_float("0x20000000000001.0000000000000001p0"), Some(9_007_199_254_740_994.0));
        assert_eq!(go_float("0x0p99999999999999999999"), Some(0.0));
    }

    #[test]
    fn the_longest_known_unit_is_taken_off_a_number() {
        let integer = |number, unit: &str| Attribute::integer(number).in_unit(unit);
        assert_eq!(typed("5GiB"), integer(5, "GiB"));
        assert_eq!(typed("5 GiB/s"), integer(5, "GiB/s"));
        assert_eq!(typed("100mW"), integer(100, "mW"));
        assert_eq!(typed("3 kW"), integer(3, "kW"));
        assert_eq!(typed("0.5 GHz"), Attribute::float(0.5).in_unit("GHz"));
        for text in ["GiB", "acmeMB", "5 Hz", "5mA", "5 V", "W"] {
            assert_eq!(typed(text), Attribute::text(text), "{text:?}");
        }
        assert!(!matchable(&Attribute::text("5W")));
    }

    #[test]
    fn a_literal_finds_every_number_flag_and_unit() {
        for attribute in [
            Attribute::integer(1921),
            Attribute::integer(i64::MIN),
            Attribute::float(0.1),
            Attribute::float(1e300),
            Attribute::float(-2.5e-300),
            Attribute::float(3.0),
            Attribute::flag(true),
            Attribute::flag(false),
            Attribute::integer(64).in_unit("GiB"),
            Attribute::float(2.5).in_unit("W"),
        ] {
            assert!(matchable(&attribute), "{attribute:?}");
        }
        for attribute in [
            Attribute::float(f64::NAN),
            Attribute::integer(1).in_unit("Hz"),
            Attribute::text("a").in_unit("W"),
            Attribute::flag(true).in_unit("W"),
            Attribute::text("a${b}"),
        ] {
            assert!(!matchable(&attribute), "{attribute:?}");
        }
    }
}

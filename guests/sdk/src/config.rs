//! The operator's configuration: JSON text, already evaluated by the guest's own schema, into a type of the author.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

/// Why a configuration could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted keys and indexes, `rule[2].vendor`; empty: the whole.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "configuration: {}", self.message)
        } else {
            write!(f, "configuration, {}: {}", self.path, self.message)
        }
    }
}

/// Reads a configuration; a problem names the key it stands at.
pub fn parse<C: DeserializeOwned>(text: &str) -> Result<C, Problem> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        Problem {
            path: if path == "." { String::new() } else { path },
            message: without_position(&e.inner().to_string()),
        }
    })
}

/// The JSON was never written by a person, so its line and column say nothing.
fn without_position(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(head, _)| head).to_owned()
}

/// A number of the configuration as it was given. Hosts hand over a number that no 64-bit type holds exactly as decimal text, so
/// both forms are one; which numbers make sense is for the policy to say, in one voice with its other findings.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// A whole number.
    Whole(i64),
    /// Anything else, as text.
    Other(String),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Given;
        impl Visitor<'_> for Given {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number::Whole(number))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(i64::try_from(number).map_or_else(|_| Number::Other(number.to_string()), Number::Whole))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number::Other(serde_json::to_string(&number).unwrap_or_default()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Number, E> {
                Ok(text.parse().map_or_else(|_| Number::Other(text.to_owned()), Number::Whole))
            }
        }
        deserializer.deserialize_any(Given)
    }
}

/// A Go duration (`10s`, `1m30s`, `1.5h`, `250ms`), the form of every duration in Nomad's configuration, in whole microseconds
/// rounded down. What is longer than an `i64` of nanoseconds is refused, as Go does.
///
/// Errors are one clause that can follow a colon.
pub fn go_duration(text: &str) -> Result<i64, String> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err("a number with a unit is expected".into());
    }
    let mut nanoseconds: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err("a unit is missing".into()),
            _ => return Err(format!("\"{unit}\" is no unit of time")),
        };
        nanoseconds += decimal(number, unit).ok_or_else(|| format!("\"{number}\" is no number"))?;
        if nanoseconds > i128::from(i64::MAX) {
            return Err("it is too long".into());
        }
        rest = tail;
    }
    let microseconds = i64::try_from(nanoseconds / 1_000).map_err(|_| "it is too long".to_owned())?;
    Ok(if negative { -microseconds } else { microseconds })
}

/// `1.5` times a unit, without floating point, which would make a small component large.
fn decimal(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let mut total = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? * unit };
    let mut place = unit;
    for digit in fraction.chars().take(19) {
        place /= 10;
        total += i128::from(digit.to_digit(10)?) * place;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code)]
    struct Rule {
        vendor: u16,
    }

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code)]
    struct Config {
        rule: Vec<Rule>,
    }

    #[test]
    fn a_problem_names_the_key_it_stands_at() {
        let problem = parse::<Config>(r#"{"rule":[{"vendor":1},{"vendor":"x"}]}"#).unwrap_err();
        assert_eq!(problem.path, "rule[1].vendor");
        assert_eq!(problem.to_string(), "configuration, rule[1].vendor: invalid type: string \"x\", expected u16");
        assert_eq!(parse::<Config>("7").unwrap_err().path, "");
    }

    #[test]
    fn a_number_is_read_from_a_number_or_from_text() {
        for (text, want) in [
            ("4855", Number::Whole(4855)),
            ("\"4855\"", Number::Whole(4855)),
            ("-1", Number::Whole(-1)),
            ("1.5", Number::Other("1.5".into())),
            ("\"0.1\"", Number::Other("0.1".into())),
            ("18446744073709551615", Number::Other("18446744073709551615".into())),
        ] {
            assert_eq!(parse::<Number>(text).unwrap(), want, "{text}");
        }
        assert_eq!(parse::<Number>("[]").unwrap_err().message, "invalid type: sequence, expected a number");
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, milliseconds) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("0", 0),
            ("-2s", -2_000),
            ("+1s", 1_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("2540400h10m10s", 9_145_440_610_000),
        ] {
            assert_eq!(go_duration(text), Ok(milliseconds * 1000), "{text}");
        }
        for text in ["", "10", "s", "10 s", "1.2.3s", "10d", "ten", "-", "1s2", "9999999h", "99999999999999999999s"] {
            assert!(go_duration(text).is_err(), "{text:?}");
        }
    }
}

//! The operator's configuration: JSON text, already evaluated by the guest's own schema, into a type of the author.

use std::fmt;

use serde::de::DeserializeOwned;

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

/// A Go duration (`10s`, `1m30s`, `1.5h`, `250ms`) in milliseconds, rounded down; the form of every duration in Nomad's configuration.
///
/// Errors are one clause that can follow "because".
pub fn go_duration(text: &str) -> Result<f64, String> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0.0);
    }
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| format!("a number is missing before \"{tail}\""))?;
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        total += number
            * match unit {
                "ns" => 1e-6,
                "us" | "µs" | "μs" => 1e-3,
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 60e3,
                "h" => 3600e3,
                "" => return Err("a unit is missing".into()),
                _ => return Err(format!("\"{unit}\" is no unit of time")),
            };
        rest = tail;
    }
    Ok(if negative { -total } else { total })
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
    fn durations_are_read_as_go_reads_them() {
        for (text, milliseconds) in [
            ("10s", 10e3),
            ("1m30s", 90e3),
            ("1.5h", 5400e3),
            ("250ms", 250.0),
            ("0", 0.0),
            ("-2s", -2e3),
            ("+1s", 1e3),
            (".5s", 500.0),
        ] {
            assert_eq!(go_duration(text), Ok(milliseconds), "{text}");
        }
        for text in ["", "10", "s", "10 s", "1.2.3s", "10d", "ten", "-", "1s2"] {
            assert!(go_duration(text).is_err(), "{text:?}");
        }
    }
}

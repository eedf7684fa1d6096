//! Attributes: the typed values that a job's constraints and affinities compare.
//!
//! The scheduler types the *literal* that a job writes before it compares ([`parse_literal`]), and a number never equals a
//! text. So a text attribute that reads like a number (`0781`, `03e7`, `true`) can never be matched by `=`; [`matchable`]
//! finds those before they are offered.

mod literal;
mod units;

pub use literal::{matchable, parse_literal};
pub use units::{Base, UNITS, Unit, compare, unit};

/// A value as Nomad types it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Compared as a whole.
    Text(String),
    /// Compared with integers and floats.
    Integer(i64),
    /// Compared with integers and floats.
    Float(f64),
    /// Compared with booleans only.
    Flag(bool),
}

/// A value with the unit it is in.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// The value.
    pub value: Value,
    /// The name of one of [`UNITS`]; only beside a number.
    pub unit: Option<String>,
}

impl Attribute {
    /// A text.
    pub fn text(text: impl Into<String>) -> Attribute {
        Attribute { value: Value::Text(text.into()), unit: None }
    }

    /// A whole number without a unit.
    pub fn integer(number: i64) -> Attribute {
        Attribute { value: Value::Integer(number), unit: None }
    }

    /// A number without a unit.
    pub fn float(number: f64) -> Attribute {
        Attribute { value: Value::Float(number), unit: None }
    }

    /// True or false.
    pub fn flag(flag: bool) -> Attribute {
        Attribute { value: Value::Flag(flag), unit: None }
    }

    /// The same number, in this unit.
    #[must_use]
    pub fn in_unit(self, unit: impl Into<String>) -> Attribute {
        Attribute { unit: Some(unit.into()), ..self }
    }
}

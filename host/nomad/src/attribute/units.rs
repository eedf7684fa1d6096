//! The units that Nomad knows. Others (bits, amperes, volts, degrees, percent) make an attribute invalid: leave them off.

use std::cmp::Ordering;

use super::{Attribute, Value};

/// What a unit measures; values compare only within one base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Amounts of data.
    Byte,
    /// Data per second.
    ByteRate,
    /// Frequencies.
    Hertz,
    /// Power.
    Milliwatt,
}

/// One unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// As it is written; case matters.
    pub name: &'static str,
    /// What it measures.
    pub base: Base,
    /// How many of the base make one of it.
    pub factor: u64,
}

/// Every unit that an attribute may have.
#[rustfmt::skip]
pub const UNITS: &[Unit] = &[
    Unit { name: "KiB", base: Base::Byte, factor: 1 << 10 },
    Unit { name: "MiB", base: Base::Byte, factor: 1 << 20 },
    Unit { name: "GiB", base: Base::Byte, factor: 1 << 30 },
    Unit { name: "TiB", base: Base::Byte, factor: 1 << 40 },
    Unit { name: "PiB", base: Base::Byte, factor: 1 << 50 },
    Unit { name: "EiB", base: Base::Byte, factor: 1 << 60 },
    Unit { name: "kB", base: Base::Byte, factor: 1_000 },
    Unit { name: "KB", base: Base::Byte, factor: 1_000 },
    Unit { name: "MB", base: Base::Byte, factor: 1_000_000 },
    Unit { name: "GB", base: Base::Byte, factor: 1_000_000_000 },
    Unit { name: "TB", base: Base::Byte, factor: 1_000_000_000_000 },
    Unit { name: "PB", base: Base::Byte, factor: 1_000_000_000_000_000 },
    Unit { name: "EB", base: Base::Byte, factor: 1_000_000_000_000_000_000 },
    Unit { name: "KiB/s", base: Base::ByteRate, factor: 1 << 10 },
    Unit { name: "MiB/s", base: Base::ByteRate, factor: 1 << 20 },
    Unit { name: "GiB/s", base: Base::ByteRate, factor: 1 << 30 },
    Unit { name: "TiB/s", base: Base::ByteRate, factor: 1 << 40 },
    Unit { name: "PiB/s", base: Base::ByteRate, factor: 1 << 50 },
    Unit { name: "EiB/s", base: Base::ByteRate, factor: 1 << 60 },
    Unit { name: "kB/s", base: Base::ByteRate, factor: 1_000 },
    Unit { name: "KB/s", base: Base::ByteRate, factor: 1_000 },
    Unit { name: "MB/s", base: Base::ByteRate, factor: 1_000_000 },
    Unit { name: "GB/s", base: Base::ByteRate, factor: 1_000_000_000 },
    Unit { name: "TB/s", base: Base::ByteRate, factor: 1_000_000_000_000 },
    Unit { name: "PB/s", base: Base::ByteRate, factor: 1_000_000_000_000_000 },
    Unit { name: "EB/s", base: Base::ByteRate, factor: 1_000_000_000_000_000_000 },
    Unit { name: "MHz", base: Base::Hertz, factor: 1_000_000 },
    Unit { name: "GHz", base: Base::Hertz, factor: 1_000_000_000 },
    Unit { name: "mW", base: Base::Milliwatt, factor: 1 },
    Unit { name: "W", base: Base::Milliwatt, factor: 1_000 },
    Unit { name: "kW", base: Base::Milliwatt, factor: 1_000_000 },
    Unit { name: "MW", base: Base::Milliwatt, factor: 1_000_000_000 },
    Unit { name: "GW", base: Base::Milliwatt, factor: 1_000_000_000_000 },
];

/// The unit of this name.
pub fn unit(name: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| unit.name == name)
}

/// How the scheduler orders two attributes; `None` where it cannot compare them.
///
/// Text compares with text, flags with flags, numbers with numbers; and numbers only where both have units of one base or
/// neither has one.
pub fn compare(a: &Attribute, b: &Attribute) -> Option<Ordering> {
    let (left, right) = match (a.unit.as_deref(), b.unit.as_deref()) {
        (None, None) => (1, 1),
        (Some(a), Some(b)) => {
            let (a, b) = (unit(a)?, unit(b)?);
            if a.base != b.base {
                return None;
            }
            (a.factor, b.factor)
        }
        _ => return None,
    };
    match (&a.value, &b.value) {
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Flag(a), Value::Flag(b)) => Some(a.cmp(b)),
        // i64 times the largest factor (2^60) stays below 2^127.
        (Value::Integer(a), Value::Integer(b)) => {
            Some((i128::from(*a) * i128::from(left)).cmp(&(i128::from(*b) * i128::from(right))))
        }
        (a, b) => (number(a)? * left as f64).partial_cmp(&(number(b)? * right as f64)),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Text(_) | Value::Flag(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_unit_once() {
        assert_eq!(UNITS.len(), 33);
        for one in UNITS {
            assert_eq!(unit(one.name), Some(one), "{}", one.name);
        }
        for missing in ["Hz", "kHz", "bit", "Mbit/s", "A", "mA", "V", "C", "%", "b", "B", "mib", "KiB/S", "w", ""] {
            assert_eq!(unit(missing), None, "{missing}");
        }
    }

    #[test]
    fn numbers_compare_across_units_of_one_base_only() {
        let gib = Attribute::integer(1).in_unit("GiB");
        assert_eq!(compare(&gib, &Attribute::integer(1024).in_unit("MiB")), Some(Ordering::Equal));
        assert_eq!(compare(&gib, &Attribute::integer(1).in_unit("GB")), Some(Ordering::Greater));
        assert_eq!(compare(&gib, &Attribute::float(0.5).in_unit("GiB")), Some(Ordering::Greater));
        assert_eq!(compare(&gib, &Attribute::integer(1)), None);
        assert_eq!(compare(&gib, &Attribute::integer(1).in_unit("GiB/s")), None);
        assert_eq!(
            compare(&Attribute::integer(1).in_unit("W"), &Attribute::integer(1000).in_unit("mW")),
            Some(Ordering::Equal)
        );
        assert_eq!(
            compare(&Attribute::integer(i64::MAX).in_unit("EiB"), &Attribute::integer(i64::MAX).in_unit("EB")),
            Some(Ordering::Greater)
        );
    }

    #[test]
    fn kinds_do_not_compare_with_each_other() {
        assert_eq!(compare(&Attribute::integer(1), &Attribute::float(1.0)), Some(Ordering::Equal));
        assert_eq!(compare(&Attribute::text("1"), &Attribute::integer(1)), None);
        assert_eq!(compare(&Attribute::flag(true), &Attribute::text("true")), None);
        assert_eq!(compare(&Attribute::flag(true), &Attribute::integer(1)), None);
        assert_eq!(compare(&Attribute::flag(true), &Attribute::flag(true)), Some(Ordering::Equal));
        assert_eq!(compare(&Attribute::float(f64::NAN), &Attribute::float(f64::NAN)), None);
    }
}

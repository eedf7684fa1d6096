//! How much is handed over in a call: the bytes that a value takes in the component model's flat form, without padding.
//!
//! A number counts its width; a text its bytes and eight for pointer and length; a list its elements and eight; a variant, an option, a
//! flag one byte. Nothing is encoded, so a call with a hundred devices is counted in microseconds.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};

/// Pointer and length.
const REFERENCE: u64 = 8;

/// Bytes of `value`.
pub(crate) fn of(value: &(impl Serialize + ?Sized)) -> u64 {
    let mut sum = Sum(0);
    match value.serialize(&mut sum) {
        Ok(()) | Err(Never) => sum.0,
    }
}

struct Sum(u64);

/// Counting does not fail.
#[derive(Debug)]
struct Never;

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that cannot be counted")
    }
}

impl std::error::Error for Never {}

impl ser::Error for Never {
    fn custom<T: fmt::Display>(_: T) -> Never {
        Never
    }
}

impl Sum {
    fn add(&mut self, bytes: u64) -> Result<(), Never> {
        self.0 = self.0.saturating_add(bytes);
        Ok(())
    }

    fn text(&mut self, length: usize) -> Result<(), Never> {
        self.add(REFERENCE.saturating_add(u64::try_from(length).unwrap_or(u64::MAX)))
    }
}

macro_rules! widths {
    ($($method:ident: $type:ty = $bytes:literal),*) => {
        $(fn $method(self, _: $type) -> Result<(), Never> { self.add($bytes) })*
    };
}

impl Serializer for &mut Sum {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    widths!(
        serialize_bool: bool = 1, serialize_i8: i8 = 1, serialize_i16: i16 = 2, serialize_i32: i32 = 4, serialize_i64: i64 = 8,
        serialize_u8: u8 = 1, serialize_u16: u16 = 2, serialize_u32: u32 = 4, serialize_u64: u64 = 8,
        serialize_f32: f32 = 4, serialize_f64: f64 = 8, serialize_char: char = 4
    );

    fn serialize_str(self, text: &str) -> Result<(), Never> {
        self.text(text.len())
    }
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Never> {
        self.text(bytes.len())
    }
    fn serialize_none(self) -> Result<(), Never> {
        self.add(1)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Never> {
        self.add(1)?;
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Never> {
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Never> {
        Ok(())
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Never> {
        self.add(1)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Never> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        self.add(1)?;
        value.serialize(self)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Never> {
        self.add(REFERENCE)?;
        Ok(self)
    }
    fn serialize_tuple(self, _: usize) -> Result<Self, Never> {
        Ok(self)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Never> {
        Ok(self)
    }
    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Never> {
        self.add(1)?;
        Ok(self)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self, Never> {
        self.add(REFERENCE)?;
        Ok(self)
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Never> {
        Ok(self)
    }
    /// The arguments of a call: they have no case in the contract.
    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Never> {
        Ok(self)
    }
}

macro_rules! parts {
    ($($trait:ident: $method:ident($($name:ident)?)),*) => {
        $(impl ser::$trait for &mut Sum {
            type Ok = ();
            type Error = Never;
            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), Never> {
                $(let _ = $name;)?
                value.serialize(&mut **self)
            }
            fn end(self) -> Result<(), Never> {
                Ok(())
            }
        })*
    };
}

parts!(
    SerializeSeq: serialize_element(),
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(name),
    SerializeStructVariant: serialize_field(name)
);

impl ser::SerializeMap for &mut Sum {
    type Ok = ();
    type Error = Never;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Never> {
        key.serialize(&mut **self)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        value.serialize(&mut **self)
    }
    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::{Attribute, GroupName, Value};

    #[test]
    fn texts_numbers_lists_and_variants_count_as_in_the_flat_form() {
        let text = |text: &str| text.to_owned();
        assert_eq!(of(&GroupName { vendor: text("acme"), kind: text("usb"), name: text("") }), 3 * 8 + 7);
        let attribute = |value| Attribute { name: text("a"), value, unit: None };
        assert_eq!(of(&attribute(Value::Number(f64::NAN))), 9 + 1 + 8 + 1);
        assert_eq!(of(&[attribute(Value::Flag(true)), attribute(Value::Text(text("xy")))].to_vec()), 8 + 12 + 21);
        assert_eq!(of(&(Some("abc"), Ok::<u16, String>(7))), 1 + 8 + 3 + 1 + 2);
    }
}

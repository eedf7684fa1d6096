//! Records of the contract as JSON, in the contract's own names, without loss.
//!
//! Fields and cases have their names of the WIT files (`vendor-id`, `not-a-number`), a case with a value is an object of one key, a
//! result `{"ok": …}` or `{"err": …}`. Numbers come back bit for bit; what JSON has no number for is a text: `"nan"`, `"inf"`, `"-inf"`.

use std::fmt::Write as _;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor,
};
use serde::ser::{self, Serialize, Serializer};
use serde_json::{Error, Map, Number, Value};

/// The numbers that JSON lacks.
const NUMBERS: [(&str, f64); 3] = [("nan", f64::NAN), ("inf", f64::INFINITY), ("-inf", f64::NEG_INFINITY)];

/// A value of the contract as JSON.
///
/// # Errors
/// None for types of the contract.
pub fn to_json(value: &(impl Serialize + ?Sized)) -> Result<Value, Error> {
    value.serialize(Write)
}

/// The value that such JSON stands for.
///
/// # Errors
/// What is missing or of another type.
pub fn from_json<T: DeserializeOwned>(json: Value) -> Result<T, Error> {
    T::deserialize(Read(json))
}

/// The same JSON as a terminal shows it: whatever is invisible, or turns the direction of writing, is escaped.
pub fn visible(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => _ = write!(line, "\\u{:04x}", u32::from(character)),
            shown => line.push(shown),
        }
    }
    line
}

/// `SuperPlus`, `vendor_id` → `super-plus`, `vendor-id`.
fn kebab(name: &str) -> String {
    let mut written = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character == '_' {
            written.push('-');
        } else if character.is_ascii_uppercase() {
            if !written.is_empty() {
                written.push('-');
            }
            written.push(character.to_ascii_lowercase());
        } else {
            written.push(character);
        }
    }
    written
}

struct Write;

macro_rules! numbers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Value, Error> { Ok(value.into()) })*
    };
}

impl Serializer for Write {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = ser::Impossible<Value, Error>;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    numbers!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_str: &str
    );

    fn serialize_f32(self, value: f32) -> Result<Value, Error> {
        self.serialize_f64(value.into())
    }
    fn serialize_f64(self, value: f64) -> Result<Value, Error> {
        Ok(match Number::from_f64(value) {
            Some(number) => number.into(),
            None if value.is_nan() => "nan".into(),
            None if value > 0.0 => "inf".into(),
            None => "-inf".into(),
        })
    }
    fn serialize_char(self, value: char) -> Result<Value, Error> {
        Ok(value.to_string().into())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<Value, Error> {
        Ok(value.into())
    }
    fn serialize_none(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Error> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Error> {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, case: &'static str) -> Result<Value, Error> {
        Ok(kebab(case).into())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Value, Error> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        case: &'static str,
        value: &T,
    ) -> Result<Value, Error> {
        Ok(within(Some(case), value.serialize(Write)?))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<List, Error> {
        Ok(List { case: None, items: Vec::new() })
    }
    fn serialize_tuple(self, _: usize) -> Result<List, Error> {
        Ok(List { case: None, items: Vec::new() })
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List, Error> {
        Ok(List { case: None, items: Vec::new() })
    }
    fn serialize_tuple_variant(self, _: &'static str, _: u32, case: &'static str, _: usize) -> Result<List, Error> {
        Ok(List { case: Some(case), items: Vec::new() })
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(ser::Error::custom("the contract has no maps"))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, Error> {
        Ok(Fields { case: None, fields: Map::new() })
    }
    fn serialize_struct_variant(self, _: &'static str, _: u32, case: &'static str, _: usize) -> Result<Fields, Error> {
        Ok(Fields { case: Some(case), fields: Map::new() })
    }
}

fn within(case: Option<&'static str>, value: Value) -> Value {
    match case {
        Some(case) => Value::Object(Map::from_iter([(kebab(case), value)])),
        None => value,
    }
}

struct List {
    case: Option<&'static str>,
    items: Vec<Value>,
}

struct Fields {
    case: Option<&'static str>,
    fields: Map<String, Value>,
}

macro_rules! lists {
    ($($trait:ident: $method:ident),*) => {
        $(impl ser::$trait for List {
            type Ok = Value;
            type Error = Error;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.items.push(value.serialize(Write)?);
                Ok(())
            }
            fn end(self) -> Result<Value, Error> {
                Ok(within(self.case, self.items.into()))
            }
        })*
    };
}

lists!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

macro_rules! fields {
    ($($trait:ident),*) => {
        $(impl ser::$trait for Fields {
            type Ok = Value;
            type Error = Error;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.fields.insert(kebab(name), value.serialize(Write)?);
                Ok(())
            }
            fn end(self) -> Result<Value, Error> {
                Ok(within(self.case, self.fields.into()))
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

struct Read(Value);

impl<'de> IntoDeserializer<'de, Error> for Read {
    type Deserializer = Read;
    fn into_deserializer(self) -> Read {
        self
    }
}

impl<'de> Deserializer<'de> for Read {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_any(visitor)
    }
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let named = self.0.as_str().and_then(|text| NUMBERS.iter().find(|(name, _)| *name == text));
        match named {
            Some((_, number)) => visitor.visit_f64(*number),
            None => self.0.deserialize_f64(visitor),
        }
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Read));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            other => other.deserialize_seq(visitor),
        }
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name.replace('-', "_"), Read(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            other => Err(de::Error::invalid_type(de::Unexpected::Other(kind(&other)), &visitor)),
        }
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        cases: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (written, value) = match self.0 {
            Value::String(case) => (case, Value::Null),
            Value::Object(fields) if fields.len() == 1 => {
                fields.into_iter().next().ok_or_else(|| <Error as de::Error>::custom("no case"))?
            }
            other => return Err(de::Error::custom(format!("a case of {name} was expected, not {}", kind(&other)))),
        };
        match cases.iter().find(|case| kebab(case) == written) {
            Some(case) => visitor.visit_enum(Case { case, value }),
            None => Err(de::Error::custom(format!("{written:?} is no case of {name}"))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 char str string bytes byte_buf unit unit_struct map identifier ignored_any
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

struct Case {
    case: &'static str,
    value: Value,
}

impl<'de> EnumAccess<'de> for Case {
    type Error = Error;
    type Variant = Read;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Read), Error> {
        Ok((seed.deserialize(self.case.into_deserializer())?, Read(self.value)))
    }
}

impl<'de> VariantAccess<'de> for Read {
    type Error = Error;
    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.deserialize_struct("", fields, visitor)
    }
}

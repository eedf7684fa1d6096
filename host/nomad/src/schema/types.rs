//! Type expressions: what an attribute's value may be.

use std::collections::BTreeMap;
use std::fmt;

use hcl_edit::expr::{Expression, ObjectKey};

use crate::hcl;

/// Deepest nesting of a type.
const DEPTH_MAX: usize = 16;

/// The type of an attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Text; numbers and booleans are turned into it.
    String,
    /// A number; text that reads as one is turned into it.
    Number,
    /// True or false; `"true"`, `"1"`, `"false"`, `"0"` are turned into it.
    Bool,
    /// As it was written.
    Any,
    /// Values of one type, in order.
    List(Box<Type>),
    /// Values of one type, without order and repetition.
    Set(Box<Type>),
    /// Values of one type by free keys.
    Map(Box<Type>),
    /// As many values as types.
    Tuple(Vec<Type>),
    /// Exactly these keys.
    Object(BTreeMap<String, Type>),
}

impl Type {
    /// Reads a type expression, `list(object({a = string}))`.
    pub(crate) fn parse(text: &str) -> Result<Type, String> {
        let expression = hcl::expression(text).map_err(|why| format!("{text:?} is not a type: {}", why.reason))?;
        Type::from_expression(&expression)
    }

    /// Reads a parsed type expression.
    pub(crate) fn from_expression(expression: &Expression) -> Result<Type, String> {
        read(expression, DEPTH_MAX)
    }

    /// True for `any` and whatever holds it.
    pub fn holds_any(&self) -> bool {
        match self {
            Type::Any => true,
            Type::String | Type::Number | Type::Bool => false,
            Type::List(of) | Type::Set(of) | Type::Map(of) => of.holds_any(),
            Type::Tuple(of) => of.iter().any(Type::holds_any),
            Type::Object(of) => of.values().any(Type::holds_any),
        }
    }
}

const FORMS: &str = "a type is string, number, bool, any, list(T), set(T), map(T), tuple([T, …]) or object({k = T, …})";

fn read(expression: &Expression, depth: usize) -> Result<Type, String> {
    let depth = depth.checked_sub(1).ok_or_else(|| format!("types nest at most {DEPTH_MAX} deep"))?;
    match expression {
        Expression::Variable(name) => match name.as_str() {
            "string" => Ok(Type::String),
            "number" => Ok(Type::Number),
            "bool" => Ok(Type::Bool),
            "any" => Ok(Type::Any),
            other => Err(format!("no type is called {other:?}: {FORMS}")),
        },
        Expression::FuncCall(call) => {
            let mut arguments = call.args.iter();
            let (Some(argument), None, true) = (arguments.next(), arguments.next(), call.name.namespace.is_empty())
            else {
                return Err(FORMS.to_owned());
            };
            let inner = || read(argument, depth).map(Box::new);
            match (call.name.name.as_str(), argument) {
                ("list", _) => Ok(Type::List(inner()?)),
                ("set", _) => Ok(Type::Set(inner()?)),
                ("map", _) => Ok(Type::Map(inner()?)),
                ("tuple", Expression::Array(types)) => {
                    Ok(Type::Tuple(types.iter().map(|one| read(one, depth)).collect::<Result<_, _>>()?))
                }
                ("object", Expression::Object(types)) => {
                    let mut keys = BTreeMap::new();
                    for (key, value) in types.iter() {
                        let key = match key {
                            ObjectKey::Ident(key) => key.to_string(),
                            ObjectKey::Expression(Expression::String(key)) => key.to_string(),
                            ObjectKey::Expression(Expression::Variable(key)) => key.to_string(),
                            ObjectKey::Expression(_) => return Err("a key of object({…}) must be a word".to_owned()),
                        };
                        if keys.insert(key.clone(), read(value.expr(), depth)?).is_some() {
                            return Err(format!("object({{…}}) has {key:?} twice"));
                        }
                    }
                    Ok(Type::Object(keys))
                }
                _ => Err(FORMS.to_owned()),
            }
        }
        _ => Err(FORMS.to_owned()),
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::String => f.write_str("string"),
            Type::Number => f.write_str("number"),
            Type::Bool => f.write_str("bool"),
            Type::Any => f.write_str("any"),
            Type::List(of) => write!(f, "list({of})"),
            Type::Set(of) => write!(f, "set({of})"),
            Type::Map(of) => write!(f, "map({of})"),
            Type::Tuple(types) => {
                f.write_str("tuple([")?;
                for (at, one) in types.iter().enumerate() {
                    write!(f, "{}{one}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("])")
            }
            Type::Object(types) => {
                f.write_str("object({")?;
                for (at, (key, one)) in types.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{} = {one}", super::print::key(key))?;
                }
                f.write_str("})")
            }
        }
    }
}

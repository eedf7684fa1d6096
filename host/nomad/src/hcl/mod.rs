//! HCL as this crate takes it: constants with their places. What would need evaluation (references, functions, operators,
//! templates) is refused by name, since a plugin's configuration has no variables.

mod nesting;

use hcl_edit::Span;
use hcl_edit::expr::{Expression, ObjectKey, UnaryOperator};
use hcl_edit::structure::Body;
use hcl_edit::template::Element;
use serde_json::{Map, Number, Value};

/// Longest text that is parsed, in bytes.
const TEXT_MAX: usize = 1 << 18;
/// Most `=` and `:` in it, and so most keys: for each key of an object the parser looks through all those before it.
const KEYS_MAX: usize = 1 << 13;

/// A constant and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Byte offset in the text.
    pub(crate) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order written; keys may repeat.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Byte offset of the key.
    pub(crate) at: usize,
    pub(crate) value: Node,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) reason: String,
}

impl Fault {
    pub(crate) fn new(at: usize, reason: impl Into<String>) -> Fault {
        Fault { at, reason: reason.into() }
    }
}

impl Node {
    /// As JSON; of a repeated key the last stays.
    pub(crate) fn into_json(self) -> Value {
        match self.kind {
            Kind::Null => Value::Null,
            Kind::Flag(flag) => Value::Bool(flag),
            Kind::Number(number) => Value::Number(number),
            Kind::Text(text) => Value::String(text),
            Kind::List(items) => Value::Array(items.into_iter().map(Node::into_json).collect()),
            Kind::Map(entries) => {
                let entries = entries.into_iter().map(|entry| (entry.key, entry.value.into_json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }
}

/// Parses a body. The parser bounds nesting by itself.
pub(crate) fn body(text: &str) -> Result<Body, Fault> {
    if text.len() > TEXT_MAX {
        return Err(Fault::new(0, format!("it is longer than {TEXT_MAX} bytes")));
    }
    if text.bytes().filter(|byte| matches!(byte, b'=' | b':')).count() > KEYS_MAX {
        return Err(Fault::new(0, format!("it has more than {KEYS_MAX} keys, or `=` and `:` in its texts")));
    }
    nesting::check(text)?;
    text.parse::<Body>().map_err(fault)
}

/// Parses one expression, of a peer's message.
pub(crate) fn expression(text: &str) -> Result<Expression, Fault> {
    nesting::check(text)?;
    text.parse::<Expression>().map_err(fault)
}

fn fault(why: hcl_edit::parser::Error) -> Fault {
    Fault::new(why.location().offset(), why.message().replace('\n', "; "))
}

/// Line and column of a byte offset, both from 1; the column in characters.
pub(crate) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Where something parsed begins; `otherwise` if the parser does not say.
pub(crate) fn start(of: &impl Span, otherwise: usize) -> usize {
    of.span().map_or(otherwise, |span| span.start)
}

/// Evaluates a constant. `otherwise` is the place to name where the parser does not say one.
pub(crate) fn constant(expression: &Expression, otherwise: usize) -> Result<Node, Fault> {
    let at = start(expression, otherwise);
    let kind = match expression {
        Expression::Null(_) => Kind::Null,
        Expression::Bool(flag) => Kind::Flag(*flag.value()),
        Expression::Number(number) => Kind::Number(self::number(number.value(), at)?),
        Expression::String(text) => Kind::Text(text.value().clone()),
        Expression::StringTemplate(template) => Kind::Text(literal(template.iter(), at)?),
        Expression::HeredocTemplate(heredoc) => Kind::Text(literal(heredoc.template.iter(), at)?),
        Expression::Parenthesis(inner) => return constant(inner.inner(), at),
        Expression::UnaryOp(op) if *op.operator.value() == UnaryOperator::Neg => match constant(&op.expr, at)?.kind {
            Kind::Number(number) => Kind::Number(negative(&number, at)?),
            _ => return Err(Fault::new(at, "only a number can be negative")),
        },
        Expression::Array(items) => Kind::List(items.iter().map(|item| constant(item, at)).collect::<Result<_, _>>()?),
        Expression::Object(object) => {
            let mut entries = Vec::with_capacity(object.len());
            for (key, value) in object.iter() {
                let place = start(key, at);
                let value = constant(value.expr(), place)?;
                entries.push(Entry { key: self::key(key, place)?, at: place, value });
            }
            Kind::Map(entries)
        }
        Expression::Variable(name) => {
            let name = name.as_str();
            return Err(Fault::new(
                at,
                format!("there are no variables here: {name} is not known; write \"{name}\" for text"),
            ));
        }
        Expression::Traversal(_) => return Err(Fault::new(at, "there are no variables here to refer to")),
        Expression::FuncCall(call) => {
            let name = call.name.name.as_str();
            return Err(Fault::new(at, format!("functions are not evaluated here: write what {name}(…) would give")));
        }
        Expression::Conditional(_) | Expression::UnaryOp(_) | Expression::BinaryOp(_) | Expression::ForExpr(_) => {
            return Err(Fault::new(at, "expressions are not evaluated here: write a constant"));
        }
    };
    Ok(Node { kind, at })
}

fn key(key: &ObjectKey, at: usize) -> Result<String, Fault> {
    match key {
        ObjectKey::Ident(name) => Ok(name.to_string()),
        ObjectKey::Expression(Expression::Variable(name)) => Ok(name.to_string()),
        ObjectKey::Expression(expression) => match constant(expression, at)?.kind {
            Kind::Text(text) => Ok(text),
            Kind::Number(number) => Ok(number_text(&number)),
            Kind::Flag(flag) => Ok(flag.to_string()),
            Kind::Null | Kind::List(_) | Kind::Map(_) => Err(Fault::new(at, "a key must be text")),
        },
    }
}

fn literal<'a>(elements: impl Iterator<Item = &'a Element>, at: usize) -> Result<String, Fault> {
    let mut text = String::new();
    for element in elements {
        match element {
            Element::Literal(part) => text.push_str(part.value()),
            Element::Interpolation(_) | Element::Directive(_) => {
                return Err(Fault::new(
                    start(element, at),
                    "templates are not evaluated here, since there is nothing to refer to: write `$${` for `${` and `%%{` for `%{`",
                ));
            }
        }
    }
    Ok(text)
}

fn number(number: &hcl_edit::Number, at: usize) -> Result<Number, Fault> {
    if let Some(whole) = number.as_i64() {
        return Ok(Number::from(whole));
    }
    if let Some(whole) = number.as_u64() {
        return Ok(Number::from(whole));
    }
    number.as_f64().and_then(Number::from_f64).ok_or_else(|| Fault::new(at, "this number is too large"))
}

fn negative(number: &Number, at: usize) -> Result<Number, Fault> {
    let fault = || Fault::new(at, "this number is too large");
    match number.as_i64() {
        Some(whole) => whole.checked_neg().map(Number::from).ok_or_else(fault),
        None => number.as_f64().and_then(|number| Number::from_f64(-number)).ok_or_else(fault),
    }
}

/// A number in plain decimals, without exponent: how it reads as text.
pub(crate) fn number_text(number: &Number) -> String {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(whole), _, _) => whole.to_string(),
        (_, Some(whole), _) => whole.to_string(),
        (_, _, Some(float)) => float.to_string(),
        _ => number.to_string(),
    }
}

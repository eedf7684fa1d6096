//! HCL as this crate takes it: constants with their places. What would need evaluation (references, functions, operators,
//! templates) is refused by name, since a plugin's configuration has no variables; in a job, which has, it is unknown at worst.

mod broken;
mod nesting;
mod scope;
mod variables;

use hcl_edit::Span;
use hcl_edit::expr::{Expression, ObjectKey, UnaryOperator};
use hcl_edit::structure::Body;
use hcl_edit::template::{Element, Strip};
use serde_json::{Map, Number, Value};

pub(crate) use scope::{Scope, label};
pub use variables::Variables;

/// Longest text that is parsed, in bytes.
const TEXT_MAX: usize = 1 << 18;
/// Longest job that is parsed, in bytes: what Nomad's servers take.
const JOB_MAX: usize = 1_000_000;
/// Most `=` and `:` in it, and so most keys: for each key of an object the parser looks through all those before it.
const KEYS_MAX: usize = 1 << 13;
/// Most faults of one text that are kept.
const FAULTS_MAX: usize = 100;

/// A constant and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Byte offset in the text.
    pub(crate) at: usize,
    /// Byte offset of what follows it; `at` where that is not known.
    pub(crate) end: usize,
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
    /// Of a job: known only when it is submitted or run. Also what stands in for a value that is wrong.
    Unknown,
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
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(at: usize, reason: impl Into<String>) -> Fault {
        Fault { at, reason: reason.into(), hint: None }
    }

    pub(crate) fn hinting(self, hint: impl Into<String>) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }

    /// Reason and hint in one: what to write follows a colon, all else a semicolon.
    pub(crate) fn sentence(&self) -> String {
        match &self.hint {
            None => self.reason.clone(),
            Some(hint) if hint.starts_with("write ") => format!("{}: {hint}", self.reason),
            Some(hint) => format!("{}; {hint}", self.reason),
        }
    }
}

/// What is wrong with a text, in the order in which it was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn push(&mut self, fault: Fault) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(fault);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// The value, if nothing is wrong; else the first thing that is.
    pub(crate) fn first_or<T>(self, value: T) -> Result<T, Fault> {
        self.0.into_iter().next().map_or(Ok(value), Err)
    }
}

impl Node {
    /// Whether some of it is unknown.
    pub(crate) fn is_open(&self) -> bool {
        match &self.kind {
            Kind::Unknown => true,
            Kind::List(items) => items.iter().any(Node::is_open),
            Kind::Map(entries) => entries.iter().any(|entry| entry.value.is_open()),
            Kind::Null | Kind::Flag(_) | Kind::Number(_) | Kind::Text(_) => false,
        }
    }

    /// Where the value at a path within it begins, `[1].key`: that of the innermost that is found.
    pub(crate) fn begins(&self, path: &str) -> usize {
        let inner = match &self.kind {
            Kind::List(items) => {
                path.strip_prefix('[').and_then(|path| path.split_once(']')).and_then(|(index, rest)| {
                    let item = items.get(index.parse::<usize>().ok()?)?;
                    Some(item.begins(rest))
                })
            }
            Kind::Map(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                entries.iter().find_map(|entry| {
                    let rest = path.strip_prefix(entry.key.as_str())?;
                    (rest.is_empty() || rest.starts_with(['.', '['])).then(|| entry.value.begins(rest))
                })
            }
            _ => None,
        };
        inner.unwrap_or(self.at)
    }

    /// The same, said to stand elsewhere: where it is referred to.
    pub(crate) fn placed(self, at: usize, end: usize) -> Node {
        let kind = match self.kind {
            Kind::List(items) => Kind::List(items.into_iter().map(|item| item.placed(at, end)).collect()),
            Kind::Map(entries) => Kind::Map(
                entries.into_iter().map(|entry| Entry { at, value: entry.value.placed(at, end), ..entry }).collect(),
            ),
            kind => kind,
        };
        Node { kind, at, end }
    }

    /// As JSON; of a repeated key the last stays. What is unknown is null.
    pub(crate) fn into_json(self) -> Value {
        match self.kind {
            Kind::Null | Kind::Unknown => Value::Null,
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

/// Parses a job: longer than a configuration, since files may stand in it, but with no more keys outside of texts.
pub(crate) fn job(text: &str) -> Result<Body, Fault> {
    if text.len() > JOB_MAX {
        return Err(Fault::new(0, format!("it is longer than {JOB_MAX} bytes, which Nomad does not take")));
    }
    let seen =
        nesting::read(text).map_err(|fault| Fault::new(fault.at, "expressions stand too deep in each other here"))?;
    if seen.keys > KEYS_MAX {
        return Err(Fault::new(0, format!("it has more than {KEYS_MAX} keys")));
    }
    // The parser lets a text go on in the next line, and complains where the quotes no longer fit.
    if let Some(at) = seen.line_break {
        let begins = text.get(..at).and_then(|before| before.rfind('"')).unwrap_or(at);
        return Err(Fault::new(begins, "this text is not closed in its line").hinting("write the \" behind it"));
    }
    text.parse::<Body>().map_err(|why| broken::explained(text, &fault(why)))
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

/// Where something parsed ends.
pub(crate) fn end(of: &impl Span, otherwise: usize) -> usize {
    of.span().map_or(otherwise, |span| span.end)
}

/// Evaluates a constant. `otherwise` is the place to name where the parser does not say one.
pub(crate) fn constant(expression: &Expression, otherwise: usize) -> Result<Node, Fault> {
    evaluate(expression, otherwise, None)
}

/// The same where there may be something to refer to. Without a scope nothing is unknown.
pub(crate) fn evaluate(expression: &Expression, otherwise: usize, scope: Option<&Scope>) -> Result<Node, Fault> {
    let at = start(expression, otherwise);
    let end = end(expression, at);
    let kind = match expression {
        Expression::Null(_) => Kind::Null,
        Expression::Bool(flag) => Kind::Flag(*flag.value()),
        Expression::Number(number) => Kind::Number(self::number(number.value(), at)?),
        Expression::String(text) => templated(text.value().clone(), scope),
        Expression::StringTemplate(template) => match (scope, alone(template.iter())) {
            // `"${x}"` is x itself, of whatever type.
            (Some(_), Some(inner)) => evaluate(inner, at, scope)?.placed(at, end).kind,
            _ => text(template.iter(), at, scope)?,
        },
        Expression::HeredocTemplate(heredoc) => text(heredoc.template.iter(), at, scope)?,
        Expression::Parenthesis(inner) => return evaluate(inner.inner(), at, scope),
        Expression::UnaryOp(op) if *op.operator.value() == UnaryOperator::Neg => {
            match evaluate(&op.expr, at, scope)?.kind {
                Kind::Number(number) => Kind::Number(negative(&number, at)?),
                Kind::Unknown => Kind::Unknown,
                _ => return Err(Fault::new(at, "only a number can be negative")),
            }
        }
        Expression::Array(items) => {
            Kind::List(items.iter().map(|item| evaluate(item, at, scope)).collect::<Result<_, _>>()?)
        }
        Expression::Object(object) => {
            let mut entries = Some(Vec::with_capacity(object.len()));
            for (key, value) in object.iter() {
                let place = start(key, at);
                let value = evaluate(value.expr(), place, scope)?;
                match (self::key(key, place, scope)?, &mut entries) {
                    (Some(key), Some(entries)) => entries.push(Entry { key, at: place, value }),
                    _ => entries = None,
                }
            }
            entries.map_or(Kind::Unknown, Kind::Map)
        }
        other => match scope {
            Some(scope) => return Ok(scope.of(other, at)?.placed(at, end)),
            None => return Err(Fault::new(at, refusal(other))),
        },
    };
    Ok(Node { kind, at, end })
}

/// Why an expression is no constant.
fn refusal(expression: &Expression) -> String {
    match expression {
        Expression::Variable(name) => {
            let name = name.as_str();
            format!("there are no variables here: {name} is not known; write \"{name}\" for text")
        }
        Expression::Traversal(_) => "there are no variables here to refer to".to_owned(),
        Expression::FuncCall(call) => {
            let name = call.name.name.as_str();
            format!("functions are not evaluated here: write what {name}(…) would give")
        }
        _ => "expressions are not evaluated here: write a constant".to_owned(),
    }
}

/// None: it is known only at run time.
fn key(key: &ObjectKey, at: usize, scope: Option<&Scope>) -> Result<Option<String>, Fault> {
    match key {
        ObjectKey::Ident(name) => Ok(Some(name.to_string())),
        ObjectKey::Expression(Expression::Variable(name)) => Ok(Some(name.to_string())),
        ObjectKey::Expression(expression) => match evaluate(expression, at, scope)?.kind {
            Kind::Unknown => Ok(None),
            kind => printed(&kind).map(Some).ok_or_else(|| Fault::new(at, "a key must be text")),
        },
    }
}

/// A value as it reads in a text.
fn printed(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Text(text) => Some(text.clone()),
        Kind::Number(number) => Some(number_text(number)),
        Kind::Flag(flag) => Some(flag.to_string()),
        Kind::Null | Kind::List(_) | Kind::Map(_) | Kind::Unknown => None,
    }
}

/// The expression of a template that is nothing else.
fn alone<'a>(mut elements: impl Iterator<Item = &'a Element>) -> Option<&'a Expression> {
    match (elements.next(), elements.next()) {
        (Some(Element::Interpolation(only)), None) => Some(&only.expr),
        _ => None,
    }
}

fn text<'a>(elements: impl Iterator<Item = &'a Element>, at: usize, scope: Option<&Scope>) -> Result<Kind, Fault> {
    let mut text = String::new();
    for element in elements {
        let part = match (element, scope) {
            (Element::Literal(part), _) => Some(part.value().clone()),
            (Element::Interpolation(part), Some(_)) if part.strip == Strip::None => {
                printed(&evaluate(&part.expr, at, scope)?.kind)
            }
            (_, Some(_)) => None,
            (Element::Interpolation(_) | Element::Directive(_), None) => {
                return Err(Fault::new(
                    start(element, at),
                    "templates are not evaluated here, since there is nothing to refer to: write `$${` for `${` and `%%{` for `%{`",
                ));
            }
        };
        match part {
            Some(part) => text.push_str(&part),
            None => return Ok(Kind::Unknown),
        }
    }
    Ok(templated(text, scope))
}

/// Of a job's text, what is left of `$${` and `%%{` is a template once more, for the node to evaluate.
fn templated(text: String, scope: Option<&Scope>) -> Kind {
    if scope.is_some() && (text.contains("${") || text.contains("%{")) { Kind::Unknown } else { Kind::Text(text) }
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

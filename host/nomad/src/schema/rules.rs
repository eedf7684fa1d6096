//! Which specifications this house offers to an agent; see the header of `schema`.

use std::collections::{BTreeMap, BTreeSet};

use super::{AT_MAX, REASON_MAX, Spec, SpecError};
use crate::config::Strictness;
use crate::text::cleaned;

impl Spec {
    /// Refuses what could harm an agent or reach a guest in more forms than one: the house rules of this module's header.
    /// Part of [`Spec::parse`]; for specifications from elsewhere.
    ///
    /// # Errors
    /// The first rule that is broken, with the keys that lead to it.
    pub fn check_host_rules(&self) -> Result<(), SpecError> {
        let fault = |(at, reason): (String, String)| SpecError::Rule {
            at: if at.is_empty() { "the top level".to_owned() } else { cleaned(&at, AT_MAX) },
            reason: cleaned(&reason, REASON_MAX),
        };
        if !matches!(self, Spec::Object(_)) {
            return Err(fault((String::new(), "must be one object { … }".to_owned())));
        }
        check(self, "", false).map_err(fault)
    }

    /// The names of attributes and blocks that this specification looks for in one body.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let mut found = BTreeMap::new();
        // A clash has no bearing on which names there are.
        let _ = collect(self, "", &mut found);
        found.into_keys().collect()
    }
}

type Fault = (String, String);

fn check(spec: &Spec, at: &str, fallback: bool) -> Result<(), Fault> {
    match spec {
        Spec::Object(keys) => {
            collect(spec, at, &mut BTreeMap::new())?;
            keys.iter().try_for_each(|(key, nested)| check(nested, &below(at, key), false))
        }
        Spec::Array(items) => {
            collect(spec, at, &mut BTreeMap::new())?;
            items.iter().enumerate().try_for_each(|(number, item)| check(item, &format!("{at}[{number}]"), false))
        }
        Spec::Attr(attr) if attr.kind.holds_any() => {
            Err((at.to_owned(), format!("the type {} holds any: say which type it is", attr.kind)))
        }
        Spec::BlockAttrs(attrs) if attrs.kind.holds_any() => Err((
            at.to_owned(),
            format!("the type {} of block_attrs holds any: values of two types would make the agent panic", attrs.kind),
        )),
        Spec::Attr(_) | Spec::BlockAttrs(_) => Ok(()),
        Spec::Block(block) => check(&block.nested, at, false),
        Spec::BlockList(blocks) | Spec::BlockSet(blocks) => check(&blocks.nested, at, false),
        Spec::BlockMap(map) => {
            if map.labels.is_empty() {
                return Err((at.to_owned(), "a block_map needs at least one label".to_owned()));
            }
            check(&map.nested, at, false)
        }
        Spec::Default(primary, default) => {
            check(primary, at, false)?;
            check(default, at, true)?;
            match (&**primary, &**default) {
                (Spec::Attr(attr), Spec::Literal(value)) => {
                    crate::config::converted(value.clone(), &attr.kind, Strictness::Strict).map(|_| ()).map_err(|why| {
                        (at.to_owned(), format!("its default cannot be a {}: {}", attr.kind, why.reason))
                    })
                }
                _ => Ok(()),
            }
        }
        Spec::Literal(_) if fallback => Ok(()),
        Spec::Literal(_) => Err((at.to_owned(), "a literal may only be the second part of a default".to_owned())),
    }
}

/// Finds the names looked for in one body, and whether each is of a block.
fn collect(spec: &Spec, at: &str, found: &mut BTreeMap<String, bool>) -> Result<(), Fault> {
    let (name, block) = match spec {
        Spec::Object(keys) => {
            return keys.iter().try_for_each(|(key, nested)| collect(nested, &below(at, key), found));
        }
        Spec::Array(items) => {
            return items.iter().try_for_each(|item| collect(item, at, found));
        }
        Spec::Default(primary, default) => {
            collect(primary, at, found)?;
            return collect(default, at, found);
        }
        Spec::Literal(_) => return Ok(()),
        Spec::Attr(attr) => (&attr.name, false),
        Spec::BlockAttrs(attrs) => (&attrs.name, true),
        Spec::Block(block) => (&block.name, true),
        Spec::BlockList(blocks) | Spec::BlockSet(blocks) => (&blocks.name, true),
        Spec::BlockMap(map) => (&map.name, true),
    };
    match found.insert(name.clone(), block) {
        Some(other) if other != block => {
            Err((at.to_owned(), format!("the name {name:?} is of an attribute here and of a block there")))
        }
        _ => Ok(()),
    }
}

fn below(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

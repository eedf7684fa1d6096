//! Whether a newer specification may take an older one's place while an agent still has values by the older one.

use std::collections::BTreeMap;

use super::{Attr, Blocks, Spec};

impl Spec {
    /// Ok if everything that could be written by this specification means the same by `newer`: keys may be added, nothing may be taken
    /// away, change its type or become required. Defaults may change.
    ///
    /// # Errors
    /// The first difference that is none of these, with its dotted path.
    pub fn grows_into(&self, newer: &Spec) -> Result<(), String> {
        grows("", self, newer)
    }

    /// Refuses to go without a value by itself.
    fn asks_for_something(&self) -> bool {
        match self {
            Spec::Object(keys) => keys.values().any(Spec::asks_for_something),
            Spec::Array(items) => items.iter().any(Spec::asks_for_something),
            Spec::Attr(attr) | Spec::BlockAttrs(attr) => attr.required,
            Spec::Block(block) => block.required,
            Spec::BlockList(blocks) | Spec::BlockSet(blocks) => blocks.min_items > 0,
            Spec::BlockMap(_) | Spec::Literal(_) => false,
            Spec::Default(primary, _) => primary.asks_for_something(),
        }
    }
}

fn grows(at: &str, old: &Spec, new: &Spec) -> Result<(), String> {
    match (old, new) {
        (Spec::Default(old, _), new) => grows(at, old, new),
        (old, Spec::Default(new, _)) => grows(at, old, new),
        (Spec::Object(old), Spec::Object(new)) => keys(at, old, new),
        (Spec::Array(old), Spec::Array(new)) if old.len() == new.len() => old
            .iter()
            .zip(new)
            .enumerate()
            .try_for_each(|(number, (old, new))| grows(&format!("{at}[{number}]"), old, new)),
        (Spec::Attr(old), Spec::Attr(new)) | (Spec::BlockAttrs(old), Spec::BlockAttrs(new)) => attr(at, old, new),
        (Spec::Block(old), Spec::Block(new)) if old.name == new.name => {
            required(at, old.required, new.required)?;
            grows(at, &old.nested, &new.nested)
        }
        (Spec::BlockList(old), Spec::BlockList(new)) | (Spec::BlockSet(old), Spec::BlockSet(new))
            if old.name == new.name =>
        {
            blocks(at, old, new)
        }
        (Spec::BlockMap(old), Spec::BlockMap(new)) if old.name == new.name && old.labels.len() == new.labels.len() => {
            grows(at, &old.nested, &new.nested)
        }
        (Spec::Literal(_), Spec::Literal(_)) => Ok(()),
        _ => Err(format!("{} is another kind of thing", named(at))),
    }
}

fn keys(at: &str, old: &BTreeMap<String, Spec>, new: &BTreeMap<String, Spec>) -> Result<(), String> {
    for (key, spec) in old {
        let path = below(at, key);
        match new.get(key) {
            Some(newer) => grows(&path, spec, newer)?,
            None => return Err(format!("{path} is gone")),
        }
    }
    match new.iter().find(|(key, spec)| !old.contains_key(*key) && spec.asks_for_something()) {
        Some((key, _)) => Err(format!("{} is new and required", below(at, key))),
        None => Ok(()),
    }
}

fn attr(at: &str, old: &Attr, new: &Attr) -> Result<(), String> {
    if old.name != new.name {
        return Err(format!("{} is called {} now", named(at), new.name));
    }
    if old.kind != new.kind {
        return Err(format!("{} was {} and is {}", named(at), old.kind, new.kind));
    }
    required(at, old.required, new.required)
}

fn blocks(at: &str, old: &Blocks, new: &Blocks) -> Result<(), String> {
    if new.min_items > old.min_items {
        return Err(format!("{} must stand {} times at least, {} before", named(at), new.min_items, old.min_items));
    }
    if new.max_items > 0 && (old.max_items == 0 || new.max_items < old.max_items) {
        return Err(format!("{} may stand {} times at most, which is fewer than before", named(at), new.max_items));
    }
    grows(at, &old.nested, &new.nested)
}

fn required(at: &str, old: bool, new: bool) -> Result<(), String> {
    if new && !old { Err(format!("{} has become required", named(at))) } else { Ok(()) }
}

fn below(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

fn named(at: &str) -> &str {
    if at.is_empty() { "the whole" } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(old: &str, new: &str) -> Result<(), String> {
        Spec::parse(old).unwrap().grows_into(&Spec::parse(new).unwrap())
    }

    fn attr(name: &str, about: &[&str]) -> String {
        format!("attr \"{name}\" {{\n{}\n}}\n", about.join("\n"))
    }

    fn period(default: &str) -> String {
        format!(
            "default \"period\" {{\n{}literal {{\nvalue = {default:?}\n}}\n}}\n",
            "attr {\nname = \"period\"\ntype = string\n}\n"
        )
    }

    fn rule(inside: &[&str], serial: &[&str]) -> String {
        format!("block_list \"rule\" {{\n{}\nobject {{\n{}}}\n}}\n", inside.join("\n"), attr("serial", serial))
    }

    fn object(parts: &[String]) -> String {
        format!("object {{\n{}}}", parts.concat())
    }

    const REQUIRED: &str = "required = true";
    const STRING: &str = "type = string";
    const NUMBER: &str = "type = number";

    #[test]
    fn keys_may_be_added_and_defaults_may_change() {
        let old = object(&[attr("vendor", &[STRING, REQUIRED]), period("10s"), rule(&[], &[STRING])]);
        let new = object(&[attr("vendor", &[STRING]), attr("more", &[NUMBER]), period("1m"), rule(&[], &[STRING])]);
        assert_eq!(outcome(&old, &old), Ok(()));
        assert_eq!(outcome(&old, &new), Ok(()));
        // The way back takes something away.
        assert_eq!(outcome(&new, &old).unwrap_err(), "more is gone");
    }

    #[test]
    fn whatever_an_old_value_could_stumble_over_is_named() {
        let old = object(&[period("10s"), rule(&[], &[STRING])]);
        for (new, why) in [
            (vec![], "rule is gone"),
            (vec![rule(&[], &[STRING]), attr("more", &[NUMBER, REQUIRED])], "more is new and required"),
            (vec![rule(&[], &[NUMBER])], "rule.serial was string and is number"),
            (vec![rule(&["min_items = 1"], &[STRING])], "rule must stand 1 times at least, 0 before"),
            (vec![rule(&["max_items = 9"], &[STRING])], "rule may stand 9 times at most, which is fewer than before"),
            (vec![attr("rule", &[STRING])], "rule is another kind of thing"),
            (vec![rule(&[], &[STRING, REQUIRED])], "rule.serial has become required"),
        ] {
            let new = object(&[vec![period("10s")], new].concat());
            assert_eq!(outcome(&old, &new).unwrap_err(), why);
        }
    }
}

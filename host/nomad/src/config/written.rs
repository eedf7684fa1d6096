//! What a person wrote, before any schema: blocks and values by name, and the forms in which an agent treats the two alike.
//!
//! An agent turns its file into lists and maps first: `rule { a = 1 }` and `rule = { a = 1 }` are both a list of one map. Only
//! a map that stands directly in a list stays as it is.

use hcl_edit::structure::{BlockLabel, Body, Structure};

use super::ITEMS_MAX;
use crate::hcl::{self, Entry, Fault, Kind, Node, start};

/// Everything in one pair of braces.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) items: Vec<Item>,
    /// Byte offset of what opens it.
    pub(super) at: usize,
}

/// One attribute or block.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    Value(Node),
    Block { labels: Vec<String>, content: Content },
}

/// A block, however it was written.
pub(super) struct Found {
    pub(super) labels: Vec<String>,
    pub(super) content: Content,
}

impl Content {
    pub(super) fn read(body: &Body, at: usize) -> Result<Content, Fault> {
        let mut content = Content { items: Vec::with_capacity(body.len()), at };
        for structure in body.iter() {
            let item = match structure {
                Structure::Attribute(attribute) => {
                    let at = start(attribute, at);
                    let value = hcl::constant(&attribute.value, at)?;
                    Item { name: attribute.key.to_string(), at, what: What::Value(value) }
                }
                Structure::Block(block) => {
                    let at = start(block, at);
                    let labels = block.labels.iter().map(|label| match label {
                        BlockLabel::Ident(name) => name.to_string(),
                        BlockLabel::String(text) => text.value().clone(),
                    });
                    let content = Content::read(&block.body, at)?;
                    Item { name: block.ident.to_string(), at, what: What::Block { labels: labels.collect(), content } }
                }
            };
            content.add(item)?;
        }
        Ok(content)
    }

    /// The entries of a map, as if they stood in braces of a block.
    fn of(entries: Vec<Entry>, at: usize) -> Result<Content, Fault> {
        let mut content = Content { items: Vec::with_capacity(entries.len()), at };
        for entry in entries {
            content.add(Item { name: entry.key, at: entry.at, what: What::Value(entry.value) })?;
        }
        Ok(content)
    }

    fn add(&mut self, item: Item) -> Result<(), Fault> {
        let value = matches!(item.what, What::Value(_));
        let other = self.items.iter().find(|other| other.name == item.name);
        if let Some(other) = other.filter(|other| value || matches!(other.what, What::Value(_))) {
            let how = if value == matches!(other.what, What::Value(_)) { "twice" } else { "as a block and with `=`" };
            return Err(Fault::new(item.at, format!("{:?} is given {how} here", item.name)));
        }
        if self.items.len() >= ITEMS_MAX {
            return Err(Fault::new(item.at, format!("more than {ITEMS_MAX} keys and blocks stand here")));
        }
        self.items.push(item);
        Ok(())
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.name == name)
    }

    /// The value that a name has, as an agent hands it over; with its place.
    pub(super) fn value(&self, name: &str) -> Option<Node> {
        let mut blocks = Vec::new();
        let mut at = None;
        for item in self.named(name) {
            match &item.what {
                What::Value(node) => return Some(wrapped(node.clone(), false)),
                What::Block { labels, content } => {
                    at.get_or_insert(item.at);
                    blocks.push(as_node(labels, content, item.at));
                }
            }
        }
        Some(Node { kind: Kind::List(blocks), at: at? })
    }

    /// The blocks of a name, with this many labels each; objects given with `=` count as blocks.
    pub(super) fn blocks(&self, name: &str, labels: &[String]) -> Result<Vec<Found>, Fault> {
        let mut found = Vec::new();
        for item in self.named(name) {
            match &item.what {
                What::Block { labels: given, content } => {
                    if given.len() != labels.len() {
                        return Err(Fault::new(item.at, wrong_labels(name, given, labels)));
                    }
                    found.push(Found { labels: given.clone(), content: content.clone() });
                }
                What::Value(node) => unpack(name, node.clone(), labels.len(), &mut Vec::new(), &mut found)?,
            }
        }
        Ok(found)
    }
}

fn wrong_labels(name: &str, given: &[String], wanted: &[String]) -> String {
    match wanted {
        [] => format!("the block {name} takes no label: write {name} {{ … }} without {:?}", given.join(" ")),
        wanted => {
            let labels: Vec<String> = wanted.iter().map(|label| format!("\"<{label}>\"")).collect();
            format!(
                "the block {name} needs {} label(s), has {}: write {name} {} {{ … }}",
                wanted.len(),
                given.len(),
                labels.join(" ")
            )
        }
    }
}

/// Labels are keys of maps around the block; lists may stand between.
fn unpack(name: &str, node: Node, labels: usize, above: &mut Vec<String>, found: &mut Vec<Found>) -> Result<(), Fault> {
    let at = node.at;
    match node.kind {
        Kind::Null if labels == 0 => Ok(()),
        Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Map(_))) => {
            items.into_iter().try_for_each(|item| unpack(name, item, labels, above, found))
        }
        Kind::Map(_) if found.len() >= ITEMS_MAX => {
            Err(Fault::new(at, format!("more than {ITEMS_MAX} blocks {name} stand here")))
        }
        Kind::Map(entries) if labels == 0 => {
            let content = Content::of(entries, at)?;
            found.push(Found { labels: above.clone(), content });
            Ok(())
        }
        Kind::Map(entries) => entries.into_iter().try_for_each(|entry| {
            above.push(entry.key);
            let result = unpack(name, entry.value, labels - 1, above, found);
            above.pop();
            result
        }),
        _ => Err(Fault::new(at, format!("{name} is a block: write {name} {{ … }}"))),
    }
}

/// A block as the agent's maps.
fn as_node(labels: &[String], content: &Content, at: usize) -> Node {
    match labels.split_first() {
        Some((label, rest)) => {
            let value = Node { kind: Kind::List(vec![as_node(rest, content, at)]), at };
            Node { kind: Kind::Map(vec![Entry { key: label.clone(), at, value }]), at }
        }
        None => {
            let mut entries: Vec<Entry> = Vec::new();
            for item in &content.items {
                if !entries.iter().any(|entry| entry.key == item.name)
                    && let Some(value) = content.value(&item.name)
                {
                    entries.push(Entry { key: item.name.clone(), at: item.at, value });
                }
            }
            Node { kind: Kind::Map(entries), at }
        }
    }
}

/// Maps become lists of one, unless they stand in a list.
fn wrapped(node: Node, in_list: bool) -> Node {
    let at = node.at;
    let kind = match node.kind {
        Kind::List(items) => Kind::List(items.into_iter().map(|item| wrapped(item, true)).collect()),
        Kind::Map(entries) => {
            let entries = entries.into_iter().map(|entry| Entry { value: wrapped(entry.value, false), ..entry });
            let map = Kind::Map(entries.collect());
            if in_list { map } else { Kind::List(vec![Node { kind: map, at }]) }
        }
        kind => kind,
    };
    Node { kind, at }
}

//! What a person wrote, before any schema: blocks and values by name, and the forms in which an agent treats the two alike.
//!
//! An agent turns its file into lists and maps first: `rule { a = 1 }` and `rule = { a = 1 }` are both a list of one map. Only
//! a map that stands directly in a list stays as it is.

use hcl_edit::structure::{Body, Structure};

use super::ITEMS_MAX;
use crate::hcl::{self, Entry, Fault, Faults, Kind, Node, Scope, start};

/// Everything in one pair of braces.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) items: Vec<Item>,
    /// Byte offset of what opens it.
    pub(super) at: usize,
}

/// One attribute or block.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
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
    /// What is wrong is left out, or unknown. With a `scope`, a job's: there a block `dynamic "rule"` stands for unknown ones.
    pub(super) fn read(body: &Body, at: usize, scope: Option<&Scope>, faults: &mut Faults) -> Content {
        let mut content = Content { items: Vec::with_capacity(body.len()), at };
        for structure in body.iter() {
            let item = match structure {
                Structure::Attribute(attribute) => {
                    let at = start(attribute, at);
                    let value = hcl::evaluate(&attribute.value, at, scope).unwrap_or_else(|fault| {
                        faults.push(fault);
                        Node { kind: Kind::Unknown, at, end: at }
                    });
                    Item { name: attribute.key.to_string(), at, what: What::Value(value) }
                }
                Structure::Block(block) => {
                    let at = start(block, at);
                    let mut labels: Vec<String> = block.labels.iter().map(hcl::label).collect();
                    match (scope, block.ident.as_str(), labels.pop()) {
                        (Some(_), "dynamic", Some(name)) if labels.is_empty() => {
                            Item { name, at, what: What::Value(Node { kind: Kind::Unknown, at, end: at }) }
                        }
                        (_, name, last) => {
                            labels.extend(last);
                            let content = Content::read(&block.body, at, scope, faults);
                            Item { name: name.to_owned(), at, what: What::Block { labels, content } }
                        }
                    }
                }
            };
            if let Err(fault) = content.add(item) {
                faults.push(fault);
                if content.items.len() >= ITEMS_MAX {
                    break;
                }
            }
        }
        content
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
        if self.items.len() >= ITEMS_MAX {
            return Err(Fault::new(item.at, format!("more than {ITEMS_MAX} keys and blocks stand here")));
        }
        let unknown = |item: &Item| matches!(&item.what, What::Value(Node { kind: Kind::Unknown, .. }));
        let value = matches!(item.what, What::Value(_));
        let other = self.items.iter().find(|other| other.name == item.name);
        let other = other.filter(|other| !unknown(other) && !unknown(&item));
        if let Some(other) = other.filter(|other| value || matches!(other.what, What::Value(_))) {
            let how = if value == matches!(other.what, What::Value(_)) { "twice" } else { "as a block and with `=`" };
            return Err(Fault::new(item.at, format!("{:?} is given {how} here", item.name)));
        }
        self.items.push(item);
        Ok(())
    }

    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.name == name)
    }

    /// Whether some of what a name has is unknown.
    pub(super) fn is_open(&self, name: &str) -> bool {
        self.named(name).any(|item| matches!(&item.what, What::Value(node) if node.is_open()))
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
        let at = at?;
        Some(Node { kind: Kind::List(blocks), at, end: at })
    }

    /// The blocks of a name, with this many labels each; objects given with `=` count as blocks.
    pub(super) fn blocks(&self, name: &str, labels: &[String]) -> Result<Vec<Found>, Fault> {
        let mut found = Vec::new();
        for item in self.named(name) {
            match &item.what {
                What::Block { labels: given, content } => {
                    if given.len() != labels.len() {
                        return Err(wrong_labels(item.at, name, given, labels));
                    }
                    found.push(Found { labels: given.clone(), content: content.clone() });
                }
                What::Value(node) => unpack(name, node.clone(), labels.len(), &mut Vec::new(), &mut found)?,
            }
        }
        Ok(found)
    }
}

fn wrong_labels(at: usize, name: &str, given: &[String], wanted: &[String]) -> Fault {
    if wanted.is_empty() {
        let hint = format!("write {name} {{ … }} without {:?}", given.join(" "));
        return Fault::new(at, format!("the block {name} takes no label")).hinting(hint);
    }
    let labels: Vec<String> = wanted.iter().map(|label| format!("\"<{label}>\"")).collect();
    Fault::new(at, format!("the block {name} needs {} label(s), has {}", wanted.len(), given.len()))
        .hinting(format!("write {name} {} {{ … }}", labels.join(" ")))
}

/// Labels are keys of maps around the block; lists may stand between.
fn unpack(name: &str, node: Node, labels: usize, above: &mut Vec<String>, found: &mut Vec<Found>) -> Result<(), Fault> {
    let at = node.at;
    match node.kind {
        Kind::Unknown => Ok(()),
        Kind::Null if labels == 0 => Ok(()),
        Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Map(_) | Kind::Unknown)) => {
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
        _ => Err(Fault::new(at, format!("{name} is a block")).hinting(format!("write {name} {{ … }}"))),
    }
}

/// A block as the agent's maps.
fn as_node(labels: &[String], content: &Content, at: usize) -> Node {
    match labels.split_first() {
        Some((label, rest)) => {
            let value = Node { kind: Kind::List(vec![as_node(rest, content, at)]), at, end: at };
            Node { kind: Kind::Map(vec![Entry { key: label.clone(), at, value }]), at, end: at }
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
            Node { kind: Kind::Map(entries), at, end: at }
        }
    }
}

/// Maps become lists of one, unless they stand in a list.
fn wrapped(node: Node, in_list: bool) -> Node {
    let (at, end) = (node.at, node.end);
    let kind = match node.kind {
        Kind::List(items) => Kind::List(items.into_iter().map(|item| wrapped(item, true)).collect()),
        Kind::Map(entries) => {
            let entries = entries.into_iter().map(|entry| Entry { value: wrapped(entry.value, false), ..entry });
            let map = Kind::Map(entries.collect());
            if in_list { map } else { Kind::List(vec![Node { kind: map, at, end }]) }
        }
        kind => kind,
    };
    Node { kind, at, end }
}

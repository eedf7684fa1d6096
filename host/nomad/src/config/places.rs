//! Where the values of an evaluated configuration stand in its text: by paths as a guest names them, of the schema's keys, which need not be
//! the names in the text.

use super::written::{Content, Found, Item, What};
use crate::hcl::{Kind, Node};
use crate::schema::Spec;

/// Longest path that is followed, in bytes: keys may be of any length, and each stands in the paths of all that is below it.
const PATH_MAX: usize = 500;

/// A value or block.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Dotted keys and indexes, `rule[2].vendor`.
    pub(super) path: String,
    pub(super) at: usize,
    pub(super) end: usize,
    /// It, or a part of it, is known only when the job runs; then it is null as a whole.
    pub(super) unknown: bool,
    /// The value of a key, not a block or what is in the value.
    pub(super) attribute: bool,
}

/// Of everything that a schema finds in a pair of braces, outer ones first.
pub(super) fn places(spec: &Spec, content: &Content) -> Vec<Place> {
    let mut all = Vec::new();
    find(spec, content, "", &mut all);
    all
}

fn find(spec: &Spec, content: &Content, path: &str, all: &mut Vec<Place>) {
    if path.len() > PATH_MAX {
        return;
    }
    match spec {
        Spec::Object(keys) => keys.iter().for_each(|(key, nested)| find(nested, content, &below(path, key), all)),
        Spec::Array(items) => {
            items.iter().enumerate().for_each(|(at, nested)| find(nested, content, &format!("{path}[{at}]"), all));
        }
        Spec::Attr(attr) => content.named(&attr.name).for_each(|item| attribute(item, path, all)),
        Spec::BlockAttrs(attrs) => {
            open(&attrs.name, content, path, all);
            for found in found(&attrs.name, content, &[]) {
                all.push(block(path, &attrs.name, &found));
                found.content.items.iter().for_each(|item| attribute(item, &below(path, &item.name), all));
            }
        }
        Spec::Block(one) => {
            open(&one.name, content, path, all);
            for found in found(&one.name, content, &[]) {
                all.push(block(path, &one.name, &found));
                find(&one.nested, &found.content, path, all);
            }
        }
        Spec::BlockList(blocks) | Spec::BlockSet(blocks) => {
            open(&blocks.name, content, path, all);
            for (at, found) in found(&blocks.name, content, &[]).iter().enumerate() {
                let path = format!("{path}[{at}]");
                all.push(block(&path, &blocks.name, found));
                find(&blocks.nested, &found.content, &path, all);
            }
        }
        Spec::BlockMap(map) => {
            open(&map.name, content, path, all);
            for found in found(&map.name, content, &map.labels) {
                let path = found.labels.iter().fold(path.to_owned(), |path, label| below(&path, label));
                all.push(block(&path, &map.name, &found));
                find(&map.nested, &found.content, &path, all);
            }
        }
        Spec::Default(primary, _) => find(primary, content, path, all),
        Spec::Literal(_) => {}
    }
}

fn found(name: &str, content: &Content, labels: &[String]) -> Vec<Found> {
    content.blocks(name, labels).unwrap_or_default()
}

/// Blocks of which it is not known how many there are.
fn open(name: &str, content: &Content, path: &str, all: &mut Vec<Place>) {
    let unknown = |item: &&Item| matches!(&item.what, What::Value(Node { kind: Kind::Unknown, .. }));
    if let Some(item) = content.named(name).find(unknown) {
        let end = item.at + name.len();
        all.push(Place { path: path.to_owned(), at: item.at, end, unknown: true, attribute: false });
    }
}

fn block(path: &str, name: &str, found: &Found) -> Place {
    let at = found.content.at;
    Place { path: path.to_owned(), at, end: at + name.len(), unknown: false, attribute: false }
}

fn attribute(item: &Item, path: &str, all: &mut Vec<Place>) {
    match &item.what {
        What::Value(node) => {
            let place =
                Place { path: path.to_owned(), at: node.at, end: node.end, unknown: node.is_open(), attribute: true };
            all.push(place);
            inside(node, path, all);
        }
        // An attribute given as a block.
        What::Block { .. } => {
            let end = item.at + item.name.len();
            all.push(Place { path: path.to_owned(), at: item.at, end, unknown: false, attribute: true });
        }
    }
}

/// What is in a list or an object.
fn inside(node: &Node, path: &str, all: &mut Vec<Place>) {
    let mut place = |node: &Node, path: String| {
        if path.len() <= PATH_MAX {
            let place = Place { path: path.clone(), at: node.at, end: node.end, unknown: false, attribute: false };
            all.push(place);
            inside(node, &path, all);
        }
    };
    match &node.kind {
        Kind::List(items) => items.iter().enumerate().for_each(|(at, item)| place(item, format!("{path}[{at}]"))),
        Kind::Map(entries) => entries.iter().for_each(|entry| place(&entry.value, below(path, &entry.key))),
        Kind::Null | Kind::Flag(_) | Kind::Number(_) | Kind::Text(_) | Kind::Unknown => {}
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

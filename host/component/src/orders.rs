//! What the process of a component is told, and how: its arguments are the component's, its environment is the component's with every name
//! prefixed, and one variable more holds the rest.
//!
//! The prefix is what keeps a job from giving orders to the process instead of the component: a dynamic linker takes `LD_PRELOAD` from an
//! environment, and so do allocators and libraries take theirs. Under another name it is only text.

use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::sys;

/// The first argument of such a process. The second is the component's name, those after it are its arguments.
pub const WORD: &str = "run-component";
/// Holds the orders.
const ORDERS: &str = "YURT_COMPONENT";
/// Before the name of each variable of the component.
const PREFIX: &str = "component.";
/// The machine code; the directories follow.
const CODE: i32 = 3;

/// What a component gets, but for its arguments and its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Of the machine code: see `yurt_guest::TaskCode`.
    pub settings: String,
    /// Directories, in the order in which they came open.
    pub directories: Vec<Directory>,
    /// Whom it may talk to.
    pub network: Network,
    /// Bytes of all its memories together.
    pub memory: Option<u64>,
    /// Whether to refuse itself the system calls that no component needs.
    pub wall: bool,
}

/// A directory of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Its path, as the component sees it.
    pub name: String,
    /// Nothing in it can be changed.
    pub read_only: bool,
}

/// Arguments and environment of the process that runs a component of this name and these arguments with this environment.
pub fn program(
    orders: &Orders,
    words: &[String],
    env: impl IntoIterator<Item = (String, String)>,
) -> (Vec<String>, Vec<(String, String)>) {
    let argv = ["yurt", WORD].into_iter().map(str::to_owned).chain(words.iter().cloned()).collect();
    // Numbers, texts and lists of these: nothing that could not be written.
    let text = serde_json::to_string(orders).unwrap_or_default();
    let env = env.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value));
    (argv, env.chain([(ORDERS.to_owned(), text)]).collect())
}

/// The orders of this process, with what came open.
pub(crate) struct Received {
    pub(crate) orders: Orders,
    pub(crate) arguments: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) code: File,
    /// In the order of `orders.directories`.
    pub(crate) directories: Vec<File>,
}

pub(crate) fn received(arguments: Vec<String>) -> Result<Received, String> {
    let mut orders = None;
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy().into_owned());
        if name == ORDERS {
            orders = serde_json::from_str(&value).ok();
        } else if let Some(name) = name.strip_prefix(PREFIX) {
            env.push((name.to_owned(), value));
        }
    }
    let orders: Orders = orders.ok_or("not started by a plugin for a component")?;
    let open =
        |number: i32| sys::inherited(number).map(File::from).map_err(|why| format!("descriptor {number}: {why}"));
    let code = open(CODE)?;
    let directories = (CODE + 1..).take(orders.directories.len()).map(open).collect::<Result<_, _>>()?;
    Ok(Received { orders, arguments, env, code, directories })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variable_of_a_component_is_one_of_the_process() {
        let orders = Orders {
            settings: "mapped".into(),
            directories: vec![Directory { name: "/local".into(), read_only: false }],
            network: Network::default(),
            memory: Some(1 << 20),
            wall: true,
        };
        let given = [("LD_PRELOAD", "/local/evil.so"), ("YURT_COMPONENT", "{}"), ("A", "b")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (argv, env) = program(&orders, &["local/app.wasm".into(), "--port".into()], given);
        assert_eq!(argv, ["yurt", "run-component", "local/app.wasm", "--port"]);
        let names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["component.LD_PRELOAD", "component.YURT_COMPONENT", "component.A", "YURT_COMPONENT"]);
        assert_eq!(serde_json::from_str::<Orders>(&env[3].1).unwrap(), orders);
    }
}

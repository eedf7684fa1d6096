//! Golden cases: what a guest is asked, as a file that a person writes.
//!
//! Facts have the form of `yurt devices --json`, so they can be taken from a machine; written by hand, a device needs no more than its
//! key, the rest is that of a plain device which is well. Ids may be written in hexadecimal, a label as its text.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use yurt_guest::driver as wit;
use yurt_usb::facts::{Counter, CounterSet, Device, Snapshot};

/// What the file that holds a case's answers is called, after the case's name.
const EXPECTED: &str = ".expected.json";

/// One case, with what is expected of it once that was written down.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) asked: Asked,
    /// Where the answers are, or will be.
    pub(super) expected_file: PathBuf,
    pub(super) expected: Option<Value>,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Asked {
    /// What holds, for people.
    pub(super) says: String,
    /// As the operator writes it, in JSON: what is left out has its default.
    #[serde(default)]
    pub(super) config: Map<String, Value>,
    #[serde(default, deserialize_with = "facts")]
    pub(super) facts: Snapshot,
    /// What the call before returned.
    #[serde(default)]
    pub(super) memory: Option<Value>,
    /// Ids that are reserved together, of what is offered.
    #[serde(default)]
    pub(super) reserve: Vec<Vec<String>>,
    /// Totals by device and name; without any, no figures are asked for.
    #[serde(default)]
    counters: BTreeMap<String, BTreeMap<String, f64>>,
    /// A job's `config` block, of a task driver; without it, no plan is asked for.
    #[serde(default)]
    pub(super) task: Option<Map<String, Value>>,
    /// Paths of it that are known only at run time.
    #[serde(default)]
    pub(super) unknown: Vec<String>,
    /// What is seen on the node, by the ids of the probes.
    #[serde(default)]
    pub(super) node: BTreeMap<String, Seen>,
    /// What is seen within the task's root.
    #[serde(default)]
    pub(super) root: BTreeMap<String, Seen>,
}

/// What comes of a probe.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Seen {
    Paths(Vec<String>),
    #[serde(rename_all = "kebab-case")]
    Output {
        resolved: String,
        #[serde(default)]
        exit_code: i32,
        #[serde(default)]
        stdout: String,
        #[serde(default)]
        stderr: String,
    },
    Content(String),
    Status {
        kind: Kind,
        #[serde(default)]
        executable: bool,
        target: Option<String>,
    },
    Absent(String),
    Refused(String),
    Failed(String),
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Absent,
    File,
    Directory,
    Link,
    Other,
}

impl Seen {
    pub(super) fn outcome(&self) -> Result<wit::Found, wit::Trouble> {
        Ok(match self.clone() {
            Seen::Paths(paths) => wit::Found::Paths(paths),
            Seen::Output { resolved, exit_code, stdout, stderr } => {
                wit::Found::Output(wit::ProgramOutput { resolved, exit_code, stdout, stderr })
            }
            Seen::Content(text) => wit::Found::Content(text),
            Seen::Status { kind, executable, target } => {
                let kind = match kind {
                    Kind::Absent => wit::PathKind::Absent,
                    Kind::File => wit::PathKind::File,
                    Kind::Directory => wit::PathKind::Directory,
                    Kind::Link => wit::PathKind::Link,
                    Kind::Other => wit::PathKind::Other,
                };
                wit::Found::Status(wit::PathStatus { kind, executable, target })
            }
            Seen::Absent(why) => return Err(wit::Trouble::Absent(why)),
            Seen::Refused(why) => return Err(wit::Trouble::Refused(why)),
            Seen::Failed(why) => return Err(wit::Trouble::Failed(why)),
        })
    }
}

impl Asked {
    pub(super) fn counters(&self) -> Vec<CounterSet> {
        let counter =
            |(name, total): (&String, &f64)| Counter { name: name.clone(), total: *total, unit: String::new() };
        self.counters
            .iter()
            .map(|(key, counters)| CounterSet { key: key.clone(), counters: counters.iter().map(counter).collect() })
            .collect()
    }
}

/// What a folder holds, by name.
#[derive(Debug)]
pub(super) struct Cases {
    pub(super) golden: Vec<Case>,
    /// Recordings, which are cases as they are: `NAME.jsonl`.
    pub(super) recorded: Vec<(String, PathBuf)>,
}

/// The cases of a folder.
pub(super) fn read(folder: &Path) -> anyhow::Result<Cases> {
    let (mut cases, mut recorded) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let Some(file) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Some(name) = file.strip_suffix(".jsonl") {
            recorded.push((name.to_owned(), path.clone()));
            continue;
        }
        let Some(name) = file.strip_suffix(".json").filter(|_| !file.ends_with(EXPECTED)) else { continue };
        let expected_file = folder.join(format!("{name}{EXPECTED}"));
        cases.push(Case {
            name: name.to_owned(),
            asked: from_json(&path)?.ok_or_else(|| anyhow!("{}: it was there a moment ago", path.display()))?,
            expected: from_json(&expected_file)?,
            expected_file,
        });
    }
    if cases.is_empty() && recorded.is_empty() {
        bail!("{}: no case is there (a file NAME.json, or a recording NAME.jsonl)", folder.display());
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    recorded.sort();
    Ok(Cases { golden: cases, recorded })
}

fn from_json<T: for<'a> Deserialize<'a>>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why).with_context(|| path.display().to_string()),
    };
    serde_json::from_str(&text).with_context(|| path.display().to_string()).map(Some)
}

fn facts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Snapshot, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        #[serde(default)]
        number: u32,
        #[serde(default)]
        devices: Vec<Map<String, Value>>,
        #[serde(default)]
        trouble: Vec<String>,
    }
    let given = Given::deserialize(deserializer)?;
    let devices = given.devices.into_iter().map(device).collect::<Result<Vec<_>, _>>();
    let mut devices = devices.map_err(serde::de::Error::custom)?;
    devices.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Snapshot { number: given.number.max(1), devices, trouble: given.trouble })
}

fn device(given: Map<String, Value>) -> Result<Arc<Device>, String> {
    let key = given.get("key").and_then(Value::as_str).ok_or("a device of the facts has no key")?.to_owned();
    let mut whole = plain_device(&key);
    for (name, mut value) in given {
        shorthand(&name, &mut value)?;
        let elements = match name.as_str() {
            "nodes" => Some(plain_node(&key)),
            "interfaces" => Some(plain_interface()),
            _ => None,
        };
        match (elements, &mut value) {
            (Some(plain), Value::Array(items)) => {
                for (at, item) in items.iter_mut().enumerate() {
                    let mut filled = plain.clone();
                    if name == "interfaces" {
                        lay(&mut filled, json!({ "number": at }));
                    }
                    lay(&mut filled, std::mem::take(item));
                    *item = filled;
                }
                lay(&mut whole, json!({ name: value }));
            }
            _ => lay(&mut whole, json!({ name: value })),
        }
    }
    serde_json::from_value(whole).map(Arc::new).map_err(|why| format!("device {key}: {why}"))
}

/// `"0x12f7"` for a number, `"Memorex"` for a label.
fn shorthand(name: &str, value: &mut Value) -> Result<(), String> {
    let Value::String(text) = &*value else { return Ok(()) };
    *value = match name {
        "vendor-id" | "product-id" | "device-release" | "usb-release" => {
            let digits = text.trim_start_matches("0x");
            json!(u16::from_str_radix(digits, 16).map_err(|why| format!("{name} {text:?}: {why}"))?)
        }
        "manufacturer" | "product" | "serial" => json!({ "text": text, "cleaned": false }),
        _ => return Ok(()),
    };
    Ok(())
}

/// Lays one object over another; what is no object replaces what was there.
fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                lay(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// A device of the key's port that is well and says nothing of itself; `usb1` is a root hub.
fn plain_device(key: &str) -> Value {
    let (bus, path) = key.split_once('-').unwrap_or((key.trim_start_matches("usb"), ""));
    let is_root = path.is_empty();
    let parent = match key.rsplit_once('.') {
        Some((parent, _)) => Some(parent.to_owned()),
        None if is_root => None,
        None => Some(format!("usb{bus}")),
    };
    json!({
        "key": key,
        "parent": parent,
        "vendor-id": if is_root { 0x1d6b } else { 0x1209 },
        "product-id": if is_root { 0x0002 } else { 0x0001 },
        "device-release": 0x0100,
        "usb-release": 0x0200,
        "manufacturer": null,
        "product": null,
        "serial": null,
        "serial-quality": "absent",
        "vendor-name": null,
        "product-name": null,
        "codes": { "base": if is_root { 9 } else { 0 }, "sub": 0, "protocol": 0 },
        "is-hub": is_root,
        "place": {
            "bus": bus.parse::<u8>().unwrap_or(1),
            "address": address(path),
            "ports": path.split('.').filter_map(|port| port.parse::<u8>().ok()).collect::<Vec<u8>>(),
            "controller": "0000:00:14.0",
            "numa-node": null,
            "removable": "unknown",
        },
        "link": { "speed": "high", "mbit": 480, "capable": "high", "degraded": false },
        "configuration": { "value": 1, "self-powered": is_root, "remote-wakeup": false, "max-milliamps": 100 },
        "configurations": 1,
        "interfaces": [],
        "nodes": [plain_node(key)],
        "network": [],
        "access": { "authorised": true, "openable": true, "over-current": false },
        "power": { "state": "active", "autosuspend-milliseconds": 2000 },
        "life": { "presence": "present", "for-milliseconds": 60_000, "generation": 1, "replugs": 0, "before": [] },
        "extra": [],
    })
}

/// Its usbfs node.
fn plain_node(key: &str) -> Value {
    let (bus, path) = key.split_once('-').unwrap_or((key.trim_start_matches("usb"), ""));
    let bus = bus.parse::<u8>().unwrap_or(1);
    json!({
        "path": format!("/dev/bus/usb/{bus:03}/{:03}", address(path)),
        "kind": "character",
        "major": 189,
        "minor": u32::from(bus.saturating_sub(1)) * 128 + u32::from(address(path)) - 1,
        "subsystem": "usb_device",
        "of-interface": null,
        "position": 0,
        "links": [],
        "uid": 0,
        "gid": 0,
        "mode": 0o664,
        "in-use": false,
    })
}

fn plain_interface() -> Value {
    json!({
        "number": 0,
        "alternate": 0,
        "codes": { "base": 255, "sub": 0, "protocol": 0 },
        "name": null,
        "function": null,
        "driver": null,
        "endpoints": [],
    })
}

/// Some address, the same for the same port: 1 for a root hub.
fn address(path: &str) -> u8 {
    let number = |port: &str| port.parse::<u32>().unwrap_or(0);
    let spread = path.split('.').map(number).fold(0u32, |sum, port| sum.wrapping_mul(7).wrapping_add(port));
    u8::try_from(spread % 126).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Asked, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_device_needs_no_more_than_its_key() {
        let asked = asked(r#"{"says": "", "facts": {"devices": [{"key": "1-1.4"}, {"key": "usb1"}]}}"#).unwrap();
        let device = &asked.facts.devices[0];
        assert_eq!((device.key.as_str(), device.parent.as_deref()), ("1-1.4", Some("1-1")));
        assert_eq!((device.place.ports.as_slice(), device.nodes.len()), (&[1, 4][..], 1));
        assert!(asked.facts.devices[1].is_hub && asked.facts.devices[1].parent.is_none());
    }

    #[test]
    fn what_is_written_is_laid_over_a_plain_device() {
        let text = r#"{"says": "", "facts": {"devices": [{"key": "1-2", "vendor-id": "0x12f7", "serial": "A1",
            "access": {"openable": false}, "configuration": null, "nodes": [{}, {"path": "/dev/sda", "in-use": true}]}]}}"#;
        let asked = asked(text).unwrap();
        let device = &asked.facts.devices[0];
        assert_eq!((device.vendor_id, device.product_id), (0x12f7, 1));
        assert_eq!(device.serial.as_ref().map(|serial| serial.text.as_str()), Some("A1"));
        assert!(device.access.authorised && !device.access.openable && device.configuration.is_none());
        let paths: Vec<&str> = device.nodes.iter().map(|node| node.path.as_str()).collect();
        assert_eq!(paths, ["/dev/bus/usb/001/003", "/dev/sda"]);
    }

    #[test]
    fn what_yurt_devices_prints_are_facts_as_they_stand() {
        let given = r#"{"says": "", "facts": {"devices": [{"key": "1-2", "vendor-id": 4855}]}}"#;
        let facts = asked(given).unwrap().facts;
        let printed = serde_json::to_string(&facts).unwrap();
        assert_eq!(asked(&format!(r#"{{"says": "", "facts": {printed}}}"#)).unwrap().facts, facts);
    }

    #[test]
    fn a_slip_of_the_pen_is_named() {
        for (text, named) in [
            (r#"{"says": "", "devises": []}"#, "devises"),
            (
                r#"{"says": "", "facts": {"devices": [{"key": "1-1", "vendor_id": 1}]}}"#,
                "device 1-1: unknown field `vendor_id`",
            ),
            (r#"{"says": "", "facts": {"devices": [{"key": "1-1", "vendor-id": "x"}]}}"#, "vendor-id \"x\""),
            (r#"{"says": "", "facts": {"devices": [{}]}}"#, "no key"),
        ] {
            let why = asked(text).unwrap_err().to_string();
            assert!(why.contains(named), "{why}");
        }
    }
}

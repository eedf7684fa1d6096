//! The `yurt { … }` block of the plugin's configuration: what the host decides, not the guest. First what every plugin has in it, then
//! a device plugin's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tracing::Level;
use yurt_guest::{Limits, limits};
use yurt_nomad::schema::{Attr, Block, Spec, SpecError, Type};

use crate::check::Grants;
use crate::exchange::Swap;
use crate::folders::Access;
use crate::metrics::Endpoint;
use crate::pin::Pin;
use crate::record;

/// Name of the block.
const BLOCK: &str = "yurt";

/// What every plugin's block holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Common {
    /// What is written to the agent's log; the agent's own level filters afterwards.
    pub(crate) log_level: Level,
    /// The guest's own keys in a file of their own, laid over the agent's and watched.
    pub(crate) policy_file: Option<PathBuf>,
    /// The only guest that may serve.
    pub(crate) guest_digest: Option<Pin>,
    /// Where calls are recorded, if they are.
    pub(crate) record: Option<record::Settings>,
    /// Where figures are served, if they are.
    pub(crate) metrics: Option<Endpoint>,
    /// How a new guest or rule comes to serve.
    pub(crate) swap: Swap,
    /// What a guest may use.
    pub(crate) limits: Limits,
}

/// The block of a device plugin, evaluated. Every field has a default, so an absent block is the default one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostConfig {
    pub(crate) common: Common,
    /// A plugged device counts as settled when its branch was quiet this long, or when the kernel says its drivers are bound.
    pub(crate) settle: Duration,
    /// A device that never gets quiet is looked at after this long all the same.
    pub(crate) settle_max: Duration,
    /// An unplugged device stays in the facts, marked absent, for this long.
    pub(crate) grace: Duration,
    /// What a policy may do beyond the usual.
    pub(crate) grants: Grants,
    /// Who may open the nodes in the directories of instances.
    pub(crate) nodes: Access,
}

impl Default for Common {
    fn default() -> Self {
        Common {
            log_level: Level::INFO,
            policy_file: None,
            guest_digest: None,
            record: None,
            metrics: None,
            swap: Swap::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        HostConfig {
            common: Common::default(),
            settle: Duration::from_millis(250),
            settle_max: Duration::from_secs(3),
            grace: Duration::ZERO,
            grants: Grants::default(),
            nodes: Access::default(),
        }
    }
}

/// The guest's keys.
pub(crate) fn keys_of(guest: &str) -> Result<Spec, SpecError> {
    if guest.trim().is_empty() { Ok(Spec::empty()) } else { Spec::parse(guest) }
}

/// The guest's keys with a block of the host's beside them.
pub(crate) fn beside(guest: &str, block: Spec) -> Result<Spec, SpecError> {
    keys_of(guest)?.merge_block(BLOCK, block)
}

/// Takes the host's block out of an evaluated configuration; `null` is an absent one. What is left is the guest's.
pub(crate) fn taken_from(config: &mut Value) -> Value {
    config.as_object_mut().and_then(|keys| keys.remove(BLOCK)).unwrap_or(Value::Null)
}

/// The block's schema, to be merged with the guest's.
pub(crate) fn spec() -> Result<Spec, SpecError> {
    with_common(Spec::parse(include_str!("host_config.hcldec"))?)
}

/// Adds what every plugin has in its block.
pub(crate) fn with_common(block: Spec) -> Result<Spec, SpecError> {
    let row = |row: &limits::Limit| {
        let attr = Attr { name: row.key.to_owned(), kind: Type::Number, required: false };
        (row.key.to_owned(), Spec::Attr(attr))
    };
    let nested = Spec::Object(limits::TABLE.iter().map(row).collect());
    let limits = Spec::Block(Block { name: "limits".to_owned(), required: false, nested: Box::new(nested) });
    let keys = |spec| if let Spec::Object(keys) = spec { keys } else { BTreeMap::new() };
    let mut all = keys(block);
    all.extend(keys(Spec::parse(include_str!("common.hcldec"))?));
    all.insert("limits".to_owned(), limits);
    Ok(Spec::Object(all))
}

impl Common {
    /// Reads its part of the evaluated block.
    pub(crate) fn from_json(block: &Value) -> Result<Common, String> {
        let text = |key: &str| block.get(key).and_then(Value::as_str);
        let policy_file = text("policy_file").map(PathBuf::from);
        if let Some(relative) = policy_file.as_deref().filter(|file| !file.is_absolute()) {
            return Err(format!("yurt.policy_file = {relative:?}: must be an absolute path"));
        }
        Ok(Common {
            log_level: text("log_level").map_or(Ok(Level::INFO), log_level)?,
            policy_file,
            guest_digest: text("guest_digest").map(|given| Pin::parse("yurt.guest_digest", given)).transpose()?,
            record: record::Settings::from_json(block)?,
            metrics: text("metrics").map(Endpoint::parse).transpose()?,
            swap: Swap::from_json(block.get("swap").unwrap_or(&Value::Null))?,
            limits: limits_from(block.get("limits").unwrap_or(&Value::Null))?,
        })
    }

    pub(crate) fn policy_file(&self) -> Option<&Path> {
        self.policy_file.as_deref()
    }
}

fn limits_from(block: &Value) -> Result<Limits, String> {
    let mut limits = Limits::default();
    for (key, value) in block.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let number = value.as_u64().ok_or_else(|| format!("yurt.limits.{key} = {value}: must be a whole number"))?;
        limits.set(key, number).map_err(|why| format!("yurt.{why}"))?;
    }
    Ok(limits)
}

impl HostConfig {
    /// Reads the evaluated block; `null` is an absent one. The error names key, value and what is allowed.
    pub(crate) fn from_json(block: &Value) -> Result<HostConfig, String> {
        let default = HostConfig::default();
        let text = |key: &str| block.get(key).and_then(Value::as_str);
        let span = |key: &'static str, least: Duration, most: Duration, otherwise: Duration| {
            text(key).map_or(Ok(otherwise), |given| duration_within(key, given, least, most))
        };
        let config = HostConfig {
            common: Common::from_json(block)?,
            settle: span("settle", Duration::ZERO, Duration::from_secs(10), default.settle)?,
            settle_max: span("settle_max", Duration::from_millis(100), Duration::from_secs(60), default.settle_max)?,
            grace: span("grace", Duration::ZERO, Duration::from_secs(3600), default.grace)?,
            grants: grants_from(block.get("grants").unwrap_or(&Value::Null)),
            nodes: Access {
                mode: text("node_mode").map_or(Ok(default.nodes.mode), node_mode)?,
                group: text("node_group").map(node_group).transpose()?,
            },
        };
        if config.settle_max < config.settle {
            return Err(format!(
                "yurt.settle_max = {:?}: must not be less than yurt.settle, which is {:?}",
                config.settle_max, config.settle
            ));
        }
        Ok(config)
    }
}

fn node_mode(given: &str) -> Result<u32, String> {
    let octal = given.strip_prefix('0').filter(|digits| digits.len() == 3).and_then(|d| u32::from_str_radix(d, 8).ok());
    octal.filter(|mode| mode & 0o111 == 0).ok_or_else(|| {
        format!(
            "yurt.node_mode = {given:?}: must be permissions for reading and writing in octal digits, such as \"0660\""
        )
    })
}

/// A group by its name or number.
fn node_group(given: &str) -> Result<u32, String> {
    let wrong = |why: String| format!("yurt.node_group = {given:?}: {why}");
    if let Ok(number) = given.parse::<u32>() {
        return Ok(number);
    }
    let file = std::fs::read_to_string("/etc/group").map_err(|why| wrong(format!("/etc/group: {why}")))?;
    let of = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(given)).then(|| fields.nth(1)?.parse().ok())?
    };
    file.lines().find_map(of).ok_or_else(|| wrong("no group in /etc/group has that name".to_owned()))
}

fn grants_from(block: &Value) -> Grants {
    let flag = |key: &str| block.get(key).and_then(Value::as_bool).unwrap_or_default();
    Grants { sharing: flag("sharing"), root_hubs: flag("root_hubs"), mounted_disks: flag("mounted_disks") }
}

/// `error` to `trace`.
pub(crate) fn log_level(given: &str) -> Result<Level, String> {
    given.parse().map_err(|_| {
        format!("yurt.log_level = {given:?}: must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"")
    })
}

pub(crate) fn duration_within(key: &str, given: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    go_duration(given).filter(|span| *span >= least && *span <= most).ok_or_else(|| {
        format!(
            "yurt.{key} = {given:?}: must be a duration such as \"250ms\" or \"2s\", from {} to {most:?}",
            if least.is_zero() { "0s".to_owned() } else { format!("{least:?}") }
        )
    })
}

/// Go's duration syntax without a sign: numbers with units `ns`, `us`, `ms`, `s`, `m`, `h`, written together (`1m30s`).
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(unit_end)?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = next;
    }
    (!text.is_empty()).then_some(())?;
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_absent_block_is_the_default() {
        assert_eq!(HostConfig::from_json(&Value::Null), Ok(HostConfig::default()));
    }

    #[test]
    fn the_schema_parses_and_every_key_is_read() {
        spec().unwrap();
        let config = HostConfig::from_json(
            &json!({"log_level": "debug", "settle": "1s", "settle_max": "1m30s", "grace": "1.5s"}),
        );
        let why = config.unwrap_err();
        assert!(why.contains("yurt.settle_max") && why.contains("60s"), "{why}");
        let config = HostConfig::from_json(
            &json!({"log_level": "debug", "settle": "1s", "grace": "1.5s", "grants": {"sharing": true}}),
        )
        .unwrap();
        assert_eq!(config.common.log_level, Level::DEBUG);
        assert_eq!((config.settle, config.grace), (Duration::from_secs(1), Duration::from_millis(1500)));
        assert_eq!(config.grants, Grants { sharing: true, ..Grants::default() });
    }

    #[test]
    fn every_limit_is_a_key_of_the_block() {
        let Spec::Object(keys) = spec().unwrap() else { panic!("an object") };
        let Some(Spec::Block(block)) = keys.get("limits") else { panic!("a block") };
        let Spec::Object(rows) = &*block.nested else { panic!("an object") };
        assert_eq!(rows.len(), limits::TABLE.len());
        let config = HostConfig::from_json(&json!({"limits": {"group_deadline": 500, "memory": null}})).unwrap();
        assert_eq!(config.common.limits.group_deadline, Duration::from_millis(500));
        assert_eq!(config.common.limits.memory, Limits::default().memory);
    }

    #[test]
    fn errors_name_key_value_and_range() {
        for (block, words) in [
            (json!({"log_level": "loud"}), ["log_level", "loud", "trace"]),
            (json!({"settle": "soon"}), ["settle", "soon", "250ms"]),
            (json!({"settle": "-1s"}), ["settle", "-1s", "10s"]),
            (json!({"grace": "2h"}), ["grace", "2h", "3600s"]),
            (json!({"metrics": "0.0.0.0:9177"}), ["yurt.metrics", "0.0.0.0", "127.0.0.1:9177"]),
            (json!({"policy_file": "rules.hcl"}), ["yurt.policy_file", "rules.hcl", "absolute"]),
            (json!({"guest_digest": "latest"}), ["yurt.guest_digest", "latest", "64 digits"]),
            (json!({"limits": {"memory": 1}}), ["yurt.limits: memory = 1", "1048576", "1073741824 bytes"]),
            (json!({"limits": {"group_deadline": 1.5}}), ["yurt.limits.group_deadline", "1.5", "whole"]),
            (json!({"node_mode": "777"}), ["yurt.node_mode", "777", "\"0660\""]),
            (json!({"node_mode": "0755"}), ["yurt.node_mode", "0755", "octal"]),
            (json!({"node_group": "no such"}), ["yurt.node_group", "no such", "/etc/group"]),
            (json!({"settle": "9s", "settle_max": "3s"}), ["settle_max", "3s", "9s"]),
        ] {
            let why = HostConfig::from_json(&block).unwrap_err();
            for word in words {
                assert!(why.contains(word), "{why:?} lacks {word:?}");
            }
        }
    }

    #[test]
    fn durations_are_go_s() {
        for (text, millis) in
            [("10s", 10_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("250ms", 250), ("0", 0), ("0s", 0)]
        {
            assert_eq!(go_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "1x", "-1s", "1..5s", "1e300h"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }
}

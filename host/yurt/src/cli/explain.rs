//! `yurt explain`: one device, what is known of it, what becomes of it under a configuration, and how a job asks for it.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use yurt_nomad::attribute::{self, parse_literal};
use yurt_nomad::device::{Group, Health};
use yurt_usb::facts::{Device as Facts, SerialQuality, Snapshot};

use super::devices::title;
use super::term::{Out, Style};
use super::under::{Decides, Under};
use crate::check::Offer;
use crate::convert;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A port (1-1.4), ids (10c4:ea60), a serial number, an offered id (sn-0001) or a node (/dev/ttyUSB0)
    device: String,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    facts: super::under::Facts,
    /// One JSON object for each device
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut out = Out::new();
    let decides = arguments.under.decides()?;
    let facts = arguments.facts.read()?;
    let (offer, refused) = decides.offer(&facts)?;

    let found: Vec<&Facts> =
        facts.devices.iter().map(AsRef::as_ref).filter(|device| is_meant(&arguments.device, device, &offer)).collect();
    if found.is_empty() {
        let trouble = facts.trouble.first().map_or_else(String::new, |trouble| format!(" ({trouble})"));
        bail!(
            "{}: no such device among the {} that are here{trouble}: `yurt devices` lists them",
            arguments.device,
            facts.devices.len()
        );
    }
    for device in found {
        let verdict = verdict(&decides, &facts, device, &offer, &refused)?;
        if arguments.json {
            out.line(&verdict.json(device).to_string())?;
        } else {
            known(&mut out, &facts, device)?;
            verdict.print(&mut out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_meant(what: &str, device: &Facts, offer: &Offer) -> bool {
    let ids = format!("{:04x}:{:04x}", device.vendor_id, device.product_id);
    device.key == what
        || ids.eq_ignore_ascii_case(what)
        || device.serial.as_ref().is_some_and(|serial| serial.text == what)
        || device.nodes.iter().any(|node| node.path == what || node.links.iter().any(|link| link == what))
        || device.network.iter().any(|network| network.name == what)
        || offer.instances.get(what).is_some_and(|one| one.instance.members.contains(&device.key))
}

/// What becomes of a device.
struct Verdict {
    /// The place of the rule that decides, where the configuration has rules.
    rule: Option<usize>,
    outcome: Outcome,
}

enum Outcome {
    Offered {
        group: String,
        id: String,
        reason: Option<String>,
        others: usize,
        matchable: bool,
    },
    Hub,
    NoRule,
    Denied,
    /// The host left its group out.
    LeftOut(String),
}

fn verdict(
    decides: &Decides,
    facts: &Snapshot,
    device: &Facts,
    offer: &Offer,
    refused: &[String],
) -> anyhow::Result<Verdict> {
    let rule = deciding(decides, facts, device)?;
    let of = |group: &Group| {
        group
            .instances
            .iter()
            .position(|one| offer.instances.get(&one.id).is_some_and(|one| one.instance.members.contains(&device.key)))
    };
    let outcome = match offer.groups.iter().find_map(|group| Some((group, of(group)?))) {
        Some((group, place)) => {
            let one = &group.instances.get(place).context("an instance is missing")?;
            let reason = match &one.health {
                Health::Healthy { .. } => None,
                Health::Unhealthy { reason } => Some(reason.clone()),
            };
            Outcome::Offered {
                group: format!("{}/{}/{}", group.vendor, group.kind, group.name),
                id: one.id.clone(),
                reason,
                others: group.instances.len() - 1,
                // By the rules with which Nomad reads a job's literal.
                matchable: matches!(parse_literal(&one.id).value, attribute::Value::Text(_)),
            }
        }
        None if rule.is_some_and(|(_, allows)| allows) => {
            Outcome::LeftOut(refused.first().cloned().unwrap_or_else(|| "the policy does not offer it".to_owned()))
        }
        None if rule.is_some() => Outcome::Denied,
        None if device.is_hub => Outcome::Hub,
        None => Outcome::NoRule,
    };
    Ok(Verdict { rule: rule.map(|(place, _)| place), outcome })
}

/// The rule that decides about a device, and whether it allows it: the first with which the rules up to it offer the device, or keep a
/// rule behind it that allows everything from doing so.
fn deciding(decides: &Decides, facts: &Snapshot, device: &Facts) -> anyhow::Result<Option<(usize, bool)>> {
    let Some(rules) = decides.config.get("rule").and_then(Value::as_array) else { return Ok(None) };
    let offered = |rules: Vec<Value>| -> anyhow::Result<bool> {
        let mut config = decides.config.clone();
        for (key, value) in
            [("rule", Value::Array(rules)), ("target_vendor_id", json!(0)), ("target_product_id", json!(0))]
        {
            if let Some(given) = config.get_mut(key) {
                *given = value;
            }
        }
        let answer = decides.policy.policy.group(&config.to_string(), &convert::snapshot(facts), None);
        let groups = answer.map_err(|why| anyhow!("{why}"))?.map_or_else(|_| Vec::new(), |offer| offer.groups);
        Ok(groups.iter().flat_map(|group| &group.instances).any(|one| one.members.contains(&device.key)))
    };
    if !device.is_hub && !offered(vec![json!({})])? {
        return Ok(None);
    }
    for place in 0..rules.len() {
        let upto = rules.get(..=place).unwrap_or_default().to_vec();
        if offered(upto.clone())? {
            return Ok(Some((place, true)));
        }
        if !device.is_hub && !offered([upto, vec![json!({})]].concat())? {
            return Ok(Some((place, false)));
        }
    }
    Ok(None)
}

fn known(out: &mut Out, facts: &Snapshot, device: &Facts) -> anyhow::Result<()> {
    out.heading(&device.key, &format!("{:04x}:{:04x}  {}", device.vendor_id, device.product_id, title(device)))?;
    let above = std::iter::successors(device.parent.as_deref(), |key| facts.device(key)?.parent.as_deref());
    let above: Vec<&str> = above.take(8).collect();
    let serial = device.serial.as_ref().map(|serial| {
        let quality = match device.serial_quality {
            SerialQuality::Absent | SerialQuality::Unique => "no other device has it",
            SerialQuality::Shared => "another device has the same one, so its place makes the id",
            SerialQuality::Placeholder => "a placeholder, so its place makes the id",
        };
        format!("{} ({quality})", serial.text)
    });
    let interfaces = device.interfaces.iter().map(|interface| {
        let codes = interface.codes;
        let driver = interface.driver.as_deref().unwrap_or("no driver");
        format!("{} {:02x}/{:02x}/{:02x} {driver}", interface.number, codes.base, codes.sub, codes.protocol)
    });
    let nodes = device.nodes.iter().map(|node| {
        let used = if node.in_use { " (in use on this machine)" } else { "" };
        format!("{}{used}", node.path)
    });
    let network = device.network.iter().map(|network| network.name.clone());
    let mut access = Vec::new();
    if !device.access.authorised {
        access.push("not authorised");
    }
    if !device.access.openable {
        access.push("may not be opened by this user");
    }
    if device.access.over_current {
        access.push("over-current at its port");
    }
    let rows = [
        ("behind", (!above.is_empty()).then(|| above.join(" < "))),
        ("serial", Some(serial.unwrap_or_else(|| "none, so its place makes the id".to_owned()))),
        ("interfaces", some(interfaces.collect())),
        ("nodes", some(nodes.chain(network).collect())),
        (
            "link",
            (device.link.mbit > 0).then(|| {
                let slow = if device.link.degraded { ", slower than both ends could" } else { "" };
                format!("{} Mbit/s{slow}", device.link.mbit)
            }),
        ),
        ("access", some(access.into_iter().map(str::to_owned).collect())),
    ];
    for (name, text) in rows {
        if let Some(text) = text {
            out.line(&format!("  {name:<11} {text}"))?;
        }
    }
    Ok(())
}

fn some(all: Vec<String>) -> Option<String> {
    (!all.is_empty()).then(|| all.join(", "))
}

impl Verdict {
    fn print(&self, out: &mut Out) -> anyhow::Result<()> {
        let rule = self.rule.map_or_else(String::new, |place| format!(", by rule[{place}]"));
        match &self.outcome {
            Outcome::Offered { group, id, reason, others, matchable } => {
                let health = match reason {
                    None => out.paint(Style::Good, "healthy"),
                    Some(reason) => out.paint(Style::Bad, &format!("given to no task: {reason}")),
                };
                let others = match others {
                    0 => String::new(),
                    others => format!(", with {others} more in the group"),
                };
                out.line(&format!("  offered as {group}, id {}{rule}{others}", out.paint(Style::Name, id)))?;
                out.line(&format!("  {health}"))?;
                for line in block(group, id).lines() {
                    out.line(&format!("    {line}"))?;
                }
                if !matchable {
                    out.line(&out.paint(
                        Style::Bad,
                        "  Nomad reads that id as another type than text, so no constraint can name it",
                    ))?;
                }
            }
            Outcome::Hub => out.line("  not offered: a hub, which only a rule with class = \"hub\" offers")?,
            Outcome::NoRule => out.line("  not offered: no rule matches it")?,
            Outcome::Denied => out.line(&format!("  not offered{rule}, which denies it"))?,
            Outcome::LeftOut(why) => out.line(&format!("  not offered{rule}, but: {}", out.paint(Style::Bad, why)))?,
        }
        Ok(())
    }

    fn json(&self, device: &Facts) -> Value {
        let mut all = json!({ "device": device, "rule": self.rule });
        let more = match &self.outcome {
            Outcome::Offered { group, id, reason, others, matchable } => json!({
                "offered": true, "group": group, "id": id, "unhealthy": reason, "others": others, "matchable": matchable,
                "block": block(group, id),
            }),
            Outcome::Hub => json!({ "offered": false, "why": "hub" }),
            Outcome::NoRule => json!({ "offered": false, "why": "no rule" }),
            Outcome::Denied => json!({ "offered": false, "why": "denied" }),
            Outcome::LeftOut(why) => json!({ "offered": false, "why": why }),
        };
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
        all
    }
}

/// What gets a job this very device.
fn block(group: &str, id: &str) -> String {
    format!(
        "device \"{group}\" {{\n  constraint {{\n    attribute = \"${{device.ids}}\"\n    operator  = \"set_contains_any\"\n    value     = \"{id}\"\n  }}\n}}"
    )
}

//! What came over the wire, for people.

use std::time::Duration;

use anyhow::Context as _;
use yurt_nomad::attribute::{Attribute, Value};
use yurt_nomad::device::{Group, Health, InstanceStats, Reservation, Stat, StatTree};

use crate::cli::term::{Out, Style};

/// `38 ms`, `1.2 s`.
pub(super) fn span(span: Duration) -> String {
    match span.as_millis() {
        0 => format!("{} µs", span.as_micros()),
        millis @ 1..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", span.as_secs_f64()),
    }
}

pub(super) fn groups(out: &mut Out, groups: &[Group]) -> anyhow::Result<()> {
    groups.iter().try_for_each(|one| group(out, one))
}

/// The group that holds an instance.
pub(super) fn group_of(out: &mut Out, groups: &[Group], id: &str) -> anyhow::Result<()> {
    let holds = |group: &&Group| group.instances.iter().any(|instance| instance.id == id);
    group(out, groups.iter().find(holds).with_context(|| format!("no group holds {id}"))?)
}

fn group(out: &mut Out, group: &Group) -> anyhow::Result<()> {
    out.line(&format!("  {}", out.paint(Style::Strong, &format!("{}/{}/{}", group.vendor, group.kind, group.name))))?;
    for instance in &group.instances {
        let health = match &instance.health {
            Health::Healthy { note } if note.is_empty() => out.paint(Style::Good, "healthy"),
            Health::Healthy { note } => format!("{} ({note})", out.paint(Style::Good, "healthy")),
            Health::Unhealthy { reason } => format!("{}: {reason}", out.paint(Style::Bad, "unhealthy")),
        };
        let near = instance
            .pci_bus_id
            .as_ref()
            .map(|at| out.paint(Style::Faint, &format!("  at PCI {at}")))
            .unwrap_or_default();
        out.line(&format!("    {}  {health}{near}", out.paint(Style::Name, &instance.id)))?;
    }
    let attributes = group.attributes.iter().map(|(name, attribute)| format!("{name}={}", attribute_text(attribute)));
    for line in wrapped(attributes, 92) {
        out.line(&format!("    {}", out.paint(Style::Faint, &line)))?;
    }
    Ok(())
}

pub(super) fn reservation(out: &mut Out, reservation: &Reservation) -> anyhow::Result<()> {
    for device in &reservation.devices {
        let task =
            if device.task_path == device.host_path { String::new() } else { format!(" as {}", device.task_path) };
        out.line(&format!("  device  {}{task}  {}", out.paint(Style::Name, &device.host_path), device.permissions))?;
    }
    for mount in &reservation.mounts {
        out.line(&format!("  mount   {}  {}", out.paint(Style::Name, &mount.host_path), mount.task_path))?;
    }
    for (name, value) in &reservation.envs {
        out.line(&format!("  env     {}={value}", out.paint(Style::Name, name)))?;
    }
    Ok(())
}

pub(super) fn figures(out: &mut Out, stats: &InstanceStats) -> anyhow::Result<()> {
    let mut all = Vec::new();
    flatten(&stats.stats, "", &mut all);
    for line in wrapped(all.into_iter(), 92) {
        out.line(&format!("  {line}"))?;
    }
    Ok(())
}

fn flatten(tree: &StatTree, above: &str, into: &mut Vec<String>) {
    into.extend(tree.values.iter().map(|(name, stat)| format!("{above}{name}={}", stat_text(stat))));
    for (name, branch) in &tree.branches {
        flatten(branch, &format!("{above}{name}."), into);
    }
}

fn stat_text(stat: &Stat) -> String {
    let whole = stat.out_of.map(|whole| format!("/{whole}")).unwrap_or_default();
    format!("{}{whole} {}", value(&stat.value), stat.unit).trim_end().to_owned()
}

pub(super) fn attribute_text(attribute: &Attribute) -> String {
    let unit = attribute.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
    format!("{}{unit}", value(&attribute.value))
}

fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    }
}

/// Words two blanks apart, in lines of at most `width` characters where a word fits at all.
fn wrapped(words: impl Iterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + word.chars().count() <= width => {
                line.push_str("  ");
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

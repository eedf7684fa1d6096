//! Answers held against the limits, before anything else looks at them.
//!
//! What Nomad and the operator allow is judged elsewhere; here an answer only must be of a size that a host can handle.

use crate::error::Cause;
use crate::limits::Limits;
use crate::usb::{
    Attribute, Description, Diagnostic, EnvValue, Figure, GroupName, Health, Instance, InstanceStats, Offer,
    Reservation, Value,
};

/// Bytes of a guest's configuration schema.
const SPEC: u64 = 64 << 10;

pub(crate) fn description(answer: &Description, limits: &Limits) -> Result<(), Cause> {
    let Description { name, version, summary, config_spec } = answer;
    texts([name, version, summary].map(String::as_str), limits)?;
    within("bytes of configuration schema", config_spec.len(), SPEC, "fixed")
}

pub(crate) fn diagnostics(answer: &[Diagnostic], limits: &Limits) -> Result<(), Cause> {
    within("diagnostics", answer.len(), limits.entries, "entries")?;
    answer.iter().try_for_each(|Diagnostic { path, message, hint, severity: _ }| {
        texts([path.as_str(), message, hint.as_deref().unwrap_or_default()], limits)
    })
}

pub(crate) fn offer(answer: &Offer, limits: &Limits) -> Result<(), Cause> {
    let Offer { groups, memory, ask_again_milliseconds: _ } = answer;
    within("groups", groups.len(), limits.groups, "groups")?;
    within(
        "instances",
        groups.iter().map(|group| group.instances.len()).sum(),
        limits.offered_instances,
        "offered_instances",
    )?;
    within("bytes of memory to be remembered", memory.as_deref().map_or(0, str::len), limits.remembered, "remembered")?;
    groups.iter().try_for_each(|group| {
        let GroupName { vendor, kind, name } = &group.name;
        texts([vendor, kind, name].map(String::as_str), limits)?;
        within("attributes in a group", group.attributes.len(), limits.attributes, "attributes")?;
        group.attributes.iter().try_for_each(|Attribute { name, value: its, unit }| {
            texts([name, value(its), unit.as_deref().unwrap_or_default()], limits)
        })?;
        group.instances.iter().try_for_each(|one| instance(one, limits))
    })
}

pub(crate) fn reservation(answer: &Reservation, limits: &Limits) -> Result<(), Cause> {
    let Reservation { env, nodes, mounts } = answer;
    within("environment variables", env.len(), limits.entries, "entries")?;
    within("device nodes", nodes.len(), limits.entries, "entries")?;
    within("mounts", mounts.len(), limits.entries, "entries")?;
    env.iter().try_for_each(|one| {
        let value = if let EnvValue::Text(text) = &one.value { text.as_str() } else { "" };
        texts([one.name.as_str(), value], limits)
    })?;
    nodes
        .iter()
        .try_for_each(|one| texts([one.member.as_str(), one.task_path.as_deref().unwrap_or_default()], limits))?;
    mounts
        .iter()
        .try_for_each(|one| texts([one.instance_id.as_str(), one.task_path.as_deref().unwrap_or_default()], limits))
}

pub(crate) fn stats(answer: &[InstanceStats], limits: &Limits) -> Result<(), Cause> {
    within("instances", answer.len(), limits.offered_instances, "offered_instances")?;
    answer.iter().try_for_each(|InstanceStats { id, summary, figures }| {
        texts([id.as_str()], limits)?;
        within("figures of an instance", figures.len(), limits.attributes, "attributes")?;
        std::iter::once(summary).chain(figures).try_for_each(|figure| {
            let Figure { path, value: its, out_of: _, unit, description } = figure;
            texts([path, value(its), unit, description], limits)
        })
    })
}

fn instance(answer: &Instance, limits: &Limits) -> Result<(), Cause> {
    let Instance { id, members, share, health } = answer;
    let reason = if let Health::Unhealthy(reason) = health { reason.as_str() } else { "" };
    texts([id, share.as_deref().unwrap_or_default(), reason], limits)?;
    within("members of an instance", members.len(), limits.members, "members")?;
    members.iter().try_for_each(|member| texts([member.as_str()], limits))
}

fn value(value: &Value) -> &str {
    if let Value::Text(text) = value { text } else { "" }
}

fn texts<const N: usize>(texts: [&str; N], limits: &Limits) -> Result<(), Cause> {
    texts.iter().try_for_each(|text| within("bytes in one text", text.len(), limits.text, "text"))
}

fn within(what: &'static str, size: usize, limit: u64, key: &'static str) -> Result<(), Cause> {
    match u64::try_from(size) {
        Ok(size) if size <= limit => Ok(()),
        size => Err(Cause::TooLarge { what, size: size.unwrap_or(u64::MAX), limit, key }),
    }
}

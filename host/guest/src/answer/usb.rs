//! What a USB policy answers.

use super::{attributes, optional, texts, value, within};
use crate::error::Cause;
use crate::limits::Limits;
use crate::usb::{EnvValue, Figure, GroupName, Health, Instance, InstanceStats, Offer, Reservation};

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
        attributes("attributes in a group", &group.attributes, limits)?;
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
    nodes.iter().try_for_each(|one| texts([one.member.as_str(), optional(&one.task_path)], limits))?;
    mounts.iter().try_for_each(|one| texts([one.instance_id.as_str(), optional(&one.task_path)], limits))
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
    texts([id, optional(share), reason], limits)?;
    within("members of an instance", members.len(), limits.members, "members")?;
    members.iter().try_for_each(|member| texts([member.as_str()], limits))
}

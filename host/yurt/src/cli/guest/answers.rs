//! What a policy answers to a golden case, after the host held it against facts, grants and Nomad's rules: as JSON for people.

use serde_json::{Map, Value, json};
use yurt_guest::UsbPolicy;
use yurt_guest::usb as wit;
use yurt_nomad::attribute::{self, Attribute};
use yurt_nomad::config::{from_msgpack, to_msgpack};
use yurt_nomad::device::{self, HEALTHY_COUNT};
use yurt_nomad::schema::Spec;

use super::cases::Asked;
use crate::check::{self, Grants, Offer};
use crate::{convert, device_plugin, diagnostics, folders, reserve};

/// No operator is asked about an author's cases.
const RIGHTS: reserve::Rights<'_> = reserve::Rights { grants: Grants::ALL, folders: Some(folders::USUAL) };

/// The answers to one case.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// By call.
    pub(super) given: Map<String, Value>,
    /// What the host would refuse, or no job could use: wrong whatever is expected.
    pub(super) wrong: Vec<String>,
}

/// Asks in the order of a plugin's life. An error is the guest's failure, or a case that makes no sense.
pub(super) fn answers(policy: &UsbPolicy, schema: &Spec, asked: &Asked) -> Result<Answers, String> {
    let mut answers = Answers::default();
    // The way of an agent's configuration: the schema fills in what was left out.
    let packed = to_msgpack(&Value::Object(asked.config.clone()));
    let config =
        from_msgpack(&packed, schema).map_err(|why| why.to_string()).and_then(device_plugin::split)?.0.to_string();

    let findings = policy.check_config(&config).map_err(|why| why.to_string())?;
    answers.give("check-config", findings.iter().map(finding).collect());
    if diagnostics::refusal(&findings).is_some() {
        // No plugin gets further.
        return Ok(answers);
    }

    let facts = convert::snapshot(&asked.facts);
    let memory = asked.memory.as_ref().map(Value::to_string);
    let offer = match policy.group(&config, &facts, memory.as_deref()).map_err(|why| why.to_string())? {
        Ok(offer) => offer,
        Err(why) => {
            answers.give("group", json!({ "error": why }));
            return Ok(answers);
        }
    };
    let (checked, refused) = check::offer(&offer, &asked.facts, Grants::ALL);
    answers.wrong.extend(refused.iter().map(|refusal| format!("the host leaves out {refusal}")));
    answers.wrong.extend(checked.groups.iter().flat_map(unmatchable));
    answers.give("group", offered(&offer, &checked));

    for ids in &asked.reserve {
        let name = format!("reserve {}", ids.join(" "));
        let answer = reserved(policy, &config, asked, &checked, ids)?;
        answers.give(&name, answer.unwrap_or_else(|why| json!({ "error": why })));
    }

    let counters = asked.counters();
    if !counters.is_empty() {
        let instances: Vec<wit::Instance> = checked.instances.values().map(|one| one.instance.clone()).collect();
        let stats = policy.stats(&config, &convert::counters(&counters), &instances).map_err(|why| why.to_string())?;
        answers.give("stats", stats.map_or_else(|why| json!({ "error": why }), |stats| figures(&stats)));
    }
    Ok(answers)
}

impl Answers {
    pub(super) fn give(&mut self, call: &str, answer: Value) {
        self.given.insert(call.to_owned(), answer);
    }
}

pub(super) fn finding(from: &wit::Diagnostic) -> Value {
    let severity = match from.severity {
        wit::Severity::Error => "error",
        wit::Severity::Warning => "warning",
    };
    without_nulls(json!({ "severity": severity, "path": from.path, "message": from.message, "hint": from.hint }))
}

/// As Nomad would see it, but for what the host adds by itself.
fn offered(answer: &wit::Offer, checked: &Offer) -> Value {
    let groups: Map<String, Value> = (checked.groups.iter())
        .map(|group| (format!("{}/{}/{}", group.vendor, group.kind, group.name), offered_group(group, checked)))
        .collect();
    let memory = answer.memory.as_ref().map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
    without_nulls(
        json!({ "groups": groups, "memory": memory, "ask-again-milliseconds": answer.ask_again_milliseconds }),
    )
}

fn offered_group(group: &device::Group, checked: &Offer) -> Value {
    let attributes = group.attributes.iter().filter(|(name, _)| *name != HEALTHY_COUNT);
    let attributes: Map<String, Value> = attributes.map(|(name, value)| (name.clone(), as_json(value))).collect();
    let instances: Map<String, Value> = (group.instances.iter())
        .map(|instance| {
            let members = checked.instances.get(&instance.id).map(|offered| &offered.instance.members);
            let health = match &instance.health {
                device::Health::Healthy { .. } => json!("healthy"),
                device::Health::Unhealthy { reason } => json!({ "unhealthy": reason }),
            };
            (instance.id.clone(), json!({ "members": members, "health": health }))
        })
        .collect();
    json!({ "attributes": attributes, "instances": instances })
}

pub(super) fn as_json(attribute: &Attribute) -> Value {
    let value = match &attribute.value {
        attribute::Value::Text(text) => json!(text),
        attribute::Value::Integer(number) => json!(number),
        attribute::Value::Float(number) => json!(number),
        attribute::Value::Flag(flag) => json!(flag),
    };
    match &attribute.unit {
        Some(unit) => json!({ "value": value, "unit": unit }),
        None => value,
    }
}

/// Attributes that no job's constraint can be equal to.
fn unmatchable(group: &device::Group) -> Vec<String> {
    (group.attributes.iter())
        .filter(|(_, value)| !attribute::matchable(value))
        .map(|(name, value)| {
            format!(
                "attribute {name} = {} of {}/{}/{}: Nomad reads that literal as another type, so no constraint can name it",
                as_json(value),
                group.vendor,
                group.kind,
                group.name
            )
        })
        .collect()
}

/// What a task would get. The outer error is the guest's failure, the inner one an answer.
fn reserved(
    policy: &UsbPolicy,
    config: &str,
    asked: &Asked,
    checked: &Offer,
    ids: &[String],
) -> Result<Result<Value, String>, String> {
    let mut offered = Vec::new();
    for id in ids {
        match checked.instances.get(id) {
            Some(one) => offered.push(one.clone()),
            None => return Ok(Err(format!("no device {id:?} is offered"))),
        }
    }
    let Some(group) = offered.first().map(|first| first.group.clone()) else { return Ok(Err("no id is given".into())) };
    let devices = reserve::relevant(&asked.facts, &offered);
    let facts = wit::Snapshot { number: asked.facts.number, devices, trouble: asked.facts.trouble.clone() };
    let instances: Vec<wit::Instance> = offered.iter().map(|one| one.instance.clone()).collect();
    let answer = policy.reserve(config, &facts, &group, &instances).map_err(|why| why.to_string())?;
    Ok(answer.and_then(|answer| reserve::check(&answer, &facts, &offered, RIGHTS)).map(|checked| {
        let reservation = checked.reservation;
        let device = |node: &device::DeviceNode| {
            json!({ "host-path": node.host_path, "task-path": node.task_path, "permissions": node.permissions })
        };
        json!({ "env": reservation.envs, "devices": reservation.devices.iter().map(device).collect::<Vec<_>>() })
    }))
}

fn figures(stats: &[wit::InstanceStats]) -> Value {
    let figure = |figure: &wit::Figure| {
        let value = match &figure.value {
            wit::Value::Text(text) => json!(text),
            wit::Value::Integer(number) => json!(number),
            wit::Value::Number(number) => json!(number),
            wit::Value::Flag(flag) => json!(flag),
        };
        without_nulls(json!({
            "path": figure.path,
            "value": value,
            "out-of": figure.out_of,
            "unit": figure.unit,
            "description": figure.description,
        }))
    };
    let instances: Map<String, Value> = (stats.iter())
        .map(|one| {
            let all: Vec<Value> = one.figures.iter().map(figure).collect();
            (one.id.clone(), json!({ "summary": figure(&one.summary), "figures": all }))
        })
        .collect();
    Value::Object(instances)
}

pub(super) fn without_nulls(mut object: Value) -> Value {
    if let Value::Object(entries) = &mut object {
        entries.retain(|_, value| !value.is_null());
    }
    object
}

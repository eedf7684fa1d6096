//! What a task driver's guest answers to a golden case, after its plan was held against the operator's grants: as JSON for people.

use serde_json::{Map, Value, json};
use yurt_guest::DriverLogic;
use yurt_guest::driver as wit;
use yurt_nomad::attribute;
use yurt_nomad::config::{from_msgpack, to_msgpack};

use super::answers::{Answers, as_json, finding, without_nulls};
use super::cases::{Asked, Seen};
use crate::choice::Driver;
use crate::driver::clamp::{self, Clamped};
use crate::driver::memo::Action;
use crate::{convert, diagnostics, driver_plugin};

/// Asks in the order of a driver's life. An error is the guest's failure, or a case that makes no sense.
pub(super) fn answers(driver: &Driver, asked: &Asked) -> Result<Answers, String> {
    let logic = &driver.logic;
    let mut answers = Answers::default();
    let evaluated = |keys: &Map<String, Value>, schema| {
        from_msgpack(&to_msgpack(&Value::Object(keys.clone())), schema).map_err(|why| why.to_string())
    };
    let wanted = logic.description().capabilities.isolation;
    let (keys, host) = driver_plugin::split(evaluated(&asked.config, &driver.schema)?, wanted)?;
    let config = &keys.to_string();

    let findings = logic.check_config(config).map_err(|why| why.to_string())?;
    answers.give("check-config", findings.iter().map(finding).collect());
    if diagnostics::refusal(&findings).is_some() {
        // No plugin gets further.
        return Ok(answers);
    }

    let probes = logic.probes(config).map_err(|why| why.to_string())?;
    answers.give("probes", probes.iter().map(|probe| json!({ "id": probe.id, "look": look(&probe.look) })).collect());
    let mut seen = look_up(&probes, &asked.node);
    let judged = logic.judge(config, &seen).map_err(|why| why.to_string())?;
    answers.wrong.extend(unmatchable(&judged));
    answers.give("judge", fingerprint(&judged));

    let Some(task) = &asked.task else { return Ok(answers) };
    let task = evaluated(task, &driver.task_schema)?.to_string();
    let findings = logic.check_task(config, &task, &asked.unknown).map_err(|why| why.to_string())?;
    answers.give("check-task", findings.iter().map(finding).collect());
    if diagnostics::refusal(&findings).is_some() {
        return Ok(answers);
    }

    let mut next = ask(logic, config, &task, &seen)?;
    if let Ok(wit::Next::LookInside(probes)) = &next {
        answers.give(
            "look-inside",
            probes.iter().map(|probe| json!({ "id": probe.id, "look": look(&probe.look) })).collect(),
        );
        seen.extend(look_up(probes, &asked.root));
        next = ask(logic, config, &task, &seen)?;
    }
    match next {
        Ok(wit::Next::Launch(plan)) => {
            match host.block.profiles.clamp(plan, &host.block.grants, host.isolation, None) {
                Ok((plan, _)) => answers.give("plan", launch(&plan)),
                Err(why) => answers.wrong.push(format!("the host refuses: {why}")),
            }
        }
        Ok(wit::Next::LookInside(_)) => answers.wrong.push("it asked to look inside twice".into()),
        Err(why) => {
            let error = json!({ "error": why.message, "path": why.path, "recoverable": why.recoverable });
            answers.give("plan", without_nulls(error));
        }
    }
    Ok(answers)
}

fn ask(
    logic: &DriverLogic,
    config: &str,
    task: &str,
    seen: &[wit::Finding],
) -> Result<Result<wit::Next, wit::PlanError>, String> {
    logic.plan(config, task, &view(), seen).map_err(|why| why.to_string())
}

/// What the case says that is seen; the rest is not there.
fn look_up(probes: &[wit::Probe], seen: &std::collections::BTreeMap<String, Seen>) -> Vec<wit::Finding> {
    let outcome = |id: &String| match seen.get(id) {
        Some(seen) => seen.outcome(),
        None => Err(wit::Trouble::Absent("the case says nothing of it".into())),
    };
    probes.iter().map(|probe| wit::Finding { id: probe.id.clone(), outcome: outcome(&probe.id) }).collect()
}

fn look(look: &wit::Look) -> Value {
    match look {
        wit::Look::Run(command) => json!({ "run": command }),
        wit::Look::Programs(glob) => json!({ "programs": glob }),
        wit::Look::Read(path) => json!({ "read": path }),
        wit::Look::Stat(path) => json!({ "stat": path }),
    }
}

fn fingerprint(judged: &wit::Fingerprint) -> Value {
    let health = match judged.health {
        wit::DriverHealth::Undetected => "undetected",
        wit::DriverHealth::Unhealthy => "unhealthy",
        wit::DriverHealth::Healthy => "healthy",
    };
    let attributes: Map<String, Value> = (convert::attributes(&judged.attributes).iter())
        .map(|(name, attribute)| (name.clone(), as_json(attribute)))
        .collect();
    json!({ "health": health, "reason": judged.reason, "attributes": attributes })
}

fn unmatchable(judged: &wit::Fingerprint) -> Vec<String> {
    (convert::attributes(&judged.attributes).iter())
        .filter(|(_, value)| !attribute::matchable(value))
        .map(|(name, value)| {
            format!(
                "attribute {name} = {}: Nomad reads that literal as another type, so no constraint can name it",
                as_json(value)
            )
        })
        .collect()
}

/// What a launch would be; what is as it always is is left out.
fn launch(plan: &Clamped) -> Value {
    let env = plan.env.iter().map(|(name, source)| {
        let value = match source {
            clamp::Source::Text(text) => json!(text),
            clamp::Source::SameAs(other) => json!({ "same-as": other }),
            clamp::Source::Before(directory, other) => json!({ "before": [directory, other] }),
        };
        (name.clone(), value)
    });
    let action = |action: &Action| json!(action);
    let mut launch = json!({
        "program": plan.argv,
        "env": env.collect::<Map<_, _>>(),
        "env-drop": plan.env_drop,
        "work-dir": plan.work_dir,
        "user": plan.user,
        "init": plan.init,
        "private": {
            "pid": plan.private_pid, "ipc": plan.private_ipc, "uts": plan.private_uts,
            "user": plan.private_user, "cgroup": plan.private_cgroup, "time": plan.private_time,
        },
        "limits": plan.asked_limits.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>(),
        "seccomp": plan.seccomp,
        "cgroups": plan.elsewhere.iter().map(|one| json!({ "controller": one.controller, "path": one.path })).collect::<Vec<_>>(),
        "signals": plan.signals.iter().map(|(signal, to)| json!({ "signal": signal, "action": action(to) })).collect::<Vec<_>>(),
        "stop": plan.stop.iter().map(|step| json!({ "action": action(&step.action), "wait-milliseconds": step.wait_milliseconds })).collect::<Vec<_>>(),
        "exec-prefix": plan.exec_prefix,
        "exit-notes": plan.exit_notes.iter().map(|(code, text)| (code.to_string(), json!(text))).collect::<Map<_, _>>(),
        "note": plan.note,
    });
    if let Value::Object(entries) = &mut launch {
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        };
        entries.retain(|_, value| !is_empty(value));
    }
    launch
}

/// A task of a job that names no user, in a root of its own.
fn view() -> wit::TaskView {
    wit::TaskView {
        id: "8d1bc1b2-2f26-4a49-9f2e-0c9f4d1b4e7a/server/5f0c7d1e".into(),
        alloc_id: "8d1bc1b2-2f26-4a49-9f2e-0c9f4d1b4e7a".into(),
        task_name: "server".into(),
        group_name: "demo".into(),
        job_name: "demo".into(),
        job_id: "demo".into(),
        namespace: "default".into(),
        node_name: "node".into(),
        node_id: "5b7f0d6c-93a9-4f6f-9c3b-6e1a4c9f1c11".into(),
        user: String::new(),
        env_names: ["NOMAD_ALLOC_DIR", "NOMAD_SECRETS_DIR", "NOMAD_TASK_DIR", "PATH"].map(str::to_owned).to_vec(),
        alloc_dir: "/alloc".into(),
        local_dir: "/local".into(),
        secrets_dir: "/secrets".into(),
        memory_mb: 128,
        memory_max_mb: None,
        cpu_shares: 512,
        cores: Vec::new(),
        ports: Vec::new(),
        devices: Vec::new(),
    }
}

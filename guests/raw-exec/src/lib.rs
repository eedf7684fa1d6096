//! Yurt's raw_exec driver: programs beside the host's files, with the keys and the words of Nomad's own raw_exec driver, so that a job of that
//! one needs another `driver` and nothing else.

use std::collections::BTreeMap;

use serde::Deserialize;
use yurt_sdk::driver::{
    Capabilities, CgroupWish, DriverDescription, DriverHealth, Findings, Fingerprint, Isolation, LaunchPlan, Limit,
    Next, PlanError, TaskView, Unknown, Wishes,
};
use yurt_sdk::ids::Denied;
use yurt_sdk::{Description, Diagnostic, Said, TaskDriver, attribute, command};

/// The raw_exec driver.
pub struct RawExec;

/// The operator's configuration, with the defaults of its schema (`config.hcldec`).
#[derive(Debug, Deserialize)]
pub struct Config {
    enabled: bool,
    denied_envvars: Vec<String>,
    denied_host_uids: String,
    denied_host_gids: String,
}

/// A job's `config` block, with the defaults of its schema (`task.hcldec`).
#[derive(Debug, Deserialize)]
pub struct Task {
    command: String,
    args: Vec<String>,
    cgroup_v1_override: Vec<BTreeMap<String, String>>,
    cgroup_v2_override: String,
    oom_score_adj: i64,
    seccomp: String,
    work_dir: String,
    denied_envvars: Vec<String>,
}

/// Who a task runs as where the job does not say. Nomad's runs as the agent, which is root.
const USER: &str = "nobody";

impl TaskDriver for RawExec {
    type Config = Config;
    type Task = Task;

    fn describe() -> DriverDescription {
        DriverDescription {
            about: Description {
                // One called `raw_exec` would take the place of Nomad's own, whose running tasks it knows nothing of.
                name: "yurt-raw-exec".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                summary: "Runs programs beside the host's files, with the keys of Nomad's raw_exec driver.".into(),
                config_spec: include_str!("config.hcldec").into(),
            },
            task_spec: include_str!("task.hcldec").into(),
            capabilities: Capabilities { isolation: Isolation::None, mounts: false, ..Capabilities::in_a_root() },
        }
    }

    fn check_config(config: &Config) -> Vec<Diagnostic> {
        let mut said = Said::default();
        config.denied().check(&mut said);
        said.0
    }

    fn check_task(_: &Config, task: &Task, _: Unknown<'_>) -> Vec<Diagnostic> {
        let mut said = Said::default();
        if task.command.is_empty() {
            said.error("command", "command must be specified".into(), None);
        }
        if !task.cgroup_v1_override.is_empty() && !task.cgroup_v2_override.is_empty() {
            let message = "only one of cgroups_v1_override and cgroups_v2_override may be set";
            said.error("cgroup_v2_override", message.into(), Some("that of the version that the node has"));
        }
        if task.oom_score_adj < 0 {
            said.error("oom_score_adj", "oom_score_adj must not be negative".into(), Some("from 0 to 1000"));
        }
        command::check_work_dir(&task.work_dir, &mut said);
        said.0
    }

    fn judge(config: &Config, _: Findings<'_>) -> Fingerprint {
        if !config.enabled {
            let (health, reason) = (DriverHealth::Undetected, "disabled".into());
            return Fingerprint { health, reason, attributes: Vec::new() };
        }
        let attributes = vec![attribute::flag("driver.yurt-raw-exec", true)];
        Fingerprint { health: DriverHealth::Healthy, reason: "Healthy".into(), attributes }
    }

    fn plan(config: &Config, task: &Task, view: &TaskView, findings: Findings<'_>) -> Result<Next, PlanError> {
        if !config.enabled {
            return Err(PlanError::new("raw_exec is disabled: enabled = true in the driver's configuration allows it"));
        }
        let Some(program) = command::found(&task.command, view, findings)? else {
            return Ok(Next::LookInside(command::looks(&task.command, view)));
        };
        Ok(Next::Launch(LaunchPlan {
            note: Some(format!("runs {program}")),
            env_drop: [config.denied_envvars.as_slice(), &task.denied_envvars].concat(),
            work_dir: Some(task.work_dir.clone()).filter(|directory| !directory.is_empty()),
            user: Some(USER.into()),
            wishes: config.denied().added_to(Wishes {
                cgroups: task.cgroups(),
                limits: task.limits(),
                seccomp: Some(task.seccomp.clone()).filter(|name| !name.is_empty()),
                ..Wishes::none()
            }),
            ..LaunchPlan::of([&[program], task.args.as_slice()].concat())
        }))
    }
}

impl Config {
    fn denied(&self) -> Denied<'_> {
        Denied { uids: &self.denied_host_uids, gids: &self.denied_host_gids }
    }
}

impl Task {
    fn cgroups(&self) -> Vec<CgroupWish> {
        let of_v1 = self.cgroup_v1_override.iter().flatten();
        let of_v1 = of_v1.map(|(name, path)| CgroupWish { controller: Some(name.clone()), path: path.clone() });
        let of_v2 = Some(&self.cgroup_v2_override).filter(|path| !path.is_empty());
        of_v1.chain(of_v2.map(|path| CgroupWish { controller: None, path: path.clone() })).collect()
    }

    fn limits(&self) -> Vec<Limit> {
        let wish = |score: i64| Limit { name: "oom_score_adj".into(), value: score.to_string() };
        Some(self.oom_score_adj).filter(|score| *score != 0).map(wish).into_iter().collect()
    }
}

yurt_sdk::task_driver!(RawExec);

#[cfg(test)]
mod tests;

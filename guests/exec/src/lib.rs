//! Yurt's exec driver: programs of a task's root, with the keys and the words of Nomad's own exec driver, so that a job of that one needs
//! another `driver` and nothing else. A key that the host has nothing for is refused, never ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use yurt_sdk::driver::{
    Capabilities, DriverDescription, DriverHealth, Findings, Fingerprint, LaunchPlan, Limit, MountWish, Next,
    PlanError, TaskView, Unknown, Wishes,
};
use yurt_sdk::ids::Denied;
use yurt_sdk::isolation::{Asked, Own, Terms};
use yurt_sdk::signals::Signals;
use yurt_sdk::{Description, Diagnostic, Said, TaskDriver, attribute, command};

/// The exec driver.
pub struct Exec;

/// The operator's configuration, with the defaults of its schema (`config.hcldec`).
#[derive(Debug, Deserialize)]
pub struct Config {
    default_pid_mode: String,
    default_ipc_mode: String,
    allow_caps: Vec<String>,
    denied_host_uids: String,
    denied_host_gids: String,
}

/// A job's `config` block, with the defaults of its schema (`task.hcldec`).
#[derive(Debug, Deserialize)]
pub struct Task {
    command: String,
    args: Vec<String>,
    pid_mode: String,
    ipc_mode: String,
    userns_mode: String,
    cgroupns_mode: String,
    timens_mode: String,
    cap_add: Vec<String>,
    cap_drop: Vec<String>,
    work_dir: String,
    limits: Option<Vec<BTreeMap<String, String>>>,
    read_only_root: bool,
    seccomp: String,
    unveil: Vec<String>,
    signals: Option<BTreeMap<String, String>>,
    stop: Option<Vec<String>>,
}

/// Who a task runs as where the job does not say.
const USER: &str = "nobody";

impl TaskDriver for Exec {
    type Config = Config;
    type Task = Task;

    fn describe() -> DriverDescription {
        DriverDescription {
            about: Description {
                // One called `exec` would take the place of Nomad's own, whose running tasks it knows nothing of.
                name: "yurt-exec".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                summary: "Runs programs of the task's root, with the keys of Nomad's exec driver.".into(),
                config_spec: include_str!("config.hcldec").into(),
            },
            task_spec: include_str!("task.hcldec").into(),
            capabilities: Capabilities::in_a_root(),
        }
    }

    fn check_config(config: &Config) -> Vec<Diagnostic> {
        let mut said = Said::default();
        config.terms().check(&mut said);
        config.denied().check(&mut said);
        said.0
    }

    fn check_task(config: &Config, task: &Task, _: Unknown<'_>) -> Vec<Diagnostic> {
        let mut said = Said::default();
        if task.command.is_empty() {
            said.error("command", "command must be specified".into(), None);
        }
        task.asked().check(&config.terms(), &mut said);
        task.own().check(&mut said);
        task.signals().check(&mut said);
        command::check_work_dir(&task.work_dir, &mut said);
        for (at, path) in task.unveil.iter().enumerate() {
            if unveiled(path).is_none() {
                let message = format!("{path:?} is no mode and absolute path");
                said.error(&format!("unveil[{at}]"), message, Some("for example \"r:/etc/mime.types\""));
            }
        }
        said.0
    }

    /// What it takes to have a root and limits, the host looks for itself.
    fn judge(_: &Config, _: Findings<'_>) -> Fingerprint {
        let attributes = vec![attribute::flag("driver.yurt-exec", true)];
        Fingerprint { health: DriverHealth::Healthy, reason: "Healthy".into(), attributes }
    }

    fn plan(config: &Config, task: &Task, view: &TaskView, findings: Findings<'_>) -> Result<Next, PlanError> {
        let Some(program) = command::found(&task.command, view, findings)? else {
            return Ok(Next::LookInside(command::looks(&task.command, view)));
        };
        let wishes = task.own().added_to(task.asked().wishes(&config.terms(), USER, view)?, view)?;
        Ok(Next::Launch(LaunchPlan {
            note: Some(format!("runs {program}")),
            work_dir: Some(task.work_dir.clone()).filter(|directory| !directory.is_empty()),
            user: Some(USER.into()),
            wishes: config.denied().added_to(Wishes {
                limits: Limit::all(task.limits.as_deref()),
                read_only_root: task.read_only_root,
                mounts: task.unveil.iter().filter_map(|path| unveiled(path)).collect(),
                ..wishes
            }),
            signals: task.signals().rules(),
            stop: task.signals().steps(),
            ..LaunchPlan::of([&[program], task.args.as_slice()].concat())
        }))
    }
}

/// `rwxc:/srv/shared`: a path of the host that is to be as it is there.
fn unveiled(text: &str) -> Option<MountWish> {
    let (mode, path) = text.split_once(':')?;
    let wish = || MountWish { name: text.into(), task_path: path.into(), read_only: !mode.contains(['w', 'c']) };
    (!mode.is_empty() && mode.chars().all(|letter| "rwxc".contains(letter)) && path.starts_with('/')).then(wish)
}

impl Config {
    fn terms(&self) -> Terms<'_> {
        let Config { default_pid_mode, default_ipc_mode, allow_caps, .. } = self;
        Terms { default_pid_mode, default_ipc_mode, allow_caps }
    }

    fn denied(&self) -> Denied<'_> {
        Denied { uids: &self.denied_host_uids, gids: &self.denied_host_gids }
    }
}

impl Task {
    fn asked(&self) -> Asked<'_> {
        let Task { pid_mode, ipc_mode, cap_add, cap_drop, seccomp, .. } = self;
        Asked { pid_mode, ipc_mode, cap_add, cap_drop, seccomp }
    }

    fn own(&self) -> Own<'_> {
        let Task { userns_mode, cgroupns_mode, timens_mode, .. } = self;
        Own { userns_mode, cgroupns_mode, timens_mode }
    }

    fn signals(&self) -> Signals<'_> {
        Signals::of(&self.signals, &self.stop)
    }
}

yurt_sdk::task_driver!(Exec);

#[cfg(test)]
mod tests;

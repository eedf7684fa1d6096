//! Yurt's java driver: classes and jars, with the keys and the words of Nomad's own java driver, so that a job of that one needs another
//! `driver` and nothing else. `jvm.rs` is the node's Java.

mod jvm;

use serde::Deserialize;
use yurt_sdk::driver::{
    Capabilities, DriverDescription, DriverHealth, ExitNote, Findings, Fingerprint, LaunchPlan, Next, PathKind,
    PlanError, Probe, TaskView, Unknown,
};
use yurt_sdk::isolation::{Asked, Own, Terms};
use yurt_sdk::{Description, Diagnostic, Said, TaskDriver, attribute};

use jvm::{Banner, Jvm, Lack};

/// The java driver.
pub struct Java;

/// The operator's configuration, with the defaults of its schema (`config.hcldec`).
#[derive(Debug, Deserialize)]
pub struct Config {
    default_pid_mode: String,
    default_ipc_mode: String,
    allow_caps: Vec<String>,
}

/// A job's `config` block, with the defaults of its schema (`task.hcldec`).
#[derive(Debug, Deserialize)]
pub struct Task {
    class: String,
    class_path: String,
    jar_path: String,
    jvm_options: Vec<String>,
    args: Vec<String>,
    pid_mode: String,
    ipc_mode: String,
    userns_mode: String,
    cgroupns_mode: String,
    timens_mode: String,
    cap_add: Vec<String>,
    cap_drop: Vec<String>,
    seccomp: String,
    work_dir: String,
}

/// Who a task runs as where the job does not say.
const USER: &str = "nobody";
/// Of the look for the virtual machine in the task's root.
const INSIDE: &str = "inside:java";

impl TaskDriver for Java {
    type Config = Config;
    type Task = Task;

    fn describe() -> DriverDescription {
        DriverDescription {
            about: Description {
                // One called `java` would take the place of Nomad's own, whose running tasks it knows nothing of.
                name: "yurt-java".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                summary: "Runs Java classes and jars, with the keys of Nomad's java driver.".into(),
                config_spec: include_str!("config.hcldec").into(),
            },
            task_spec: include_str!("task.hcldec").into(),
            capabilities: Capabilities::in_a_root(),
        }
    }

    fn check_config(config: &Config) -> Vec<Diagnostic> {
        let mut said = Said::default();
        config.terms().check(&mut said);
        said.0
    }

    fn check_task(config: &Config, task: &Task, _: Unknown<'_>) -> Vec<Diagnostic> {
        let mut said = Said::default();
        if task.class.is_empty() && task.jar_path.is_empty() {
            said.error("jar_path", "jar_path or class must be specified".into(), None);
        }
        if !task.jar_path.is_empty() {
            let ignored =
                "beside jar_path java takes no class and no class_path: a class becomes the jar's first argument";
            for (key, text) in [("class", &task.class), ("class_path", &task.class_path)] {
                if !text.is_empty() {
                    said.warn(key, ignored.into(), Some("leave one of them out"));
                }
            }
        }
        task.asked().check(&config.terms(), &mut said);
        task.own().check(&mut said);
        if !task.work_dir.is_empty() && !task.work_dir.starts_with('/') {
            let message = format!("work_dir must be an absolute path: {}", task.work_dir);
            said.error("work_dir", message, Some("for example \"${NOMAD_TASK_DIR}\""));
        }
        said.0
    }

    fn probes(_: &Config) -> Vec<Probe> {
        vec![jvm::probe()]
    }

    fn judge(_: &Config, findings: Findings<'_>) -> Fingerprint {
        let (health, reason) = match jvm::found(findings) {
            Ok(jvm) => return healthy(&jvm),
            Err(Lack::NotNow(why)) => (DriverHealth::Unhealthy, why),
            Err(Lack::NotThere(why)) => (DriverHealth::Undetected, why),
        };
        Fingerprint { health, reason, attributes: Vec::new() }
    }

    fn plan(config: &Config, task: &Task, view: &TaskView, findings: Findings<'_>) -> Result<Next, PlanError> {
        let jvm = jvm::found(findings).map_err(|lack| match lack {
            Lack::NotNow(why) => PlanError::new(format!("the node's Java does not work: {why}")).or_try_again(),
            Lack::NotThere(why) => PlanError::new(format!("the node has no Java: {why}")),
        })?;
        match findings.status(INSIDE) {
            None => return Ok(Next::LookInside(vec![Probe::stat(INSIDE, jvm.path)])),
            Some(Ok(status)) if status.kind != PathKind::File => {
                let path = jvm.path;
                return Err(PlanError::new(format!(
                    "the node's Java cannot be run: the task has no {path}; a root of its own holds what the client's chroot_env says"
                )));
            }
            // Where the host does not look, the launch will tell.
            _ => {}
        }
        let program = if task.jar_path.is_empty() { &task.class } else { &task.jar_path };
        Ok(Next::Launch(LaunchPlan {
            work_dir: Some(task.work_dir.clone()).filter(|directory| !directory.is_empty()),
            user: Some(USER.into()),
            wishes: task.own().added_to(task.asked().wishes(&config.terms(), USER, view)?, view)?,
            exit_notes: exit_notes(),
            note: Some(format!("{} runs {program}", jvm.path)),
            ..LaunchPlan::of(task.command(jvm.path))
        }))
    }
}

fn healthy(jvm: &Jvm<'_>) -> Fingerprint {
    let mut attributes = vec![attribute::flag("driver.yurt-java", true)];
    let reason = match &jvm.banner {
        Some(Banner { version, runtime, vm }) => {
            let lines = [("version", version), ("runtime", runtime), ("vm", vm)];
            attributes.extend(lines.map(|(key, text)| attribute::text(&format!("driver.yurt-java.{key}"), text)));
            format!("Java {version} at {}", jvm.path)
        }
        None => format!("Java at {}, whose version cannot be read", jvm.path),
    };
    Fingerprint { health: DriverHealth::Healthy, reason, attributes }
}

fn exit_notes() -> Vec<ExitNote> {
    [
        (1, "an exception was not caught, or the virtual machine did not start: stderr says which"),
        (130, "SIGINT ended it, after its shutdown hooks"),
        (143, "SIGTERM ended it, after its shutdown hooks"),
    ]
    .map(|(code, text)| ExitNote { code, text: text.into() })
    .into()
}

impl Config {
    fn terms(&self) -> Terms<'_> {
        let Config { default_pid_mode, default_ipc_mode, allow_caps } = self;
        Terms { default_pid_mode, default_ipc_mode, allow_caps }
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

    fn command(&self, java: &str) -> Vec<String> {
        let mut words = vec![java.to_owned()];
        words.extend_from_slice(&self.jvm_options);
        for (option, value) in [("-cp", &self.class_path), ("-jar", &self.jar_path)] {
            if !value.is_empty() {
                words.extend([option.to_owned(), value.clone()]);
            }
        }
        words.extend(Some(self.class.clone()).filter(|class| !class.is_empty()));
        words.extend_from_slice(&self.args);
        words
    }
}

yurt_sdk::task_driver!(Java);

#[cfg(test)]
mod tests;

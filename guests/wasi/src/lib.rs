//! Yurt's WASI driver: the task itself is a WebAssembly component, a command of WASI 0.2. What runs it, and what keeps it in, is the host's; this
//! says which file it is and what it gets.

use serde::Deserialize;
use yurt_sdk::driver::{
    Capabilities, ComponentRun, Directory, DriverDescription, DriverHealth, ExitNote, Findings, Fingerprint, Isolation,
    LaunchPlan, Next, PathKind, PlanError, Probe, Program, TaskView, Unknown,
};
use yurt_sdk::{Description, Diagnostic, Said, TaskDriver, attribute};

/// The WASI driver.
pub struct Wasi;

/// The operator's configuration: nothing.
#[derive(Debug, Deserialize)]
pub struct Config {}

/// A job's `config` block, with the defaults of its schema (`task.hcldec`).
#[derive(Debug, Deserialize)]
pub struct Task {
    component: String,
    args: Vec<String>,
    directories: Vec<String>,
    listen: Vec<String>,
}

/// Who a task runs as where the job does not say.
const USER: &str = "nobody";
/// What a job can have at `/alloc` and so on.
const DIRECTORIES: [&str; 4] = ["alloc", "local", "secrets", "tmp"];
/// Of the look for the file.
const COMPONENT: &str = "inside:component";
/// Of the look for a directory that not every agent makes.
const TMP: &str = "inside:tmp";
/// The host's exit codes for what a component does not say itself.
const NOTES: [(i32, &str); 3] = [
    (125, "the component could not be run: its standard error says why"),
    (134, "the component trapped: its standard error says where"),
    (135, "the component trapped after it was refused memory: its limit is the task's memory"),
];

impl TaskDriver for Wasi {
    type Config = Config;
    type Task = Task;

    fn describe() -> DriverDescription {
        DriverDescription {
            about: Description {
                name: "yurt-wasi".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                summary: "Runs WebAssembly components, commands of WASI 0.2.".into(),
                config_spec: include_str!("config.hcldec").into(),
            },
            task_spec: include_str!("task.hcldec").into(),
            // The sandbox is the isolation. There are no signals in WASI, no programs to run in a component, and no place to mount at.
            capabilities: Capabilities {
                isolation: Isolation::None,
                signals: false,
                exec: false,
                host_network: true,
                group_network: true,
                mounts: false,
                dynamic_users: false,
            },
        }
    }

    fn check_config(_: &Config) -> Vec<Diagnostic> {
        Vec::new()
    }

    fn check_task(_: &Config, task: &Task, unknown: Unknown<'_>) -> Vec<Diagnostic> {
        let mut said = Said::default();
        if task.component.is_empty() && !unknown.has("component") {
            said.error("component", "component must be specified".into(), Some("for example \"local/app.wasm\""));
        }
        if task.component.split('/').any(|part| part == "..") {
            let message = format!("component = {:?}: must not hold ..", task.component);
            said.error("component", message, Some("a path below local, secrets, tmp or alloc"));
        }
        for name in task.directories.iter().filter(|name| !DIRECTORIES.contains(&name.as_str())) {
            let message = format!("directories: {name:?} must be one of \"alloc\", \"local\", \"secrets\", \"tmp\"");
            said.error("directories", message, None);
        }
        said.0
    }

    /// What it takes to run components, the host brings along.
    fn judge(_: &Config, _: Findings<'_>) -> Fingerprint {
        let attributes =
            vec![attribute::flag("driver.yurt-wasi", true), attribute::text("driver.yurt-wasi.version", "0.2")];
        Fingerprint { health: DriverHealth::Healthy, reason: "Healthy".into(), attributes }
    }

    fn plan(_: &Config, task: &Task, view: &TaskView, findings: Findings<'_>) -> Result<Next, PlanError> {
        let own = |name: &str| format!("{}/{name}", view.own_dir());
        let path = if task.component.starts_with('/') { task.component.clone() } else { own(&task.component) };
        let tmp = own("tmp");
        let within = [&view.alloc_dir, &view.local_dir, &view.secrets_dir, &tmp];
        if !within.into_iter().any(|top| path.strip_prefix(top.as_str()).is_some_and(|below| below.starts_with('/'))) {
            let message =
                format!("component = {:?}: must lie in the task's local, secrets or tmp, or in alloc", task.component);
            return Err(PlanError::new(message).at("component"));
        }
        let Some(found) = findings.status(COMPONENT) else {
            return Ok(Next::LookInside(vec![Probe::stat(COMPONENT, &path), Probe::stat(TMP, &tmp)]));
        };
        let wrong = |why: &str| PlanError::new(format!("component = {:?}: {why}", task.component)).at("component");
        if found.map_err(|trouble| wrong(trouble.why()))?.kind != PathKind::File {
            return Err(wrong(&format!("there is no file {path}: an artifact or a template puts it there")));
        }
        let has_tmp = matches!(findings.status(TMP), Some(Ok(status)) if status.kind == PathKind::Directory);
        let place = |name: &str| match name {
            "alloc" => Some(view.alloc_dir.clone()),
            "local" => Some(view.local_dir.clone()),
            "secrets" => Some(view.secrets_dir.clone()),
            _ => has_tmp.then(|| tmp.clone()),
        };
        let directories = DIRECTORIES.into_iter().filter(|name| task.directories.iter().any(|asked| asked == name));
        let directories = directories.filter_map(|name| {
            Some(Directory { host_side: place(name)?, guest_side: format!("/{name}"), read_only: name == "secrets" })
        });
        let run = ComponentRun {
            path,
            args: task.args.clone(),
            directories: directories.collect(),
            listen: task.listen.clone(),
        };
        let notes = NOTES.into_iter().map(|(code, text)| ExitNote { code, text: text.into() });
        Ok(Next::Launch(LaunchPlan {
            program: Program::Component(run),
            user: Some(USER.into()),
            exit_notes: notes.collect(),
            note: Some(format!("runs the component {}", task.component)),
            ..LaunchPlan::of(Vec::new())
        }))
    }
}

yurt_sdk::task_driver!(Wasi);

#[cfg(test)]
mod tests;

//! Yurt's python driver: what a job may say, which interpreters a node has, and how a script is launched.
//!
//! It is a pure function of what the host saw and of what operator and job wrote; see `config.rs` for the operator's keys, `task.rs`
//! for a job's, `interpreters.rs` for what is looked for on a node, `plan.rs` for the launch and
//! `packages.rs` for what goes before it.

mod arguments;
mod config;
mod interpreters;
mod judge;
mod packages;
mod paths;
mod plan;
mod task;

use yurt_sdk::driver::{
    Capabilities, DriverDescription, Findings, Fingerprint, Next, PlanError, Probe, TaskView, Unknown,
};
use yurt_sdk::{Description, Diagnostic, TaskDriver};

pub use config::Config;
pub use task::Task;

/// The python driver.
pub struct Python;

impl TaskDriver for Python {
    type Config = Config;
    type Task = Task;

    fn describe() -> DriverDescription {
        DriverDescription {
            about: Description {
                name: "python".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                summary: "Runs Python scripts, modules and code.".into(),
                config_spec: include_str!("config.hcldec").into(),
            },
            task_spec: include_str!("task.hcldec").into(),
            capabilities: Capabilities::in_a_root(),
        }
    }

    fn check_config(config: &Config) -> Vec<Diagnostic> {
        config.check()
    }

    fn check_task(_: &Config, task: &Task, unknown: Unknown<'_>) -> Vec<Diagnostic> {
        task.check(unknown)
    }

    fn probes(config: &Config) -> Vec<Probe> {
        interpreters::probes(config)
    }

    fn judge(config: &Config, findings: Findings<'_>) -> Fingerprint {
        judge::judge(config, findings)
    }

    fn plan(config: &Config, task: &Task, view: &TaskView, findings: Findings<'_>) -> Result<Next, PlanError> {
        plan::plan(config, task, view, findings)
    }
}

yurt_sdk::task_driver!(Python);

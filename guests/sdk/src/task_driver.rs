//! The world `driver-plugin` as a trait with typed configuration, and the adapter that speaks WIT for it.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::bindings::driver::exports::yurt::plugin::driver::Guest;
use crate::driver::{
    DriverDescription, DriverHealth, Finding, Findings, Fingerprint, Next, PlanError, Probe, TaskView, Unknown,
};
use crate::{Diagnostic, Severity, config, log};

/// The logic of a task driver: how tasks of one kind are described, checked and launched. Every function is pure, and nothing
/// survives a call. A running task never needs its driver's logic again: the plan says everything beforehand.
pub trait TaskDriver: 'static {
    /// The operator's configuration. Every key of its schema is present in the JSON that it is read from, `null` where nothing was
    /// given: use `Option`, or defaults in the schema.
    type Config: DeserializeOwned;
    /// A job's `config` block, by the same rules from the task schema.
    type Task: DeserializeOwned;

    /// What the guest says of itself; must not depend on anything.
    fn describe() -> DriverDescription;

    /// Findings about a configuration that could be read; what could not be is reported without asking. An error stops the
    /// operator's agent at its start, so report only what was typed wrong, never the state of the node.
    fn check_config(_config: &Self::Config) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// Findings about a job's `config` block, with no machine at hand; asked before a launch, and offline. What stands at an
    /// `unknown` path is known only at run time and `null` here: say nothing of it.
    fn check_task(_config: &Self::Config, _task: &Self::Task, _unknown: Unknown<'_>) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// What the host should look at on the node before [`TaskDriver::judge`] and [`TaskDriver::plan`].
    fn probes(_config: &Self::Config) -> Vec<Probe> {
        Vec::new()
    }

    /// Health and attributes of the driver on this node.
    fn judge(config: &Self::Config, findings: Findings<'_>) -> Fingerprint;

    /// How to launch a task. May ask once to look inside the task's root; then it is asked again with those findings added.
    fn plan(
        config: &Self::Config,
        task: &Self::Task,
        view: &TaskView,
        findings: Findings<'_>,
    ) -> Result<Next, PlanError>;
}

/// Speaks the contract for a [`TaskDriver`]; named by [`crate::task_driver!`], of no use elsewhere.
pub struct DriverAdapter<D>(PhantomData<D>);

impl<D: TaskDriver> Guest for DriverAdapter<D> {
    fn describe() -> DriverDescription {
        log::panics_to_log();
        D::describe()
    }

    fn check_config(text: String) -> Vec<Diagnostic> {
        log::panics_to_log();
        match config::parse(&text) {
            Ok(config) => D::check_config(&config),
            Err(problem) => vec![error(problem.path, problem.message)],
        }
    }

    fn check_task(text: String, task: String, unknown: Vec<String>) -> Vec<Diagnostic> {
        log::panics_to_log();
        let unknown = Unknown(&unknown);
        let config = match config::parse(&text) {
            Ok(config) => config,
            // Not of the task, so at none of its paths.
            Err(problem) => return vec![error(String::new(), format!("the driver's {problem}"))],
        };
        match config::parse(&task) {
            Ok(task) => D::check_task(&config, &task, unknown),
            // A `null` that stands for a value to come.
            Err(problem) if unknown.has(&problem.path) => Vec::new(),
            Err(problem) => vec![error(problem.path, problem.message)],
        }
    }

    fn probes(text: String) -> Vec<Probe> {
        log::panics_to_log();
        // Without a configuration there is nothing to look for: `judge` says why.
        config::parse(&text).map_or_else(|_| Vec::new(), |config| D::probes(&config))
    }

    fn judge(text: String, findings: Vec<Finding>) -> Fingerprint {
        log::panics_to_log();
        match config::parse(&text) {
            Ok(config) => D::judge(&config, Findings(&findings)),
            Err(problem) => Fingerprint {
                health: DriverHealth::Unhealthy,
                reason: format!("the {problem}"),
                attributes: Vec::new(),
            },
        }
    }

    fn plan(text: String, task: String, view: TaskView, findings: Vec<Finding>) -> Result<Next, PlanError> {
        log::panics_to_log();
        let config = config::parse(&text).map_err(|problem| PlanError::new(format!("the driver's {problem}")))?;
        let task = config::parse(&task).map_err(|problem| PlanError::new(problem.message).at(&problem.path))?;
        D::plan(&config, &task, &view, Findings(&findings))
    }
}

fn error(path: String, message: String) -> Diagnostic {
    Diagnostic { severity: Severity::Error, path, message, hint: None }
}

/// Makes a type that implements [`TaskDriver`] the one that this component exports. Once per crate; does nothing in a native build,
/// so that the same crate is unit-tested without wasm.
#[macro_export]
macro_rules! task_driver {
    ($driver:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            type Exported = $crate::DriverAdapter<$driver>;
    $crate::bindings::driver::export!(Exported with_types_in $crate::bindings::driver);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_driver<D: $crate::TaskDriver>() {}
            is_a_driver::<$driver>()
        };
    };
}

//! A task driver's logic that may be called.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use semver::Version;
use serde::Serialize;
use wasmtime::Store;

use crate::answer;
use crate::call::{self, Callee, Kind};
use crate::driver::{
    Description, Diagnostic, DriverDescription, Finding, Fingerprint, Next, PlanError, Probe, TaskView,
};
use crate::error::{Cause, GuestError};
use crate::guest::Guest;
use crate::limits::Limits;
use crate::outline::Import;
use crate::question::{Answer, Question};
use crate::state::State;
use crate::tier::{Code, Ready};
use crate::worlds::v0_1_0::driver_bindings::exports::yurt::plugin::driver::Guest as Exports;
use crate::worlds::v0_1_0::driver_bindings::{DriverPlugin, DriverPluginPre};

/// A guest of world `driver-plugin` that passed every stage of loading. Cheap to clone.
///
/// Calls block, at most for their deadline, as those of [`crate::UsbPolicy`] do: the same is to be kept in mind.
#[derive(Clone)]
pub struct DriverLogic {
    pub(crate) guest: Arc<Guest>,
    pub(crate) code: Code<DriverPluginPre<State>>,
    pub(crate) description: Arc<DriverDescription>,
}

impl fmt::Debug for DriverLogic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DriverLogic({} from {})", self.guest.callee.identity, self.guest.origin)
    }
}

impl DriverLogic {
    /// What it says of itself.
    pub fn about(&self) -> &Description {
        &self.guest.about
    }

    /// The same, with what it says of its tasks.
    pub fn description(&self) -> &DriverDescription {
        &self.description
    }

    /// The guest's own version.
    pub fn version(&self) -> &str {
        &self.guest.about.version
    }

    /// SHA-256 of the component, in hexadecimal.
    pub fn digest(&self) -> &str {
        self.guest.digest()
    }

    /// Who translated the code that the next call runs in: `cranelift`, or `winch` until that is ready.
    pub fn translator(&self) -> &'static str {
        self.code.now().tier.translator.word()
    }

    /// The version of `yurt:plugin` that it was built for.
    pub fn contract(&self) -> &Version {
        &self.guest.contract
    }

    /// What it asked for, all granted.
    pub fn imports(&self) -> &[Import] {
        &self.guest.imports
    }

    /// The file or embedded guest that it came from.
    pub fn origin(&self) -> &str {
        &self.guest.origin
    }

    /// Judges the operator's configuration (JSON text by the guest's own schema).
    pub fn check_config(&self, config: &str) -> Result<Vec<Diagnostic>, GuestError> {
        let question = Question::CheckConfig { config: config.into() };
        let config = config.to_owned();
        self.call(
            &call::CHECK_CONFIG,
            question,
            |guest, store| guest.call_check_config(store, &config),
            |answer, limits| answer::diagnostics(answer, limits),
            |answer| answer,
            |answer| Answer::Diagnostics(answer.into()),
        )
    }

    /// Judges a job's `config` block (JSON text by the guest's task schema). Paths in `unknown` are of values that are known only at
    /// run time, `null` in `task`.
    pub fn check_task(&self, config: &str, task: &str, unknown: &[String]) -> Result<Vec<Diagnostic>, GuestError> {
        let question = Question::CheckTask { config: config.into(), task: task.into(), unknown: unknown.into() };
        let (config, task) = (config.to_owned(), task.to_owned());
        self.call(
            &call::CHECK_TASK,
            question,
            |guest, store| guest.call_check_task(store, &config, &task, unknown),
            |answer, limits| answer::diagnostics(answer, limits),
            |answer| answer,
            |answer| Answer::Diagnostics(answer.into()),
        )
    }

    /// What to look at on the node before [`DriverLogic::judge`] and [`DriverLogic::plan`].
    pub fn probes(&self, config: &str) -> Result<Vec<Probe>, GuestError> {
        let question = Question::Probes { config: config.into() };
        let config = config.to_owned();
        self.call(
            &call::PROBES,
            question,
            |guest, store| guest.call_probes(store, &config),
            |answer, limits| answer::driver::probes(answer, limits),
            |answer| answer,
            |answer| Answer::Probes(answer.into()),
        )
    }

    /// Health and attributes of the driver on this node; the reason is printable.
    pub fn judge(&self, config: &str, findings: &[Finding]) -> Result<Fingerprint, GuestError> {
        let question = Question::Judge { config: config.into(), findings: findings.into() };
        let config = config.to_owned();
        self.call(
            &call::JUDGE,
            question,
            |guest, store| guest.call_judge(store, &config, findings),
            answer::driver::fingerprint,
            |answer| Fingerprint { reason: self.guest.printable(&answer.reason), ..answer },
            |answer| Answer::Fingerprint(Cow::Borrowed(answer)),
        )
    }

    /// How to launch, or what to look at inside the task's root first. `findings` are those of [`DriverLogic::probes`], the second time
    /// with what was seen inside. The inner error is the guest's own, printable.
    pub fn plan(
        &self,
        config: &str,
        task: &str,
        view: &TaskView,
        findings: &[Finding],
    ) -> Result<Result<Next, PlanError>, GuestError> {
        let question = Question::Plan {
            config: config.into(),
            task: task.into(),
            view: Cow::Borrowed(view),
            findings: findings.into(),
        };
        let (config, task) = (config.to_owned(), task.to_owned());
        self.call(
            &call::PLAN,
            question,
            |guest, store| guest.call_plan(store, &config, &task, view, findings),
            answer::driver::next,
            |answer| {
                answer.map_err(|why| PlanError {
                    message: self.guest.printable(&why.message),
                    path: why.path.as_deref().map(|path| self.guest.printable(path)),
                    recoverable: why.recoverable,
                })
            },
            |answer| Answer::Next(Cow::Borrowed(answer)),
        )
    }

    fn call<R: Serialize>(
        &self,
        kind: &Kind,
        question: Question<'_>,
        function: impl FnOnce(&Exports, &mut Store<State>) -> wasmtime::Result<R>,
        check: impl FnOnce(&R, &Limits) -> Result<(), Cause>,
        clean: impl FnOnce(R) -> R,
        answer: impl for<'r> FnOnce(&'r R) -> Answer<'r>,
    ) -> Result<R, GuestError> {
        let function = |guest: &DriverPlugin, store: &mut _| function(guest.yurt_plugin_driver(), store);
        let code = self.code.now();
        let (outcome, receipt) =
            self.guest.callee.call(kind, &code.tier, &question, |store| code.pre.instantiate(store), function, check);
        let outcome = outcome.map(clean);
        self.guest.told(question, &outcome, &receipt, answer);
        outcome
    }
}

/// What a guest says of itself, before it is known by it.
pub(crate) fn describe(
    callee: &Callee,
    ready: &Ready<DriverPluginPre<State>>,
) -> Result<DriverDescription, GuestError> {
    let outcome = callee.call(
        &call::DESCRIBE,
        &ready.tier,
        &(),
        |store| ready.pre.instantiate(store),
        |guest, store| guest.yurt_plugin_driver().call_describe(store),
        answer::driver::description,
    );
    outcome.0
}

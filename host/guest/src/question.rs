//! Calls as values: what was asked, what was answered, and whoever wants to be told of it.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use crate::driver::{Finding, Fingerprint, Next, PlanError, Probe, TaskView};
use crate::error::GuestError;
use crate::guest::Guest;
use crate::limits::Limits;
use crate::logic::DriverLogic;
use crate::policy::UsbPolicy;
use crate::receipt::Receipt;
use crate::runtime::Runtime;
use crate::usb::{CounterSet, Diagnostic, GroupName, Instance, InstanceStats, Offer, Reservation, Snapshot};

/// The arguments of one call, of either world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
// One at a time, borrowed: a box would cost every call more than the room does.
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum Question<'a> {
    CheckConfig { config: Cow<'a, str> },
    Group { config: Cow<'a, str>, facts: Cow<'a, Snapshot>, memory: Option<Cow<'a, str>> },
    Reserve { config: Cow<'a, str>, facts: Cow<'a, Snapshot>, group: Cow<'a, GroupName>, reserved: Cow<'a, [Instance]> },
    Stats { config: Cow<'a, str>, counters: Cow<'a, [CounterSet]>, offered: Cow<'a, [Instance]> },
    CheckTask { config: Cow<'a, str>, task: Cow<'a, str>, unknown: Cow<'a, [String]> },
    Probes { config: Cow<'a, str> },
    Judge { config: Cow<'a, str>, findings: Cow<'a, [Finding]> },
    Plan { config: Cow<'a, str>, task: Cow<'a, str>, view: Cow<'a, TaskView>, findings: Cow<'a, [Finding]> },
}

/// What a guest answered: as the methods of [`UsbPolicy`] and [`DriverLogic`] return it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
// One at a time, borrowed: a box would cost every call more than the room does.
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum Answer<'a> {
    Diagnostics(Cow<'a, [Diagnostic]>),
    Offer(Cow<'a, Result<Offer, String>>),
    Reservation(Cow<'a, Result<Reservation, String>>),
    Stats(Cow<'a, Result<Vec<InstanceStats>, String>>),
    Probes(Cow<'a, [Probe]>),
    Fingerprint(Cow<'a, Fingerprint>),
    Next(Cow<'a, Result<Next, PlanError>>),
}

fn owned<T: ToOwned + ?Sized>(value: Cow<'_, T>) -> Cow<'static, T> {
    Cow::Owned(value.into_owned())
}

impl Question<'_> {
    /// The function of the contract.
    pub fn call(&self) -> &'static str {
        match self {
            Question::CheckConfig { .. } => "check-config",
            Question::Group { .. } => "group",
            Question::Reserve { .. } => "reserve",
            Question::Stats { .. } => "stats",
            Question::CheckTask { .. } => "check-task",
            Question::Probes { .. } => "probes",
            Question::Judge { .. } => "judge",
            Question::Plan { .. } => "plan",
        }
    }

    /// To be kept.
    pub fn into_owned(self) -> Question<'static> {
        use Question::{CheckConfig, CheckTask, Group, Judge, Plan, Probes, Reserve, Stats};
        match self {
            CheckConfig { config } => CheckConfig { config: owned(config) },
            Group { config, facts, memory } => {
                Group { config: owned(config), facts: owned(facts), memory: memory.map(owned) }
            }
            Reserve { config, facts, group, reserved } => {
                Reserve { config: owned(config), facts: owned(facts), group: owned(group), reserved: owned(reserved) }
            }
            Stats { config, counters, offered } => {
                Stats { config: owned(config), counters: owned(counters), offered: owned(offered) }
            }
            CheckTask { config, task, unknown } => {
                CheckTask { config: owned(config), task: owned(task), unknown: owned(unknown) }
            }
            Probes { config } => Probes { config: owned(config) },
            Judge { config, findings } => Judge { config: owned(config), findings: owned(findings) },
            Plan { config, task, view, findings } => {
                Plan { config: owned(config), task: owned(task), view: owned(view), findings: owned(findings) }
            }
        }
    }
}

impl Answer<'_> {
    /// To be kept.
    pub fn into_owned(self) -> Answer<'static> {
        match self {
            Answer::Diagnostics(answer) => Answer::Diagnostics(owned(answer)),
            Answer::Offer(answer) => Answer::Offer(owned(answer)),
            Answer::Reservation(answer) => Answer::Reservation(owned(answer)),
            Answer::Stats(answer) => Answer::Stats(owned(answer)),
            Answer::Probes(answer) => Answer::Probes(owned(answer)),
            Answer::Fingerprint(answer) => Answer::Fingerprint(owned(answer)),
            Answer::Next(answer) => Answer::Next(owned(answer)),
        }
    }
}

/// A call that was made.
pub struct Called<'a> {
    /// What the guest says of itself.
    pub name: &'a str,
    /// What the guest says of itself.
    pub version: &'a str,
    /// SHA-256 of the guest in hexadecimal.
    pub digest: &'a str,
    /// The file or embedded guest that it came from.
    pub origin: &'a str,
    /// The version of `yurt:plugin` that it was built for.
    pub contract: &'a semver::Version,
    /// What it was asked.
    pub question: Question<'a>,
    /// What it answered, or why it did not.
    pub answer: Result<Answer<'a>, &'a GuestError>,
    /// What it took.
    pub receipt: &'a Receipt,
    /// What it might use.
    pub limits: Arc<Limits>,
}

/// Is told of every call but `describe`, on the caller's thread and after it: whatever takes long is to be done elsewhere.
pub trait Observer: Send + Sync {
    /// A call ended.
    fn called(&self, call: Called<'_>);
}

impl Runtime {
    /// Who is told of calls from the next one on.
    pub fn observe(&self, observer: Option<Arc<dyn Observer>>) {
        *self.0.observer.write().unwrap_or_else(PoisonError::into_inner) = observer;
    }
}

impl Guest {
    /// Tells whoever wants to know.
    pub(crate) fn told<R>(
        &self,
        question: Question<'_>,
        outcome: &Result<R, GuestError>,
        receipt: &Receipt,
        answer: impl for<'r> FnOnce(&'r R) -> Answer<'r>,
    ) {
        let observer = self.callee.shared.observer.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(observer) = observer {
            observer.called(Called {
                name: &self.about.name,
                version: &self.about.version,
                digest: self.digest(),
                origin: &self.origin,
                contract: &self.contract,
                question,
                answer: outcome.as_ref().map(answer),
                receipt,
                limits: self.callee.shared.limits(),
            });
        }
    }
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl UsbPolicy {
    /// Makes a call that is a value. None: it is of the other world.
    pub fn ask(&self, question: &Question<'_>) -> Option<Result<Answer<'static>, GuestError>> {
        Some(match question {
            Question::CheckConfig { config } => {
                self.check_config(config).map(|answer| Answer::Diagnostics(answer.into()))
            }
            Question::Group { config, facts, memory } => {
                self.group(config, facts, memory.as_deref()).map(|answer| Answer::Offer(Cow::Owned(answer)))
            }
            Question::Reserve { config, facts, group, reserved } => {
                self.reserve(config, facts, group, reserved).map(|answer| Answer::Reservation(Cow::Owned(answer)))
            }
            Question::Stats { config, counters, offered } => {
                self.stats(config, counters, offered).map(|answer| Answer::Stats(Cow::Owned(answer)))
            }
            Question::CheckTask { .. } | Question::Probes { .. } | Question::Judge { .. } | Question::Plan { .. } => {
                return None;
            }
        })
    }
}

impl DriverLogic {
    /// Makes a call that is a value. None: it is of the other world.
    pub fn ask(&self, question: &Question<'_>) -> Option<Result<Answer<'static>, GuestError>> {
        Some(match question {
            Question::CheckConfig { config } => {
                self.check_config(config).map(|answer| Answer::Diagnostics(answer.into()))
            }
            Question::CheckTask { config, task, unknown } => {
                self.check_task(config, task, unknown).map(|answer| Answer::Diagnostics(answer.into()))
            }
            Question::Probes { config } => self.probes(config).map(|answer| Answer::Probes(answer.into())),
            Question::Judge { config, findings } => {
                self.judge(config, findings).map(|answer| Answer::Fingerprint(Cow::Owned(answer)))
            }
            Question::Plan { config, task, view, findings } => {
                self.plan(config, task, view, findings).map(|answer| Answer::Next(Cow::Owned(answer)))
            }
            Question::Group { .. } | Question::Reserve { .. } | Question::Stats { .. } => return None,
        })
    }
}

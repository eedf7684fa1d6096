//! What decides in a task driver – a guest with its configuration – and how another takes its place. Tasks that run need neither.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;
use yurt_guest::{GuestError, Import, driver as wit};
use yurt_nomad::driver::{Fingerprint, Health, PluginError};
use yurt_nomad::schema::Spec;

use crate::choice::{Driver, Plugin};
use crate::driver::config::{DriverConfig, Isolation};
use crate::driver::fingerprint::fingerprint;
use crate::driver_plugin::{Config, split};
use crate::exchange::{
    self, Concern, Guest, GuestName, Hidden, Kept, Report, Rules, Seat, Side, Turns, Undone, both, remember,
};
use crate::host_config::Common;
use crate::plugin::Begun;

/// Real calls of each kind that a candidate answers, too.
const PLANS: usize = 16;

/// A guest and what it goes by.
pub(crate) type Serving = exchange::Serving<Driver>;

/// The host's block, and what follows from it and the guest's wish.
#[derive(Debug, Clone)]
pub(crate) struct DriverHost {
    pub(crate) block: DriverConfig,
    /// The operator's word, else the guest's wish.
    pub(crate) isolation: Isolation,
}

/// The guest of one driver, and what it was asked last.
pub(crate) struct DriverSide {
    seat: Seat<Driver>,
    heard: Mutex<Heard>,
}

/// A job's block, the task as the guest saw it, and what was found on the node.
pub(crate) struct Planned {
    pub(crate) task: String,
    pub(crate) view: wit::TaskView,
    pub(crate) findings: Vec<wit::Finding>,
}

/// The last real calls.
#[derive(Default)]
struct Heard {
    findings: Option<Arc<[wit::Finding]>>,
    plans: VecDeque<Arc<Planned>>,
}

impl DriverSide {
    pub(crate) fn new(driver: Driver, kept: Kept) -> (DriverSide, mpsc::UnboundedReceiver<Undone<Serving>>) {
        let Config { guest, host } = driver.defaults.clone();
        let first = Serving { guest: Arc::new(driver), config: guest, host, rules: None };
        let (seat, undone) = Seat::new(first, kept);
        (DriverSide { seat, heard: Mutex::default() }, undone)
    }

    /// What the agent says. An error names what the operator typed there.
    pub(crate) fn configure(&self, msgpack: &[u8], begun: &Begun) -> Result<(), PluginError> {
        self.seat.configure(msgpack, &begun.runtime, |pin| match begun.pinned(pin)? {
            Plugin::Driver(driver) => Some(*driver),
            Plugin::Device(_) => None,
        })
    }

    pub(crate) fn heard_findings(&self, findings: &Arc<[wit::Finding]>) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).findings = Some(Arc::clone(findings));
    }

    pub(crate) fn heard_plan(&self, planned: Planned) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        remember(&mut heard.plans, Arc::new(planned), PLANS);
    }
}

impl Guest for Driver {
    type Host = DriverHost;

    fn named(&self) -> GuestName {
        let about = self.logic.about();
        GuestName {
            name: about.name.clone(),
            version: about.version.clone(),
            digest: self.logic.digest().to_owned(),
            origin: self.logic.origin().to_owned(),
        }
    }

    fn imports(&self) -> &[Import] {
        self.logic.imports()
    }

    fn keys(&self) -> &Spec {
        &self.keys
    }

    fn schema(&self) -> &Spec {
        &self.schema
    }

    fn check_config(&self, config: &str) -> Result<Vec<wit::Diagnostic>, GuestError> {
        self.logic.check_config(config)
    }

    fn split(&self, config: Value) -> Result<(Value, DriverHost), String> {
        split(config, self.logic.description().capabilities.isolation)
    }

    fn common(host: &DriverHost) -> &Common {
        &host.block.common
    }

    fn may_become(&self, next: &Driver) -> Result<(), String> {
        let grown = self.task_schema.grows_into(&next.task_schema);
        grown.map_err(|why| format!("the schema of its tasks does not only grow: {why}"))?;
        let (was, is) = (&self.logic.description().capabilities, &next.logic.description().capabilities);
        for (what, was, is) in [
            ("signals", was.signals, is.signals),
            ("commands", was.exec, is.exec),
            ("mounts", was.mounts, is.mounts),
            ("group networks", was.group_network, is.group_network),
        ] {
            if was && !is {
                return Err(format!("it does not take {what} any more"));
            }
        }
        if was.isolation != is.isolation {
            return Err("it wants another isolation of its tasks".to_owned());
        }
        Ok(())
    }
}

impl Side for DriverSide {
    type Serving = Serving;

    fn turns(&self) -> &Turns<Serving> {
        &self.seat.turns
    }

    fn prepare(&self, guest: Option<Plugin>, rules: Option<Arc<Rules>>) -> Result<Serving, String> {
        match guest {
            None => self.seat.prepare(None, rules),
            Some(Plugin::Driver(driver)) => self.seat.prepare(Some(*driver), rules),
            Some(Plugin::Device(_)) => Err("it is a USB policy, and this is a task driver".to_owned()),
        }
    }

    fn compare(&self, now: &Serving, next: &Serving) -> Result<Report, String> {
        let (findings, plans) = {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            (heard.findings.clone(), heard.plans.clone())
        };
        let mut report = Report::default();
        let probes = |of: &Serving| of.guest.logic.probes(&of.config);
        let (was, is) = both(&mut report, || probes(now), || probes(next))?;
        looks(&mut report, &was.unwrap_or_default(), &is);
        if let Some(findings) = findings {
            let judge = |of: &Serving| of.guest.logic.judge(&of.config, &findings);
            let (was, is) = both(&mut report, || judge(now), || judge(next))?;
            if let Some(was) = was {
                health(&mut report, &fingerprint(was), &fingerprint(is));
            }
        }
        for planned in &plans {
            let plan = |of: &Serving| of.guest.logic.plan(&of.config, &planned.task, &planned.view, &planned.findings);
            let task = format!("task {}", planned.view.task_name);
            match both(&mut report, || plan(now), || plan(next))? {
                (Some(Ok(was)), Ok(is)) => parts_of(&mut report, &format!("plan of {task}:"), &was, &is),
                (Some(Ok(_)), Err(why)) => {
                    report.differs(format!("{task} would be refused: {}", why.message), Some(Concern::ChangesTasks));
                }
                (Some(Err(_)), Ok(_)) => report.differs(format!("{task} would be planned, and is refused now"), None),
                _ => {}
            }
        }
        Ok(report)
    }
}

fn looks(report: &mut Report, was: &[wit::Probe], is: &[wit::Probe]) {
    let named = |probes: &[wit::Probe]| -> BTreeMap<String, String> {
        probes.iter().map(|probe| (probe.id.clone(), format!("{:?}", probe.look))).collect()
    };
    report.keys("probe", &named(was), &named(is), None);
}

fn health(report: &mut Report, was: &Fingerprint, is: &Fingerprint) {
    if was.health != is.health {
        let concern = matches!(was.health, Health::Healthy { .. }).then_some(Concern::LosesHealth);
        report.differs(format!("the driver's health changes from {:?} to {:?}", was.health, is.health), concern);
    }
    report.keys("attribute", &was.attributes, &is.attributes, None);
}

/// What a plan says, field by field.
fn parts_of(report: &mut Report, what: &str, was: &wit::Next, is: &wit::Next) {
    let (wit::Next::Launch(was), wit::Next::Launch(is)) = (was, is) else {
        if was != is {
            report.differs(format!("{what} other looks inside the task first"), None);
        }
        return;
    };
    report.keys(what, &fields(was), &fields(is), Some(Concern::ChangesTasks));
}

fn fields(plan: &wit::LaunchPlan) -> BTreeMap<String, Hidden> {
    let wit::LaunchPlan {
        program,
        env,
        env_drop,
        work_dir,
        user,
        prepare,
        wishes,
        signals,
        stop,
        exec_prefix,
        exit_notes,
        note,
    } = plan;
    [
        ("program", Hidden::of(program)),
        ("env", Hidden::of(&(env, env_drop))),
        ("work_dir", Hidden::of(work_dir)),
        ("user", Hidden::of(user)),
        ("prepare", Hidden::of(prepare)),
        ("wishes", Hidden::of(wishes)),
        ("signals", Hidden::of(signals)),
        ("stop", Hidden::of(stop)),
        ("exec_prefix", Hidden::of(exec_prefix)),
        ("exit_notes", Hidden::of(&(exit_notes, note))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

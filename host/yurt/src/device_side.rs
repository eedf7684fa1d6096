//! What decides in a device plugin – a USB policy with its configuration – and how another takes its place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;
use yurt_guest::{GuestError, Import, usb as wit};
use yurt_nomad::device::PluginError;
use yurt_nomad::schema::Spec;
use yurt_usb::facts::Snapshot;

use crate::check;
use crate::choice::{Device, Plugin};
use crate::convert;
use crate::device_plugin::{Config, split};
use crate::exchange::{
    self, Concern, Guest, GuestName, Kept, Report, Rules, Seat, Side, Turns, Undone, both, remember,
};
use crate::folders;
use crate::host_config::{Common, HostConfig};
use crate::plugin::Begun;
use crate::reserve;

/// Real calls of each kind that a candidate answers, too.
const GROUPS: usize = 8;
const RESERVATIONS: usize = 16;
const STATS: usize = 2;

/// A policy and what it goes by.
pub(crate) type Serving = exchange::Serving<Device>;

/// The policy of one plugin, and what it was asked last.
pub(crate) struct DeviceSide {
    seat: Seat<Device>,
    heard: Mutex<Heard>,
}

/// What figures were made of: counters, and the instances they are about.
type Measured = (Arc<[wit::CounterSet]>, Arc<[wit::Instance]>);

/// The last real calls.
#[derive(Default)]
struct Heard {
    groups: VecDeque<(Arc<Snapshot>, Option<String>)>,
    reservations: VecDeque<Arc<reserve::Asked>>,
    stats: VecDeque<Measured>,
}

impl DeviceSide {
    pub(crate) fn new(device: Device, kept: Kept) -> (DeviceSide, mpsc::UnboundedReceiver<Undone<Serving>>) {
        let Config { guest, host } = device.defaults.clone();
        let first = Serving { guest: Arc::new(device), config: guest, host, rules: None };
        let (seat, undone) = Seat::new(first, kept);
        (DeviceSide { seat, heard: Mutex::default() }, undone)
    }

    /// What the agent says. An error names what the operator typed there.
    pub(crate) fn configure(&self, msgpack: &[u8], begun: &Begun) -> Result<(), PluginError> {
        self.seat.configure(msgpack, &begun.runtime, |pin| match begun.pinned(pin)? {
            Plugin::Device(device) => Some(*device),
            Plugin::Driver(_) => None,
        })
    }

    pub(crate) fn heard_group(&self, facts: &Arc<Snapshot>, memory: Option<&str>) {
        remember(&mut locked(&self.heard).groups, (Arc::clone(facts), memory.map(str::to_owned)), GROUPS);
    }

    pub(crate) fn heard_reservation(&self, asked: &Arc<reserve::Asked>) {
        remember(&mut locked(&self.heard).reservations, Arc::clone(asked), RESERVATIONS);
    }

    pub(crate) fn heard_stats(&self, counters: Arc<[wit::CounterSet]>, offered: Arc<[wit::Instance]>) {
        remember(&mut locked(&self.heard).stats, (counters, offered), STATS);
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guest for Device {
    type Host = HostConfig;

    fn named(&self) -> GuestName {
        let about = self.policy.about();
        GuestName {
            name: about.name.clone(),
            version: about.version.clone(),
            digest: self.policy.digest().to_owned(),
            origin: self.policy.origin().to_owned(),
        }
    }

    fn imports(&self) -> &[Import] {
        self.policy.imports()
    }

    fn keys(&self) -> &Spec {
        &self.keys
    }

    fn schema(&self) -> &Spec {
        &self.schema
    }

    fn check_config(&self, config: &str) -> Result<Vec<wit::Diagnostic>, GuestError> {
        self.policy.check_config(config)
    }

    fn split(&self, config: Value) -> Result<(Value, HostConfig), String> {
        split(config)
    }

    fn common(host: &HostConfig) -> &Common {
        &host.common
    }

    fn may_become(&self, _next: &Device) -> Result<(), String> {
        Ok(())
    }
}

impl Side for DeviceSide {
    type Serving = Serving;

    fn turns(&self) -> &Turns<Serving> {
        &self.seat.turns
    }

    fn prepare(&self, guest: Option<Plugin>, rules: Option<Arc<Rules>>) -> Result<Serving, String> {
        match guest {
            None => self.seat.prepare(None, rules),
            Some(Plugin::Device(device)) => self.seat.prepare(Some(*device), rules),
            Some(Plugin::Driver(_)) => Err("it is a task driver's guest, and this is a device plugin".to_owned()),
        }
    }

    fn compare(&self, now: &Serving, next: &Serving) -> Result<Report, String> {
        let (groups, reservations, stats) = {
            let heard = locked(&self.heard);
            (heard.groups.clone(), heard.reservations.clone(), heard.stats.clone())
        };
        let mut report = Report::default();
        let mut offer = check::Offer::default();
        for (snapshot, memory) in &groups {
            let facts = convert::snapshot(snapshot);
            let group = |of: &Serving| of.guest.policy.group(&of.config, &facts, memory.as_deref());
            let offered = |of: &Serving, answer: &wit::Offer| check::offer(answer, snapshot, of.host.grants);
            match both(&mut report, || group(now), || group(next))? {
                (Some(Ok(was)), Ok(is)) => {
                    let (is, refused) = offered(next, &is);
                    report.offers(&offered(now, &was).0.groups, &is.groups);
                    offer = is;
                    for refusal in refused {
                        report.differs(format!("not offered: {refusal}"), None);
                    }
                }
                (_, Err(why)) => {
                    report.differs(format!("the policy cannot decide: {why}"), Some(Concern::LosesDevices));
                }
                _ => {}
            }
        }
        for asked in &reservations {
            // What it does not offer, it is not asked to hand out.
            let Some(as_next) = asked.in_offer(&offer) else { continue };
            let reserve = |of: &Serving, asked| {
                let rights = reserve::Rights { grants: of.host.grants, folders: Some(folders::USUAL) };
                Ok(reserve::decide(&of.guest.policy, &of.config, asked, rights)?.map(|answer| answer.reservation))
            };
            let ids = asked.ids();
            match both(&mut report, || reserve(now, asked), || reserve(next, &as_next))? {
                (Some(Ok(was)), Ok(is)) => report.reservations(&ids, &was, &is),
                (Some(Ok(_)), Err(why)) => {
                    report.differs(format!("reservation of {ids}: {why}"), Some(Concern::ChangesTasks));
                }
                _ => {}
            }
        }
        for (counters, offered) in &stats {
            let stats = |of: &Serving| of.guest.policy.stats(&of.config, counters, offered);
            both(&mut report, || stats(now), || stats(next))?.1.ok();
        }
        Ok(report)
    }
}

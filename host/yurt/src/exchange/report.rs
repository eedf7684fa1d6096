//! What would be different if a candidate served, in Nomad's words.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Debug};
use std::time::{Duration, Instant};

use serde::Serialize;
use yurt_guest::GuestError;
use yurt_nomad::device::{Group, Health, Reservation};

use super::settings::Concern;

/// Lines of one report.
const LINES: usize = 200;

/// The outcome of a shadow run.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Report {
    /// Real calls that both answered.
    pub(crate) calls: usize,
    /// Sentences, without repetition.
    pub(crate) changes: Vec<String>,
    #[serde(skip)]
    pub(crate) concerns: BTreeSet<Concern>,
    #[serde(skip)]
    now: Duration,
    #[serde(skip)]
    next: Duration,
}

impl Report {
    /// One difference; what it could be a reason against.
    pub(crate) fn differs(&mut self, sentence: String, concern: Option<Concern>) {
        self.concerns.extend(concern);
        if !self.changes.contains(&sentence) && self.changes.len() < LINES {
            self.changes.push(sentence);
        }
    }

    /// Both have answered one call.
    pub(crate) fn took(&mut self, now: Duration, next: Duration) {
        self.calls += 1;
        self.now += now;
        self.next += next;
    }

    /// How much longer the candidate takes, over all calls.
    pub(crate) fn slower(&self) -> Option<f64> {
        // Of less than this nothing can be said.
        let measurable = self.now.max(self.next) > Duration::from_millis(2);
        (self.calls > 0 && measurable && !self.now.is_zero()).then(|| self.next.as_secs_f64() / self.now.as_secs_f64())
    }

    /// Two offers about the same facts.
    pub(crate) fn offers(&mut self, now: &[Group], next: &[Group]) {
        let by_name = |groups: &[Group]| -> BTreeMap<String, Group> {
            groups
                .iter()
                .map(|group| (format!("{}/{}/{}", group.vendor, group.kind, group.name), group.clone()))
                .collect()
        };
        let (now, next) = (by_name(now), by_name(next));
        for (name, group) in &now {
            match next.get(name) {
                Some(other) => self.group(name, group, other),
                None => {
                    let ids = listed(group.instances.iter().map(|instance| &instance.id));
                    self.differs(format!("group {name}: is gone, with {ids}"), Some(Concern::LosesDevices));
                }
            }
        }
        for (name, group) in next.iter().filter(|(name, _)| !now.contains_key(*name)) {
            let ids = listed(group.instances.iter().map(|instance| &instance.id));
            self.differs(format!("group {name}: is new, with {ids}"), None);
        }
    }

    fn group(&mut self, name: &str, now: &Group, next: &Group) {
        let by_id = |group: &Group| -> BTreeMap<String, Health> {
            group.instances.iter().map(|instance| (instance.id.clone(), instance.health.clone())).collect()
        };
        let (was, is) = (by_id(now), by_id(next));
        for (id, health) in &was {
            match (health, is.get(id)) {
                (_, None) => self.differs(format!("group {name}: loses id {id}"), Some(Concern::LosesDevices)),
                (Health::Healthy { .. }, Some(Health::Unhealthy { reason })) => {
                    self.differs(
                        format!("group {name}: {id} becomes unhealthy ({reason})"),
                        Some(Concern::LosesHealth),
                    );
                }
                (Health::Unhealthy { .. }, Some(Health::Healthy { .. })) => {
                    self.differs(format!("group {name}: {id} becomes healthy"), None);
                }
                _ => {}
            }
        }
        for id in is.keys().filter(|id| !was.contains_key(*id)) {
            self.differs(format!("group {name}: gains id {id}"), None);
        }
        self.keys(&format!("group {name}: attribute"), &now.attributes, &next.attributes, None);
    }

    /// What tasks would get for the same devices.
    pub(crate) fn reservations(&mut self, of: &str, now: &Reservation, next: &Reservation) {
        let concern = Some(Concern::ChangesTasks);
        let nodes = |reservation: &Reservation| -> BTreeMap<String, String> {
            let devices = reservation.devices.iter();
            devices
                .map(|node| (format!("{} at {}", node.host_path, node.task_path), node.permissions.clone()))
                .collect()
        };
        self.keys(&format!("reservation of {of}: node"), &nodes(now), &nodes(next), concern);
        let names = |reservation: &Reservation| -> BTreeMap<String, Hidden> {
            reservation.envs.iter().map(|(name, value)| (name.clone(), Hidden::of(value))).collect()
        };
        self.keys(&format!("reservation of {of}: variable"), &names(now), &names(next), concern);
    }

    /// Names and values of one kind of thing.
    pub(crate) fn keys<V: PartialEq + Debug>(
        &mut self,
        what: &str,
        now: &BTreeMap<String, V>,
        next: &BTreeMap<String, V>,
        concern: Option<Concern>,
    ) {
        for (key, value) in now {
            match next.get(key) {
                None => self.differs(format!("{what} {key} is gone"), concern),
                Some(other) if other != value => {
                    self.differs(format!("{what} {key} changes from {value:?} to {other:?}"), concern);
                }
                Some(_) => {}
            }
        }
        for (key, value) in next.iter().filter(|(key, _)| !now.contains_key(*key)) {
            self.differs(format!("{what} {key} is added: {value:?}"), concern);
        }
    }
}

/// Keeps the newest `most` calls for a shadow run.
pub(crate) fn remember<T>(calls: &mut VecDeque<T>, call: T, most: usize) {
    if calls.len() >= most {
        calls.pop_front();
    }
    calls.push_back(call);
}

/// Asks both in turn. That the present one fails is not the candidate's fault.
pub(crate) fn both<T>(
    report: &mut Report,
    now: impl FnOnce() -> Result<T, GuestError>,
    next: impl FnOnce() -> Result<T, GuestError>,
) -> Result<(Option<T>, T), String> {
    let begun = Instant::now();
    let was = now().ok();
    let between = Instant::now();
    let is = next().map_err(|why| why.to_string())?;
    report.took(between.duration_since(begun), between.elapsed());
    Ok((was, is))
}

/// Compared, not told: it is the task's own affair.
#[derive(PartialEq)]
pub(crate) struct Hidden(String);

impl Hidden {
    pub(crate) fn of(value: &impl Debug) -> Hidden {
        Hidden(format!("{value:?}"))
    }
}

impl Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

fn listed<'a>(ids: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 8;
    let all: Vec<&str> = ids.map(String::as_str).collect();
    let shown = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match all.len() {
        0 => "no device".to_owned(),
        more if more > SHOWN => format!("{shown} and {} more", more - SHOWN),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yurt_nomad::device::{DeviceNode, Instance};

    fn group(name: &str, ids: &[(&str, bool)]) -> Group {
        let health = |healthy: bool| match healthy {
            true => Health::Healthy { note: String::new() },
            false => Health::Unhealthy { reason: "busy".into() },
        };
        Group {
            vendor: "acme".into(),
            kind: "usb".into(),
            name: name.into(),
            attributes: BTreeMap::new(),
            instances: ids
                .iter()
                .map(|(id, healthy)| Instance { id: (*id).into(), health: health(*healthy), pci_bus_id: None })
                .collect(),
        }
    }

    #[test]
    fn what_a_node_would_lose_and_gain_is_told_by_group_and_id() {
        let mut report = Report::default();
        report.offers(
            &[group("board", &[("A", true), ("B", true)]), group("old", &[("C", true)])],
            &[group("board", &[("B", false), ("D", true)]), group("new", &[])],
        );
        assert_eq!(
            report.changes,
            [
                "group acme/usb/board: loses id A",
                "group acme/usb/board: B becomes unhealthy (busy)",
                "group acme/usb/board: gains id D",
                "group acme/usb/old: is gone, with C",
                "group acme/usb/new: is new, with no device",
            ]
        );
        assert_eq!(report.concerns, BTreeSet::from([Concern::LosesDevices, Concern::LosesHealth]));
    }

    #[test]
    fn what_a_task_would_get_is_told_by_node_and_variable() {
        let node = |permissions: &str| DeviceNode {
            task_path: "/dev/x".into(),
            host_path: "/dev/bus/usb/001/002".into(),
            permissions: permissions.into(),
        };
        let now = Reservation { devices: vec![node("rw")], ..Reservation::default() };
        let envs = BTreeMap::from([("YURT_X".to_owned(), "1".to_owned())]);
        let next = Reservation { devices: vec![node("r")], envs, ..Reservation::default() };
        let mut report = Report::default();
        report.reservations("A", &now, &next);
        assert_eq!(
            report.changes,
            [
                "reservation of A: node /dev/bus/usb/001/002 at /dev/x changes from \"rw\" to \"r\"",
                "reservation of A: variable YURT_X is added: …",
            ]
        );
        assert_eq!(report.concerns, BTreeSet::from([Concern::ChangesTasks]));
    }
}

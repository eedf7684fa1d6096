//! Whether the driver works on this node: what the host itself needs first, then what the guest makes of its probes. One task looks,
//! at once, once per period, and when the configuration changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use yurt_guest::GuestError;
use yurt_guest::driver as wit;
use yurt_nomad::driver::{Fingerprint, Health, PluginError};
use yurt_task::landlock;

use super::config::Isolation;
use super::look::Place;
use crate::convert;
use crate::driver_side::{DriverSide, Serving};
use crate::exchange::{Serves as _, Side as _, Turn};
use crate::guest_call::blocking;

/// What a look found, and whose look it was: plans are made from it by nobody else.
pub(crate) struct Looked {
    pub(crate) turn: Arc<Turn<Serving>>,
    pub(crate) findings: Arc<[wit::Finding]>,
}

/// The last look; none before the first.
pub(crate) type Looks = watch::Sender<Option<Arc<Looked>>>;

/// Looks until nobody can configure it any more. Its task ends with the runtime.
pub(crate) fn start(side: Arc<DriverSide>, looked: Arc<Looks>, told: watch::Sender<Option<Arc<Fingerprint>>>) {
    tokio::spawn(async move {
        let mut turns = side.turns().subscribe();
        let mut lacking = Vec::new();
        loop {
            let turn = Arc::clone(&turns.borrow_and_update());
            let (findings, fingerprint) = match look(&turn.serving).await {
                // The one before serves again, and looks at once.
                Err(why) if side.turns().failed(&turn, &why) => continue,
                Err(why) => (Arc::from([]), failed(&why)),
                Ok(found) => found,
            };
            let refused = refused(&findings);
            if refused != lacking {
                if !refused.is_empty() {
                    let guest = turn.serving.guest();
                    tracing::warn!("guest {guest} asks for what it is not granted: {}", refused.join("; "));
                }
                lacking = refused;
            }
            side.heard_findings(&findings);
            looked.send_replace(Some(Arc::new(Looked { turn: Arc::clone(&turn), findings })));
            told.send_if_modified(|last| {
                let new = last.as_deref() != Some(&fingerprint);
                if new {
                    tracing::info!(health = ?fingerprint.health, "the driver's health");
                    *last = Some(Arc::new(fingerprint));
                }
                new
            });
            let period = turn.serving.host.block.fingerprint_period;
            if let Ok(Err(_)) = tokio::time::timeout(period, turns.changed()).await {
                return;
            }
        }
    });
}

/// What it may not look at, each with the grant that would allow it.
fn refused(findings: &[wit::Finding]) -> Vec<String> {
    let refused = |finding: &wit::Finding| match &finding.outcome {
        Err(wit::Trouble::Refused(why)) => Some(why.clone()),
        _ => None,
    };
    findings.iter().filter_map(refused).collect()
}

async fn look(serving: &Arc<Serving>) -> Result<(Arc<[wit::Finding]>, Fingerprint), GuestError> {
    let nothing = |health| Ok((Arc::from([]), Fingerprint { attributes: BTreeMap::new(), health }));
    if let Some(health) = missing(serving.host.isolation) {
        return nothing(health);
    }
    let lost = |why: PluginError| nothing(Health::Unhealthy { reason: why.to_string() });
    let asked = Arc::clone(serving);
    let probes = match blocking(move || asked.guest.logic.probes(&asked.config)).await {
        Ok(probes) => probes?,
        Err(why) => return lost(why),
    };
    let name = &serving.guest.logic.about().name;
    let findings: Arc<[wit::Finding]> = Place::node(name, &serving.host.block.grants).look(&probes).await.into();
    let (asked, seen) = (Arc::clone(serving), Arc::clone(&findings));
    match blocking(move || asked.guest.logic.judge(&asked.config, &seen)).await {
        Ok(judged) => Ok((findings, with_limits(fingerprint(judged?), serving.host.isolation))),
        Err(why) => lost(why),
    }
}

fn failed(why: &GuestError) -> Fingerprint {
    tracing::error!("the node could not be judged: {why}");
    Fingerprint { attributes: BTreeMap::new(), health: Health::Unhealthy { reason: why.to_string() } }
}

/// In Nomad's words.
pub(crate) fn fingerprint(judged: wit::Fingerprint) -> Fingerprint {
    let reason = judged.reason;
    let because = |otherwise: &str| if reason.is_empty() { otherwise.to_owned() } else { reason.clone() };
    Fingerprint {
        attributes: convert::attributes(&judged.attributes),
        health: match judged.health {
            wit::DriverHealth::Undetected => Health::Undetected { reason: because("the guest did not say why") },
            wit::DriverHealth::Unhealthy => Health::Unhealthy { reason: because("the guest did not say why") },
            wit::DriverHealth::Healthy => Health::Healthy { note: because("Healthy") },
        },
    }
}

/// Of a healthy driver, what its isolation lacks on this machine.
fn with_limits(judged: Fingerprint, isolation: Isolation) -> Fingerprint {
    let version = if isolation == Isolation::Landlock { landlock::available().ok() } else { None };
    match (version.and_then(landlock::missing), judged) {
        (Some(missing), Fingerprint { attributes, health: Health::Healthy { note } }) => {
            Fingerprint { attributes, health: Health::Healthy { note: format!("{note}; of Landlock {missing}") } }
        }
        (_, judged) => judged,
    }
}

/// What the host needs, whatever the guest says.
fn missing(isolation: Isolation) -> Option<Health> {
    if !rustix::process::geteuid().is_root() {
        let own = if isolation.has_a_root() { "a root directory" } else { "mounts" };
        return (isolation != Isolation::None)
            .then(|| Health::Undetected { reason: format!("Driver must run as root: tasks get {own} of their own") });
    }
    if isolation == Isolation::Landlock
        && let Err(why) = landlock::available()
    {
        return Some(Health::Undetected { reason: format!("{why}; yurt.isolation can be \"overlay\" or \"chroot\"") });
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    (!has_cgroups(&mounts)).then(|| Health::Unhealthy {
        reason: "Failed to discover cgroup mount point: neither cgroup nor cgroup2 is mounted".to_owned(),
    })
}

/// `cgroup2 /sys/fs/cgroup cgroup2 rw,… 0 0`
fn has_cgroups(mounts: &str) -> bool {
    mounts.lines().filter_map(|line| line.split(' ').nth(2)).any(|kind| kind == "cgroup" || kind == "cgroup2")
}

#[cfg(test)]
mod tests {
    use super::has_cgroups;

    #[test]
    fn either_version_of_control_groups_will_do() {
        assert!(has_cgroups("proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"));
        assert!(has_cgroups("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"));
        assert!(!has_cgroups("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"));
    }
}

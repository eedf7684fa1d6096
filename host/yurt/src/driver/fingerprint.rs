//! Whether the driver works on this node: what the host itself needs first, then what the guest makes of its probes. One task looks,
//! at once, once per period, and when the configuration changes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use yurt_guest::DriverLogic;
use yurt_guest::driver as wit;
use yurt_nomad::driver::{Fingerprint, Health};

use super::config::Isolation;
use super::look::Place;
use crate::convert;
use crate::driver_plugin::Config;
use crate::guest_call::asked;

/// What the last look found, for plans.
pub(crate) type Findings = Arc<RwLock<Arc<[wit::Finding]>>>;

/// Looks until nobody can configure it any more. Its task ends with the runtime.
pub(crate) fn start(
    logic: DriverLogic,
    mut config: watch::Receiver<Arc<Config>>,
    findings: Findings,
    looks: watch::Sender<Option<Arc<Fingerprint>>>,
) {
    tokio::spawn(async move {
        loop {
            let current = Arc::clone(&config.borrow_and_update());
            let (found, fingerprint) = look(&logic, &current).await;
            *findings.write().unwrap_or_else(PoisonError::into_inner) = found.into();
            looks.send_if_modified(|last| {
                let new = last.as_deref() != Some(&fingerprint);
                if new {
                    tracing::info!(health = ?fingerprint.health, "the driver's health");
                    *last = Some(Arc::new(fingerprint));
                }
                new
            });
            let period = current.host.fingerprint_period;
            if let Ok(Err(_)) = tokio::time::timeout(period, config.changed()).await {
                return;
            }
        }
    });
}

async fn look(logic: &DriverLogic, config: &Config) -> (Vec<wit::Finding>, Fingerprint) {
    if let Some(health) = missing(config.isolation) {
        return (Vec::new(), Fingerprint { attributes: BTreeMap::new(), health });
    }
    let failed = |why: String| {
        tracing::error!("the node could not be judged: {why}");
        Fingerprint { attributes: BTreeMap::new(), health: Health::Unhealthy { reason: why } }
    };
    let (guest, keys) = (logic.clone(), Arc::clone(&config.guest));
    let probes = match asked(move || guest.probes(&keys)).await {
        Ok(probes) => probes,
        Err(why) => return (Vec::new(), failed(why.to_string())),
    };
    let findings = Place::node(&logic.about().name, &config.host.grants).look(&probes).await;
    let (guest, keys, seen) = (logic.clone(), Arc::clone(&config.guest), findings.clone());
    match asked(move || guest.judge(&keys, &seen)).await {
        Ok(judged) => (findings, fingerprint(judged)),
        Err(why) => (findings, failed(why.to_string())),
    }
}

fn fingerprint(judged: wit::Fingerprint) -> Fingerprint {
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

/// What the host needs, whatever the guest says.
fn missing(isolation: Isolation) -> Option<Health> {
    if !rustix::process::geteuid().is_root() {
        return (isolation != Isolation::None).then(|| Health::Undetected {
            reason: "Driver must run as root: tasks get a root directory of their own".to_owned(),
        });
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

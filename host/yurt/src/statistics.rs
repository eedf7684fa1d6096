//! Figures for people: the kernel's counters of what is offered, shaped by the policy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use yurt_guest::usb as wit;
use yurt_nomad::device::{GroupStats, InstanceStats, PluginError};

use crate::convert;
use crate::device_side::{DeviceSide, Serving};
use crate::exchange::Side as _;
use crate::guest_call::asked;
use crate::offer::Offers;

/// Answers one beat of a Stats stream. Nothing offered costs nothing: the policy is not even asked.
pub(crate) async fn stats(side: &Arc<DeviceSide>, offers: &Arc<Offers>) -> Result<Vec<GroupStats>, PluginError> {
    let current = offers.current.borrow().clone();
    if current.offer.instances.is_empty() {
        return Ok(Vec::new());
    }
    let instances: Vec<wit::Instance> = current.offer.instances.values().map(|one| one.instance.clone()).collect();
    let (side, offers, turn) = (Arc::clone(side), Arc::clone(offers), Arc::clone(&current.turn));
    let answer = asked(move || {
        let keys: Vec<String> = instances.iter().flat_map(|instance| instance.members.iter().cloned()).collect();
        let counters = convert::counters(&offers.watcher.counters(&keys));
        let ask = |serving: &Serving| serving.guest.policy.stats(&serving.config, &counters, &instances);
        let answer = match ask(&turn.serving) {
            // Figures are of the kernel's counters: the policy before may shape them, too.
            Err(why) if side.turns().failed(&turn, &why) => ask(&side.turns().now().serving),
            answered => answered,
        };
        side.heard_stats(counters.into(), instances.into());
        answer
    })
    .await?
    .map_err(|why| PluginError::internal(format!("the policy has no figures: {why}")))?;

    let now = SystemTime::now();
    let mut groups: BTreeMap<(String, String, String), BTreeMap<String, InstanceStats>> = BTreeMap::new();
    for figures in &answer {
        // Figures of an instance that is not offered are nobody's.
        let Some(offered) = current.offer.instances.get(&figures.id) else { continue };
        let name = &offered.group;
        groups.entry((name.vendor.clone(), name.kind.clone(), name.name.clone())).or_default().insert(
            figures.id.clone(),
            InstanceStats {
                summary: convert::stat(&figures.summary),
                stats: convert::stat_tree(&figures.figures),
                timestamp: now,
            },
        );
    }
    Ok(groups
        .into_iter()
        .map(|((vendor, kind, name), instances)| GroupStats { vendor, kind, name, instances })
        .collect())
}

//! Names of groups, fit for `device "vendor/usb/name"` in a job: lower-case words from usb.ids, else from the device's own strings,
//! else from its ids (`v12f7`, `p1e23`).
//!
//! Names in usb.ids are not unique: different products of one vendor share one. The first product that has a name keeps it (it is
//! remembered), later ones get their product id behind it, `hub-1e23`. A name that a rule gives is taken as it stands: products that a
//! rule puts under one name are one group on purpose.

use serde::{Deserialize, Serialize};
use yurt_sdk::facts::{Label, UsbDevice};
use yurt_sdk::offer::GroupName;
use yurt_sdk::{attribute, slug};

use crate::rules::Rule;

/// Longest part of a group's name.
pub(crate) const LONGEST: usize = 63;

/// How many names are remembered.
pub(crate) const REMEMBERED: usize = 200;

/// A name that a product holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    #[serde(rename = "v")]
    vendor: u16,
    #[serde(rename = "p")]
    product: u16,
    #[serde(rename = "g")]
    vendor_name: String,
    #[serde(rename = "n")]
    name: String,
}

impl Given {
    fn is_of(&self, device: &UsbDevice) -> bool {
        self.vendor == device.vendor_id && self.product == device.product_id
    }
}

/// The groups of these devices, in their order, and what to remember.
pub(crate) fn assign(
    offered: &[(&UsbDevice, &Rule)],
    rules: &[Rule],
    memory: Vec<Given>,
) -> (Vec<GroupName>, Vec<Given>) {
    // Present products first, so that what is forgotten for lack of room is the oldest of the absent.
    let mut given: Vec<Given> = Vec::new();
    let mut names: Vec<Option<GroupName>> = vec![None; offered.len()];
    // By ids first, so that two products that come together are named alike on every machine.
    let mut order: Vec<usize> = Vec::new();
    for index in 0..offered.len() {
        let ids = |index: usize| offered.get(index).map(|(device, _)| (device.vendor_id, device.product_id));
        order.insert(order.partition_point(|other| ids(*other) <= ids(index)), index);
    }
    for index in order {
        let (Some((device, rule)), Some(slot)) = (offered.get(index), names.get_mut(index)) else { continue };
        let vendor = vendor_of(device, rule);
        let name = match &rule.group {
            Some(name) => name.clone(),
            None => {
                let name = held(device, &vendor, &given, &memory).unwrap_or_else(|| {
                    let natural = product_of(device);
                    let free = |name: &str| {
                        let held = |g: &Given| g.vendor_name == vendor && g.name == name && !g.is_of(device);
                        let of_rule = |rule: &Rule| rule.group.as_deref() == Some(name);
                        !given.iter().any(held) && !memory.iter().any(held) && !rules.iter().any(of_rule)
                    };
                    with_ids(&natural, device).into_iter().find(|name| free(name)).unwrap_or(natural)
                });
                let new = Given {
                    vendor: device.vendor_id,
                    product: device.product_id,
                    vendor_name: vendor.clone(),
                    name: name.clone(),
                };
                if !given.contains(&new) {
                    given.push(new);
                }
                name
            }
        };
        *slot = Some(GroupName { vendor, kind: "usb".into(), name });
    }
    for old in memory {
        if !given.contains(&old) {
            given.push(old);
        }
    }
    given.truncate(REMEMBERED);
    (names.into_iter().flatten().collect(), given)
}

/// The name that this product has already, if it is still what it would be called.
fn held(device: &UsbDevice, vendor: &str, given: &[Given], memory: &[Given]) -> Option<String> {
    let candidates = with_ids(&product_of(device), device);
    let mine = |g: &&Given| g.is_of(device) && g.vendor_name == vendor && candidates.contains(&g.name);
    given.iter().find(mine).or_else(|| memory.iter().find(mine)).map(|g| g.name.clone())
}

fn with_ids(natural: &str, device: &UsbDevice) -> [String; 3] {
    let short: String = natural.chars().take(LONGEST - 10).collect();
    [
        natural.to_owned(),
        format!("{short}-{:04x}", device.product_id),
        format!("{short}-{:04x}-{:04x}", device.vendor_id, device.product_id),
    ]
}

fn vendor_of(device: &UsbDevice, rule: &Rule) -> String {
    (rule.vendor_name.clone())
        .or_else(|| first_slug(device.vendor_name.as_deref(), device.manufacturer.as_ref()))
        .unwrap_or_else(|| format!("v{:04x}", device.vendor_id))
}

fn product_of(device: &UsbDevice) -> String {
    first_slug(device.product_name.as_deref(), device.product.as_ref())
        .unwrap_or_else(|| format!("p{:04x}", device.product_id))
}

fn first_slug(listed: Option<&str>, own: Option<&Label>) -> Option<String> {
    listed.and_then(slug_of).or_else(|| own.and_then(|label| slug_of(&label.text)))
}

/// A slug that Nomad reads as text, so that `${device.model}` can be matched: a product called "2000" is `n-2000`.
pub(crate) fn slug_of(name: &str) -> Option<String> {
    let slug = slug::slug(name, LONGEST - 2)?;
    Some(if attribute::reads_as_text(&slug) { slug } else { format!("n-{slug}") })
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;

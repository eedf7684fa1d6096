//! What every offer goes through before an agent sees it.
//!
//! An agent that meets one invalid group clears all devices of the plugin and stops it for good, without saying which group or
//! why. So the offending group is left out here, with a reason, and the rest is sent. Beyond what stops a plugin, this refuses
//! what would make a group useless to jobs: ids that a constraint cannot name, names that a request cannot be split into.
//!
//! | | bound |
//! |---|---|
//! | vendor, kind, name | not empty, ≤ 128 bytes, no `/`, no control characters, no outer blanks |
//! | instance id | 1 to 128 of `A-Z a-z 0-9 . _ -`, not readable as a number or boolean, unique over all groups |
//! | attribute name | 1 to 128 bytes, no control characters, blanks, `$`, `{`, `}` |
//! | attribute text | ≤ 1024 bytes, no control characters |
//! | attribute number | finite; its unit, if it has one, is Nomad's |
//! | health text | cleaned of control characters and cut to 160 characters |
//! | PCI bus id | left out where it is none |
//! | in one offer | ≤ 1024 groups, ≤ 128 attributes a group, ≤ 4096 instances |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Group, Health, Instance};
use crate::attribute::{Attribute, Value, parse_literal, unit};
use crate::text::cleaned;

/// The attribute that every group gets: how many of its instances are healthy.
///
/// A node's computed class covers a group's attributes but neither its health nor its size, and a job that was found
/// infeasible for a class waits until the class changes. With this count in it, a device that turns healthy wakes that job.
pub const HEALTHY_COUNT: &str = "healthy_count";

const NAME_MAX: usize = 128;
const TEXT_MAX: usize = 1024;
const HEALTH_MAX: usize = 160;
const GROUPS_MAX: usize = 1024;
const ATTRIBUTES_MAX: usize = 128;
const INSTANCES_MAX: usize = 4096;

/// An offer, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checked {
    /// What may be sent: sorted, each name once, with [`HEALTHY_COUNT`].
    pub groups: Vec<Group>,
    /// What is left out.
    pub refused: Vec<Refusal>,
}

/// A group that is not offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `vendor/kind/name`, fit for a log line.
    pub group: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.group, self.reason)
    }
}

type Name = (String, String, String);

/// Checks an offer: invalid groups are left out with a reason; groups of one name are merged; instances and groups are
/// sorted; [`HEALTHY_COUNT`] is set. A group without healthy instances stays in place with a count of 0.
///
/// Of two groups that clash (over an id, over an attribute of one name) the first in the given order stays. Checking what was
/// checked changes nothing.
pub fn validate(groups: Vec<Group>) -> Checked {
    let mut refused = Vec::new();
    let mut taken = BTreeSet::new();
    let mut merged: BTreeMap<Name, Group> = BTreeMap::new();
    for group in groups {
        let label = cleaned(&format!("{}/{}/{}", group.vendor, group.kind, group.name), 3 * NAME_MAX);
        match check(group, &taken, &merged) {
            Ok(group) => {
                taken.extend(group.instances.iter().map(|instance| instance.id.clone()));
                add(&mut merged, group);
            }
            Err(reason) => refused.push(Refusal { group: label, reason }),
        }
    }
    let groups = merged.into_values().map(finished).collect();
    Checked { groups, refused }
}

fn check(mut group: Group, taken: &BTreeSet<String>, merged: &BTreeMap<Name, Group>) -> Result<Group, String> {
    name("vendor", &group.vendor)?;
    name("kind", &group.kind)?;
    name("name", &group.name)?;
    // Set anew for every offer, whatever the plugin says.
    group.attributes.remove(HEALTHY_COUNT);
    for (name, value) in &group.attributes {
        attribute_name(name)?;
        attribute(value).map_err(|why| format!("attribute {name:?} {why}"))?;
    }
    let same = merged.get(&(group.vendor.clone(), group.kind.clone(), group.name.clone()));
    if same.is_none() && merged.len() >= GROUPS_MAX {
        return Err(format!("more than {GROUPS_MAX} groups are offered"));
    }
    let others = same.map(|same| &same.attributes);
    if let Some((name, _)) = group
        .attributes
        .iter()
        .find(|(name, value)| others.and_then(|others| others.get(*name)).is_some_and(|other| other != *value))
    {
        return Err(format!("attribute {name:?} has another value in a group of the same name"));
    }
    let names: BTreeSet<&String> = group.attributes.keys().chain(others.into_iter().flat_map(BTreeMap::keys)).collect();
    if names.len() > ATTRIBUTES_MAX {
        return Err(format!("it has more than {ATTRIBUTES_MAX} attributes"));
    }
    if taken.len() + group.instances.len() > INSTANCES_MAX {
        return Err(format!("more than {INSTANCES_MAX} instances are offered"));
    }
    let mut own = BTreeSet::new();
    for instance in &mut group.instances {
        id(&instance.id)?;
        if taken.contains(&instance.id) {
            return Err(format!("the id {:?} stands in another group already", instance.id));
        }
        if !own.insert(instance.id.clone()) {
            return Err(format!("the id {:?} stands in it twice", instance.id));
        }
        tidy(instance);
    }
    Ok(group)
}

fn name(part: &str, text: &str) -> Result<(), String> {
    let fault = if text.is_empty() {
        "is empty"
    } else if text.len() > NAME_MAX {
        return Err(format!("its {part} is longer than {NAME_MAX} bytes"));
    } else if text.contains('/') {
        "holds a `/`, at which a request is split"
    } else if text.chars().any(char::is_control) {
        "holds a control character"
    } else if text.trim() != text {
        "begins or ends with a blank"
    } else {
        return Ok(());
    };
    Err(format!("its {part} {text:?} {fault}"))
}

fn attribute_name(text: &str) -> Result<(), String> {
    if text.is_empty() {
        Err("an attribute has no name".to_owned())
    } else if text.len() > NAME_MAX {
        Err(format!("the name of an attribute is longer than {NAME_MAX} bytes"))
    } else if text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '$' | '{' | '}')) {
        Err(format!(
            "attribute {text:?} could not be named in a constraint: no blanks, control characters, `$`, `{{`, `}}`"
        ))
    } else {
        Ok(())
    }
}

fn attribute(attribute: &Attribute) -> Result<(), String> {
    match (&attribute.value, &attribute.unit) {
        (Value::Text(_), Some(unit)) => return Err(format!("is text and has a unit, {unit:?}: only numbers may")),
        (Value::Flag(_), Some(unit)) => {
            return Err(format!("is true or false and has a unit, {unit:?}: only numbers may"));
        }
        (_, Some(name)) if unit(name).is_none() => {
            return Err(format!("has the unit {:?}, which Nomad does not know: leave it off", cleaned(name, 40)));
        }
        _ => {}
    }
    match &attribute.value {
        Value::Float(number) if !number.is_finite() => Err(format!("is {number}, which no constraint can compare")),
        Value::Text(text) if text.len() > TEXT_MAX => Err(format!("is longer than {TEXT_MAX} bytes")),
        Value::Text(text) if text.chars().any(char::is_control) => Err("holds a control character".to_owned()),
        _ => Ok(()),
    }
}

fn id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        Err("an instance has no id".to_owned())
    } else if id.len() > NAME_MAX {
        Err(format!("an id is longer than {NAME_MAX} bytes"))
    } else if !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        Err(format!("the id {:?} holds something else than letters, digits, `.`, `_`, `-`", cleaned(id, NAME_MAX)))
    } else if !matches!(parse_literal(id).value, Value::Text(_)) {
        Err(format!(
            "the id {id:?} reads as a number or boolean, so that no constraint could name it: put a word before it"
        ))
    } else {
        Ok(())
    }
}

fn tidy(instance: &mut Instance) {
    match &mut instance.health {
        Health::Healthy { note: text } | Health::Unhealthy { reason: text } => *text = cleaned(text, HEALTH_MAX),
    }
    instance.pci_bus_id = instance.pci_bus_id.take().filter(|id| is_pci_bus_id(id));
}

/// `0000:00:14.0`: domain, bus, device and function in hexadecimal.
fn is_pci_bus_id(id: &str) -> bool {
    let hex = |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let parts = id.rsplit_once('.').and_then(|(address, function)| {
        let (rest, device) = address.rsplit_once(':')?;
        let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
        Some([(domain, 8), (bus, 2), (device, 2), (function, 1)])
    });
    parts.is_some_and(|parts| parts.iter().all(|(text, most)| hex(text, *most)))
}

fn add(merged: &mut BTreeMap<Name, Group>, group: Group) {
    let name = (group.vendor.clone(), group.kind.clone(), group.name.clone());
    match merged.get_mut(&name) {
        Some(same) => {
            same.attributes.extend(group.attributes);
            same.instances.extend(group.instances);
        }
        None => {
            merged.insert(name, group);
        }
    }
}

fn finished(mut group: Group) -> Group {
    group.instances.sort_by(|a, b| a.id.cmp(&b.id));
    let healthy = group.instances.iter().filter(|instance| instance.health.is_healthy()).count();
    let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
    group.attributes.insert(HEALTHY_COUNT.to_owned(), Attribute::integer(healthy));
    group
}

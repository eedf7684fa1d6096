//! Gives USB devices the names that rules say: the first rule that matches a device decides its group.

use serde::{Deserialize, Serialize};
use yurt_sdk::facts::{CounterSet, Presence, SerialQuality, Snapshot, UsbDevice};
use yurt_sdk::offer::{
    DeviceGroup, EnvValue, Figure, GrantedEnv, GroupName, Health, Instance, InstanceStats, NodeGrant, Reservation,
};
use yurt_sdk::{Attribute, Description, Diagnostic, Offer, Severity, UsbPolicy, Value, attribute};

struct Guest;

const CONFIG_SPEC: &str = r#"
object {
  default "vendor_name" {
    attr {
      name = "vendor_name"
      type = string
    }
    literal {
      value = "shelf"
    }
  }
  block_list "rule" {
    object {
      attr "vendor" {
        type     = string
        required = true
      }
      attr "product" {
        type = string
      }
      attr "group" {
        type     = string
        required = true
      }
    }
  }
}
"#;

#[derive(Deserialize)]
struct Config {
    vendor_name: String,
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    vendor: String,
    product: Option<String>,
    group: String,
}

/// What was offered, to say what came and what went.
#[derive(Serialize, Deserialize)]
struct Memory {
    #[serde(default)]
    ids: Vec<String>,
}

impl UsbPolicy for Guest {
    type Config = Config;
    type Memory = Memory;

    fn describe() -> Description {
        Description {
            name: "shelf".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Gives USB devices the names that rules say.".into(),
            config_spec: CONFIG_SPEC.into(),
        }
    }

    fn check_config(config: &Config) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        if config.rule.is_empty() {
            let hint = r#"rule { vendor = "0x12f7", group = "stick" }"#;
            findings.push(finding(Severity::Warning, "rule", "without a rule nothing is offered".into(), Some(hint)));
        }
        for (at, rule) in config.rule.iter().enumerate() {
            for (key, text) in [("vendor", Some(&rule.vendor)), ("product", rule.product.as_ref())] {
                if let Some(text) = text.filter(|text| usb_id(text).is_none()) {
                    let message = format!("\"{text}\" is no USB id");
                    let hint = "0x and four hexadecimal digits, as in \"0x12f7\"";
                    findings.push(finding(Severity::Error, &format!("rule[{at}].{key}"), message, Some(hint)));
                }
            }
            if !is_name(&rule.group) {
                let message = format!("\"{}\" cannot be the name of a group", rule.group);
                let hint = "lower-case letters, digits and -, a letter first";
                findings.push(finding(Severity::Error, &format!("rule[{at}].group"), message, Some(hint)));
            }
            let covers = |earlier: &&Rule| {
                earlier.vendor == rule.vendor && (earlier.product.is_none() || earlier.product == rule.product)
            };
            if let Some(earlier) = config.rule.iter().take(at).position(|earlier| covers(&earlier)) {
                let message = format!("never used: rule[{earlier}] takes the same devices");
                findings.push(finding(Severity::Warning, &format!("rule[{at}]"), message, None));
            }
        }
        findings
    }

    fn group(config: &Config, facts: &Snapshot, memory: Option<Memory>) -> Result<Offer<Memory>, String> {
        let mut gathered: Vec<(&str, Vec<&UsbDevice>)> = Vec::new();
        let mut ask_again_milliseconds = None;
        for device in &facts.devices {
            let Some(rule) = config.rule.iter().find(|rule| matches(rule, device)) else { continue };
            if device.life.presence == Presence::Settling {
                ask_again_milliseconds = Some(250);
                continue;
            }
            match gathered.iter_mut().find(|(name, _)| *name == rule.group) {
                Some((_, devices)) => devices.push(device),
                None => gathered.push((&rule.group, vec![device])),
            }
        }
        let groups: Vec<DeviceGroup> = gathered
            .into_iter()
            .map(|(name, devices)| DeviceGroup {
                name: GroupName { vendor: config.vendor_name.clone(), kind: "usb".into(), name: name.into() },
                attributes: attributes(&devices),
                instances: devices.into_iter().map(instance).collect(),
            })
            .collect();

        let ids: Vec<String> = groups.iter().flat_map(|group| &group.instances).map(|one| one.id.clone()).collect();
        let before = memory.map(|memory| memory.ids).unwrap_or_default();
        for id in ids.iter().filter(|id| !before.contains(id)) {
            yurt_sdk::info!("{id} is offered");
        }
        for id in before.iter().filter(|id| !ids.contains(id)) {
            yurt_sdk::info!("{id} is gone");
        }
        Ok(Offer { groups, memory: Some(Memory { ids }), ask_again_milliseconds })
    }

    fn reserve(_: &Config, facts: &Snapshot, group: &GroupName, reserved: &[Instance]) -> Result<Reservation, String> {
        let variable = format!("YURT_{}", group.name.to_uppercase().replace('-', "_"));
        let mut reservation = Reservation { env: Vec::new(), nodes: Vec::new(), mounts: Vec::new() };
        for key in reserved.iter().flat_map(|instance| &instance.members) {
            let device = facts.devices.iter().find(|device| device.key == *key);
            let device = device.ok_or_else(|| format!("device {key} is not among the facts"))?;
            let usbfs = device.nodes.iter().position(|node| node.subsystem == "usb_device");
            let usbfs = usbfs.ok_or_else(|| format!("device {key} has no usbfs node"))?;
            let number = reservation.nodes.len();
            let name = if number == 0 { variable.clone() } else { format!("{variable}_{}", number + 1) };
            reservation.env.push(GrantedEnv { name, value: EnvValue::NodePath(number as u32) });
            reservation.nodes.push(NodeGrant {
                member: key.clone(),
                node: usbfs as u32,
                task_path: None,
                read: true,
                write: true,
                mknod: false,
            });
        }
        Ok(reservation)
    }

    fn stats(_: &Config, counters: &[CounterSet], offered: &[Instance]) -> Result<Vec<InstanceStats>, String> {
        let stats = offered.iter().map(|instance| {
            let own = counters.iter().filter(|set| instance.members.contains(&set.key)).flat_map(|set| &set.counters);
            let requests = own.filter(|counter| counter.name == "urbs").fold(0.0, |sum, counter| sum + counter.total);
            let summary = Figure {
                path: "requests".into(),
                value: Value::Number(requests),
                out_of: None,
                unit: "count".into(),
                description: "Requests to the device since it was plugged in".into(),
            };
            InstanceStats { id: instance.id.clone(), figures: vec![summary.clone()], summary }
        });
        Ok(stats.collect())
    }
}

fn finding(severity: Severity, path: &str, message: String, hint: Option<&str>) -> Diagnostic {
    Diagnostic { severity, path: path.into(), message, hint: hint.map(str::to_owned) }
}

/// `0x12f7`: exactly four digits, so that a decimal number is never taken for one.
fn usb_id(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 4)?;
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) { u16::from_str_radix(digits, 16).ok() } else { None }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

fn matches(rule: &Rule, device: &UsbDevice) -> bool {
    let product = rule.product.as_deref();
    !device.is_hub
        && usb_id(&rule.vendor) == Some(device.vendor_id)
        && product.is_none_or(|product| usb_id(product) == Some(device.product_id))
}

fn instance(device: &UsbDevice) -> Instance {
    let health = match trouble(device) {
        Some(reason) => Health::Unhealthy(reason),
        None => Health::Healthy,
    };
    Instance { id: id(device), members: vec![device.key.clone()], share: None, health }
}

/// By the serial number where it is the device's own and may stand in an id, else by the place.
fn id(device: &UsbDevice) -> String {
    let fits = |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c));
    match &device.serial {
        Some(serial) if device.serial_quality == SerialQuality::Unique && fits(&serial.text) => {
            format!("sn-{}", serial.text)
        }
        _ => format!("port-{}", device.key),
    }
}

/// The first reason why a device cannot be used.
fn trouble(device: &UsbDevice) -> Option<String> {
    if device.life.presence == Presence::Absent {
        return Some("unplugged".into());
    }
    if !device.access.authorised {
        return Some("not authorised".into());
    }
    if device.access.over_current {
        return Some("over-current at its port".into());
    }
    if device.configuration.is_none() {
        return Some("not configured".into());
    }
    if !device.access.openable {
        return Some("no permission to open it".into());
    }
    let busy = device.nodes.iter().find(|node| node.in_use)?;
    Some(format!("{} is in use on this machine", busy.path))
}

/// What a job can ask for, of all devices of a group.
fn attributes(devices: &[&UsbDevice]) -> Vec<Attribute> {
    let mut vendors: Vec<String> = Vec::new();
    for device in devices {
        let vendor = format!("0x{:04x}", device.vendor_id);
        if !vendors.contains(&vendor) {
            vendors.push(vendor);
        }
    }
    let usb = devices.iter().map(|device| device.usb_release).min().unwrap_or_default();
    let usb = (usb >> 8) * 100 + (usb >> 4 & 15) * 10 + (usb & 15);
    let milliamps = devices.iter().filter_map(|device| device.configuration).map(|used| used.max_milliamps).max();
    vec![
        attribute::text("vendors", &vendors.join(",")),
        attribute::number("usb_version", f64::from(usb) / 100.0),
        Attribute {
            name: "max_power".into(),
            value: Value::Integer(i64::from(milliamps.unwrap_or_default()) * 5),
            unit: Some("mW".into()),
        },
        attribute::flag("serials", devices.iter().all(|device| device.serial.is_some())),
    ]
}

yurt_sdk::usb_policy!(Guest);

//! Yurt's default USB policy.

use serde::Deserialize;
use yurt_sdk::facts::Snapshot;
use yurt_sdk::offer::{DeviceGroup, GroupName, Health, Instance, Reservation};
use yurt_sdk::{Description, Offer, UsbPolicy, nodes, slug};

/// The policy.
pub struct DefaultPolicy;

/// The operator's configuration.
#[derive(Deserialize)]
pub struct Config {
    target_vendor_id: Option<u16>,
    target_product_id: Option<u16>,
}

impl UsbPolicy for DefaultPolicy {
    type Config = Config;
    type Memory = ();

    fn describe() -> Description {
        Description {
            name: "usb".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Offers USB devices by rules, under stable ids.".into(),
            config_spec: include_str!("config.hcldec").into(),
        }
    }

    fn group(config: &Config, facts: &Snapshot, _: Option<()>) -> Result<Offer<()>, String> {
        let mut groups: Vec<DeviceGroup> = Vec::new();
        for device in &facts.devices {
            if Some(device.vendor_id) != config.target_vendor_id || Some(device.product_id) != config.target_product_id
            {
                continue;
            }
            let vendor = device.vendor_name.as_deref().and_then(|name| slug::slug(name, 48));
            let product = device.product_name.as_deref().and_then(|name| slug::slug(name, 48));
            let name = GroupName {
                vendor: vendor.unwrap_or_else(|| format!("v{:04x}", device.vendor_id)),
                kind: "usb".into(),
                name: product.unwrap_or_else(|| format!("p{:04x}", device.product_id)),
            };
            let instance = Instance {
                id: format!("port-{}", device.key),
                members: vec![device.key.clone()],
                share: None,
                health: Health::Healthy,
            };
            match groups.iter_mut().find(|group| group.name == name) {
                Some(group) => group.instances.push(instance),
                None => groups.push(DeviceGroup { name, attributes: Vec::new(), instances: vec![instance] }),
            }
        }
        Ok(Offer::of(groups))
    }

    fn reserve(_: &Config, facts: &Snapshot, _: &GroupName, reserved: &[Instance]) -> Result<Reservation, String> {
        let members = reserved.iter().flat_map(|instance| &instance.members);
        let devices = members.filter_map(|key| facts.devices.iter().find(|device| device.key == *key));
        Ok(Reservation { env: Vec::new(), nodes: devices.flat_map(nodes::all_of).collect(), mounts: Vec::new() })
    }
}

yurt_sdk::usb_policy!(DefaultPolicy);

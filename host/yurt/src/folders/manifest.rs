//! What a directory tells: which devices it is for, and which nodes stand in it now.

use serde::{Deserialize, Serialize};
use yurt_usb::facts::{Device, Node, NodeKind, Presence, Snapshot};

use super::{Folder, Granted};
use crate::check::Offered;

/// The form of `manifest.json`. It only grows.
const VERSION: u8 = 1;

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u8,
    /// Of the instance.
    pub(crate) id: String,
    pub(crate) devices: Vec<Member>,
}

/// One device of the instance, known by what it says of itself, and by its port where it has no serial number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) port: String,
    vendor_id: String,
    product_id: String,
    serial: Option<String>,
    /// What it may turn into at its port: `0x18d1:0x9302`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    modes: Vec<String>,
    /// Its nodes can be opened.
    pub(crate) present: bool,
    /// Grows whenever what is at the port comes or goes; 0 while it is not there.
    pub(crate) generation: u32,
    pub(crate) nodes: Vec<Slot>,
}

/// A name in the directory, and what it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// Below the directory: `tty`; of an instance of several devices `1-1.4/tty`.
    pub(crate) name: String,
    subsystem: String,
    interface: Option<u8>,
    position: u32,
    /// None while there is no such node.
    pub(crate) node: Option<Now>,
}

/// A node of this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Now {
    /// The same node below `/dev`.
    pub(crate) path: String,
    pub(crate) block: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Stable names that udev gave it.
    links: Vec<String>,
}

impl Manifest {
    /// For what a reservation puts into the directory.
    pub(crate) fn of(folder: &Folder, offered: &Offered, snapshot: &Snapshot) -> Manifest {
        let devices = offered.members.iter().filter_map(|member| snapshot.device(&member.key));
        let members = devices.map(|device| {
            let granted = folder.nodes.iter().filter(|granted| granted.member == device.key);
            let slot = |granted: &Granted| {
                let node = device.nodes.get(granted.place)?;
                Some(Slot {
                    name: granted.name.clone(),
                    subsystem: node.subsystem.clone(),
                    interface: node.of_interface,
                    position: node.position,
                    node: None,
                })
            };
            let nodes = granted.filter_map(slot).collect();
            Member {
                port: device.key.clone(),
                vendor_id: format!("{:#06x}", device.vendor_id),
                product_id: format!("{:#06x}", device.product_id),
                serial: device.serial.as_ref().map(|label| label.text.clone()),
                modes: folder.modes.iter().map(|(vendor, product)| model(*vendor, *product)).collect(),
                present: false,
                generation: 0,
                nodes,
            }
        });
        Manifest { version: VERSION, id: offered.instance.id.clone(), devices: members.collect() }
    }

    /// The same with the ports at which its devices are offered now: one with a serial number may be plugged elsewhere.
    pub(crate) fn moved(&self, offered: Option<&Offered>) -> Manifest {
        let mut manifest = self.clone();
        if let ([member], Some([port])) =
            (manifest.devices.as_mut_slice(), offered.map(|one| one.instance.members.as_slice()))
            && member.serial.is_some()
        {
            member.port.clone_from(port);
        }
        manifest
    }

    /// The same with the nodes of this moment.
    pub(crate) fn in_snapshot(&self, snapshot: &Snapshot) -> Manifest {
        let mut manifest = self.clone();
        for member in &mut manifest.devices {
            let device = snapshot.device(&member.port).filter(|device| member.is(device));
            member.present = device.is_some();
            member.generation = device.map_or(0, |device| device.life.generation);
            for slot in &mut member.nodes {
                slot.node = device.and_then(|device| device.nodes.iter().find(|node| slot.is(node))).map(Now::of);
            }
        }
        manifest
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.devices.iter().flat_map(|member| &member.nodes)
    }

    /// Fit to be believed after it was read from the disk.
    pub(crate) fn is_sound(&self) -> bool {
        let plain = |part: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            !part.is_empty() && part != "." && part != ".." && part.chars().all(fits)
        };
        self.version == VERSION
            && plain(&self.id)
            && self.slots().all(|slot| slot.name.split('/').count() <= 2 && slot.name.split('/').all(plain))
    }
}

impl Member {
    fn is(&self, device: &Device) -> bool {
        let same = self.vendor_id == format!("{:#06x}", device.vendor_id)
            && self.product_id == format!("{:#06x}", device.product_id)
            && self.serial.as_deref() == device.serial.as_ref().map(|label| label.text.as_str());
        // In another mode it says other things of itself.
        let turned = self.modes.contains(&model(device.vendor_id, device.product_id));
        device.life.presence != Presence::Absent && (same || turned)
    }
}

fn model(vendor: u16, product: u16) -> String {
    format!("{vendor:#06x}:{product:#06x}")
}

impl Slot {
    fn is(&self, node: &Node) -> bool {
        (self.subsystem.as_str(), self.interface, self.position)
            == (node.subsystem.as_str(), node.of_interface, node.position)
    }
}

impl Now {
    fn of(node: &Node) -> Now {
        Now {
            path: node.path.clone(),
            block: node.kind == NodeKind::Block,
            major: node.major,
            minor: node.minor,
            links: node.links.clone(),
        }
    }

    /// What the file system knows of it.
    pub(crate) fn numbers(&self) -> (bool, u32, u32) {
        (self.block, self.major, self.minor)
    }
}

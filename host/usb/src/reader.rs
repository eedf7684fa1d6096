//! Looks at the bus: all devices or one of them.

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use cap_std::fs::Dir;

use crate::{
    device::{self, Locality},
    facts::{Device, Snapshot},
    key,
    nodes::Places,
    roots::Roots,
    serials, tree,
    tree::Directory,
};

const BUS: &str = "bus/usb/devices";

/// One look at everything.
///
/// Never fails: what is in the way stands in [`Snapshot::trouble`]. The snapshot's number is 1.
#[must_use]
pub fn scan(roots: &Roots) -> Snapshot {
    let (devices, trouble) = Reader::new(roots.clone()).full();
    Snapshot { number: 1, devices, trouble }
}

/// Reads devices below given roots. Opens no device node.
#[derive(Debug)]
pub struct Reader {
    roots: Roots,
    /// By directory of the controller, until the next full look.
    localities: Mutex<HashMap<String, Locality>>,
}

impl Reader {
    /// Nothing is read yet; the places may come later.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self { roots, localities: Mutex::default() }
    }

    /// All devices in order of their keys, and why some or all of them may be missing.
    #[must_use]
    pub fn full(&self) -> (Vec<Arc<Device>>, Vec<String>) {
        let devices = match self.all(&|_| true) {
            Ok(devices) => devices,
            Err(why) => return (Vec::new(), vec![why]),
        };
        let mut devices: Vec<Arc<Device>> = devices.into_iter().map(Arc::new).collect();
        serials::compare(&mut devices);
        let trouble = self.no_nodes(&devices).into_iter().collect();
        (devices, trouble)
    }

    /// All wanted devices in order of their keys, their serials not compared; or why there is no bus to look at.
    pub(crate) fn all(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Device>, String> {
        self.localities.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let (sys, names) = self.names().map_err(|error| no_bus(&self.roots.sys, &error))?;
        let places = Places::open(&self.roots);
        let wanted = names.iter().filter(|name| wanted(name));
        let mut devices: Vec<Device> = wanted.filter_map(|name| self.read(&sys, name, &places)).collect();
        devices.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(devices)
    }

    /// The wanted ones of some devices, each as it is now.
    pub(crate) fn several(&self, keys: &[String], wanted: &dyn Fn(&str) -> bool) -> Vec<(String, Option<Device>)> {
        let sys = tree::root(&self.roots.sys).ok();
        let places = Places::open(&self.roots);
        let wanted = keys.iter().filter(|key| key::is_device(key) && wanted(key));
        wanted.map(|key| (key.clone(), sys.as_ref().and_then(|sys| self.read(sys, key, &places)))).collect()
    }

    /// One device as it is now; none where there is no such device. Its serial is not compared with others'.
    #[must_use]
    pub fn one(&self, key: &str) -> Option<Device> {
        let sys = tree::root(&self.roots.sys).ok()?;
        key::is_device(key).then(|| self.read(&sys, key, &Places::open(&self.roots)))?
    }

    /// The directory of a device that is there, for names in it.
    pub(crate) fn directories(&self) -> impl Fn(&str) -> Option<Directory> {
        let sys = tree::root(&self.roots.sys).ok();
        move |key| Directory::handle(sys.as_ref()?, format!("{BUS}/{}", key::is_device(key).then_some(key)?)).ok()
    }

    fn names(&self) -> io::Result<(Dir, Vec<String>)> {
        let sys = tree::root(&self.roots.sys)?;
        let names = Directory::open(&sys, BUS)?.entries().into_iter().map(|entry| entry.name);
        let names = names.filter(|name| key::is_device(name)).collect();
        Ok((sys, names))
    }

    fn read(&self, sys: &Dir, name: &str, places: &Places) -> Option<Device> {
        let path = real_path(sys, name)?;
        let locality = self.locality(sys, &path);
        device::read(sys, &path, name, locality, places)
    }

    /// A device's directory stands below its root hub's, and that below the controller's.
    fn locality(&self, sys: &Dir, path: &str) -> Locality {
        let controller: Vec<&str> = path.split('/').take_while(|part| !is_root_hub(part)).collect();
        let mut known = self.localities.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(controller.join("/")).or_insert_with(|| {
            let Some(index) = controller.iter().rposition(|part| is_pci_address(part)) else {
                return Locality::default();
            };
            let pci = controller.get(..=index).unwrap_or_default().join("/");
            Locality {
                controller: controller.get(index).map(|&address| address.to_owned()),
                // -1: the machine has no such thing.
                numa_node: Directory::open(sys, pci).ok().and_then(|pci| pci.number("numa_node")),
            }
        });
        known.clone()
    }

    /// What to say where no device has a node.
    pub(crate) fn no_nodes(&self, devices: &[Arc<Device>]) -> Option<String> {
        let none = !devices.is_empty() && devices.iter().all(|device| device.nodes.is_empty());
        none.then(|| {
            format!(
                "{} holds no node of any USB device that the kernel knows: none of them can be handed out. \
                 Give this process the host's /dev.",
                self.roots.dev.join("bus/usb").display()
            )
        })
    }
}

fn no_bus(sys: &Path, error: &io::Error) -> String {
    let bus = sys.join(BUS);
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "There is no {}: this machine has no USB, or its kernel module usbcore is not loaded, or sysfs is not mounted.",
            bus.display()
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{} may not be read by this process: run it as root.", bus.display())
        }
        _ => format!("{} cannot be read: {error}.", bus.display()),
    }
}

/// Where an entry of the bus leads, as a path below `sys` without links in it.
fn real_path(sys: &Dir, name: &str) -> Option<String> {
    let entry = format!("{BUS}/{name}");
    let Ok(target) = sys.read_link_contents(&entry) else {
        // Not a link, in a made-up tree.
        return sys.is_dir(&entry).then_some(entry);
    };
    let mut parts: Vec<&str> = BUS.split('/').collect();
    for part in target.to_str()?.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            // A link that starts at the root leads out of the tree.
            "" => return None,
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn is_root_hub(part: &str) -> bool {
    part.starts_with("usb") && key::is_device(part)
}

/// `0000:00:14.0`: domain of four digits or more, bus, device, function.
fn is_pci_address(part: &str) -> bool {
    let hex = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let mut fields = part.split(':');
    let (Some(domain), Some(bus), Some(slot), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    let Some((device, function)) = slot.split_once('.') else { return false };
    hex(domain, 4..=8) && hex(bus, 2..=2) && hex(device, 2..=2) && hex(function, 1..=1)
}

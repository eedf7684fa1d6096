use super::*;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use rustix::thread::{CapabilitySet, capabilities};
use yurt_guest::usb as wit;
use yurt_usb::sim::{Bus, models};
use yurt_usb::{Roots, scan};

use crate::check::{self, Grants};

/// A bus with an adapter at 1-1 and a stick at 1-2, and a place for directories; what is mounted there goes in the end.
struct Lab {
    dir: tempfile::TempDir,
    bus: Bus,
    roots: Roots,
}

impl Lab {
    /// None without the right to mount and to make nodes.
    fn new() -> Option<Lab> {
        let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::MKNOD;
        if !capabilities(None).is_ok_and(|have| have.effective.contains(needed)) {
            assert!(
                std::env::var_os("CI").is_none(),
                "directories for tasks take the right to mount and to make nodes"
            );
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::simulated(dir.path());
        let bus = Bus::create(&roots).unwrap();
        bus.plug("usb1", &models::root_hub(4)).unwrap();
        bus.plug("1-1", &models::cp2102()).unwrap();
        bus.plug("1-2", &models::memory_stick()).unwrap();
        Some(Lab { dir, bus, roots })
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("run/devices/usb")
    }

    /// The offer of these instances, and its snapshot.
    fn offer(&self, instances: &[(&str, &str)]) -> (Offer, Snapshot) {
        let snapshot = scan(&self.roots);
        let instances = instances.iter().map(|(id, key)| wit::Instance {
            id: (*id).into(),
            members: vec![(*key).into()],
            share: None,
            health: wit::Health::Healthy,
        });
        let name = wit::GroupName { vendor: "acme".into(), kind: "usb".into(), name: "board".into() };
        let group = wit::DeviceGroup { name, attributes: Vec::new(), instances: instances.collect() };
        let answer = wit::Offer { groups: vec![group], memory: None, ask_again_milliseconds: None };
        let (offer, refused) = check::offer(&answer, &snapshot, Grants::default());
        assert_eq!(refused, []);
        (offer, snapshot)
    }

    fn reserve(&self, folders: &Folders, id: &str, key: &str) -> Result<(), String> {
        let (offer, snapshot) = self.offer(&[(id, key)]);
        let offered = &offer.instances[id];
        let mut folder = Folder { id: id.into(), nodes: Vec::new(), modes: Vec::new() };
        for (place, node) in snapshot.device(key).unwrap().nodes.iter().enumerate() {
            folder.take(key, place, if node.of_interface.is_none() { "usb" } else { &node.subsystem }, false);
        }
        folders.hand_out(Manifest::of(&folder, offered, &snapshot), &snapshot, &Access::default())
    }

    /// Device numbers by name, as `major:minor`.
    fn nodes(&self, id: &str) -> Vec<String> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.root().join(id)).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.file_type().is_char_device() || meta.file_type().is_block_device() {
                let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
                all.push(format!("{} {major}:{minor}", entry.file_name().display()));
            }
        }
        all.sort();
        all
    }

    fn told(&self, id: &str) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.root().join(id).join("manifest.json")).unwrap()).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.root(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_directory_has_nodes_under_names_that_stay_and_follows_its_device() {
    let Some(lab) = Lab::new() else { return };
    let folders = Folders::at(lab.root());
    assert!(!folders.any() && !lab.root().exists());
    lab.reserve(&folders, "stick", "1-2").unwrap();
    let before = lab.nodes("stick");
    assert_eq!(
        before.iter().map(|node| node.split(' ').next().unwrap()).collect::<Vec<_>>(),
        ["block", "block-2", "usb"]
    );
    let meta = fs::metadata(lab.root().join("stick/usb")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o660, 0, 0));
    assert_eq!(lab.told("stick")["devices"][0]["nodes"][1]["node"]["path"], "/dev/sda");

    lab.bus.unplug("1-2").unwrap();
    let (offer, snapshot) = lab.offer(&[("adapter", "1-1")]);
    folders.follow(&offer, &snapshot, &Access::default());
    assert_eq!(lab.nodes("stick"), Vec::<String>::new());
    assert_eq!(lab.told("stick")["devices"][0]["present"], false);

    // The same device again: the kernel gives it another address, and so another node.
    lab.bus.plug("1-2", &models::memory_stick()).unwrap();
    let (offer, snapshot) = lab.offer(&[("stick", "1-2")]);
    folders.follow(&offer, &snapshot, &Access::default());
    let after = lab.nodes("stick");
    assert_eq!(after.len(), 3);
    assert_ne!(before[2], after[2]);
    assert_eq!(lab.told("stick")["devices"][0]["present"], true);
}

#[test]
fn another_device_under_the_id_or_at_the_port_is_not_handed_to_the_task() {
    let Some(lab) = Lab::new() else { return };
    let folders = Folders::at(lab.root());
    lab.reserve(&folders, "port-1-1", "1-1").unwrap();
    assert!(!lab.nodes("port-1-1").is_empty());
    lab.bus.unplug("1-1").unwrap();
    lab.bus.plug("1-1", &models::memory_stick()).unwrap();
    let (offer, snapshot) = lab.offer(&[("port-1-1", "1-1")]);
    folders.follow(&offer, &snapshot, &Access::default());
    assert_eq!(lab.nodes("port-1-1"), Vec::<String>::new());
    // Until it is reserved itself: then nothing is left of the other.
    lab.reserve(&folders, "port-1-1", "1-1").unwrap();
    assert_eq!(lab.nodes("port-1-1").len(), 3);
    assert_eq!(lab.told("port-1-1")["devices"].as_array().unwrap().len(), 1);
}

#[test]
fn the_next_plugin_goes_on_with_what_it_finds_and_a_device_that_moved_is_found_by_its_serial() {
    let Some(lab) = Lab::new() else { return };
    lab.reserve(&Folders::at(lab.root()), "stick", "1-2").unwrap();
    fs::create_dir(lab.root().join("rubbish")).unwrap();
    fs::write(lab.root().join("rubbish/manifest.json"), r#"{"version":1,"id":"../x","devices":[]}"#).unwrap();

    let folders = Folders::at(lab.root());
    assert!(folders.any());
    lab.bus.unplug("1-2").unwrap();
    lab.bus.plug("1-3", &models::memory_stick()).unwrap();
    let (offer, snapshot) = lab.offer(&[("stick", "1-3")]);
    folders.follow(&offer, &snapshot, &Access { mode: 0o666, group: Some(20) });
    assert_eq!(lab.nodes("stick").len(), 3);
    assert_eq!(lab.told("stick")["devices"][0]["port"], "1-3");
    let meta = fs::metadata(lab.root().join("stick/usb")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o666, 20));
}

#[test]
fn where_nothing_can_be_mounted_that_is_said() {
    let Some(lab) = Lab::new() else { return };
    fs::create_dir_all(lab.root().parent().unwrap()).unwrap();
    fs::write(lab.root(), "in the way").unwrap();
    let folders = Folders::at(lab.root());
    let why = lab.reserve(&folders, "stick", "1-2").unwrap_err();
    assert!(why.starts_with("no node directory below ") && why.contains("cannot be made"), "{why}");
    assert_eq!(folders.trouble(), Some(why));
}

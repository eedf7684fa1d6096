//! Device nodes and network interfaces of a device: what its drivers made below its directory.

use std::{cell::OnceCell, os::fd::OwnedFd, path::PathBuf};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat, accessat, major, minor, open, statat};

use crate::{
    facts::{NetworkInterface, Node, NodeKind},
    key,
    roots::Roots,
    text,
    tree::Directory,
    usage::Usage,
};

/// `block/sda/sda1` of a stick is six below the interface.
const MAX_DEPTH: u32 = 10;
/// Directories looked into for one device.
const MAX_DIRECTORIES: u32 = 1024;
/// A record of udev's database.
const UDEV_LIMIT: usize = 64 * 1024;

/// What nodes are looked up in, for one look at one or all devices.
pub(crate) struct Places {
    dev: Option<OwnedFd>,
    udev: Option<Directory>,
    proc: PathBuf,
    /// Made when the first block device asks.
    usage: OnceCell<Usage>,
    /// On a real machine a node must be a node of the right number; in a made-up tree a plain file stands for it.
    real: bool,
}

/// What was found below a device's directory.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Vec<NetworkInterface>,
    looked: u32,
}

impl Places {
    pub(crate) fn open(roots: &Roots) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self {
            dev: open(&roots.dev, flags, Mode::empty()).ok(),
            udev: crate::tree::root(&roots.udev).ok().and_then(|dir| Directory::open(&dir, ".").ok()),
            proc: roots.proc.clone(),
            usage: OnceCell::new(),
            real: roots.is_system(),
        }
    }

    /// Whether this process may open a node for reading and writing, by its permission bits. It is not opened.
    pub(crate) fn may_open(&self, node: &Node) -> bool {
        let Some((dev, name)) = self.dev.as_ref().zip(node.path.strip_prefix("/dev/")) else { return false };
        accessat(dev, name, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    }

    /// The node that a directory's `uevent` names, if it is there.
    pub(crate) fn node(&self, directory: &Directory, subsystem: String, of_interface: Option<u8>) -> Option<Node> {
        let uevent = directory.text("uevent")?;
        let field = |name: &str| uevent.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let name = field("DEVNAME").filter(|name| is_plain_path(name))?;
        let (major, minor) = (field("MAJOR")?.parse().ok()?, field("MINOR")?.parse().ok()?);
        let kind = if subsystem == "block" { NodeKind::Block } else { NodeKind::Character };
        let stat = self.stat(name, AtFlags::SYMLINK_NOFOLLOW).filter(|stat| self.is_node(stat, kind, major, minor))?;
        let path = format!("/dev/{name}");
        let in_use = kind == NodeKind::Block
            && (self.usage.get_or_init(|| Usage::read(&self.proc)).names(major, minor, &path)
                || directory.sub("holders").is_some_and(|holders| !holders.entries().is_empty()));
        Some(Node {
            links: self.links(kind, major, minor, &stat),
            path,
            kind,
            major,
            minor,
            subsystem,
            of_interface,
            position: 0,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or_default(),
            in_use,
        })
    }

    fn stat(&self, name: &str, flags: AtFlags) -> Option<Stat> {
        statat(self.dev.as_ref()?, name, flags).ok()
    }

    fn is_node(&self, stat: &Stat, kind: NodeKind, of_major: u32, of_minor: u32) -> bool {
        let wanted = if kind == NodeKind::Block { FileType::BlockDevice } else { FileType::CharacterDevice };
        let found = FileType::from_raw_mode(stat.st_mode);
        if !self.real && found == FileType::RegularFile {
            return true;
        }
        found == wanted && (major(stat.st_rdev), minor(stat.st_rdev)) == (of_major, of_minor)
    }

    /// The names that udev's database gives a node, where they really lead to it: of two devices that claim one name
    /// only one has it.
    fn links(&self, kind: NodeKind, major: u32, minor: u32, node: &Stat) -> Vec<String> {
        let letter = if kind == NodeKind::Block { 'b' } else { 'c' };
        let record = self.udev.as_ref().and_then(|udev| udev.blob(&format!("{letter}{major}:{minor}"), UDEV_LIMIT));
        let record = String::from_utf8_lossy(&record.unwrap_or_default()).into_owned();
        let mut links: Vec<String> = record
            .lines()
            .filter_map(|line| line.strip_prefix("S:"))
            .filter(|name| is_plain_path(name))
            .filter(|name| {
                self.stat(name, AtFlags::empty()).is_some_and(|s| (s.st_dev, s.st_ino) == (node.st_dev, node.st_ino))
            })
            .map(|name| format!("/dev/{name}"))
            .collect();
        links.sort();
        links.dedup();
        links
    }
}

impl Found {
    /// Looks through a directory of a device or interface and all below it, but not into other USB devices.
    pub(crate) fn walk(&mut self, places: &Places, directory: &Directory, of_interface: Option<u8>) {
        for entry in directory.entries() {
            if entry.kind == FileType::Directory && !is_barren(&entry.name) {
                self.visit(places, directory, &entry.name, of_interface, 1);
            }
        }
    }

    /// Puts what was found in order and numbers what is alike.
    pub(crate) fn finish(&mut self) {
        self.nodes.sort_by(|a, b| {
            let order = |n: &Node| (n.of_interface, n.subsystem.clone(), n.major, n.minor);
            order(a).cmp(&order(b)).then_with(|| a.path.cmp(&b.path))
        });
        let mut last: Option<(Option<u8>, String, u32)> = None;
        for node in &mut self.nodes {
            node.position = match &last {
                Some((interface, subsystem, position))
                    if (*interface, subsystem) == (node.of_interface, &node.subsystem) =>
                {
                    position + 1
                }
                _ => 0,
            };
            last = Some((node.of_interface, node.subsystem.clone(), node.position));
        }
        self.network.sort_by(|a, b| (a.of_interface, &a.name).cmp(&(b.of_interface, &b.name)));
    }

    fn visit(&mut self, places: &Places, parent: &Directory, name: &str, of_interface: Option<u8>, depth: u32) {
        self.looked += 1;
        if depth > MAX_DEPTH || self.looked > MAX_DIRECTORIES {
            return;
        }
        let Some(directory) = parent.sub(name) else { return };
        let entries = directory.entries();
        let has = |wanted: &str| entries.iter().any(|entry| entry.name == wanted);
        let subsystem = if has("subsystem") { directory.link("subsystem") } else { None };
        let first = self.nodes.len();
        match subsystem {
            Some(subsystem) if has("dev") => self.nodes.extend(places.node(&directory, subsystem, of_interface)),
            Some(subsystem) if subsystem == "net" => {
                self.network.extend(network(&directory, name, of_interface));
                return;
            }
            _ => {}
        }
        for entry in &entries {
            if entry.kind == FileType::Directory && !is_barren(&entry.name) {
                self.visit(places, &directory, &entry.name, of_interface, depth + 1);
            }
        }
        // What uses a partition uses its disk.
        if let Some((disk, below)) = self.nodes.get_mut(first..).and_then(<[Node]>::split_first_mut) {
            disk.in_use |= disk.kind == NodeKind::Block && below.iter().any(|node| node.in_use);
        }
    }
}

fn network(directory: &Directory, name: &str, of_interface: Option<u8>) -> Option<NetworkInterface> {
    let mac = directory.text("address").filter(|text| is_hardware_address(text)).unwrap_or_default().to_lowercase();
    let name = text::label(name.as_bytes()).filter(|label| !label.cleaned)?.text;
    Some(NetworkInterface { name, mac, of_interface: of_interface? })
}

/// Bytes in hexadecimal with colons: six of Ethernet, at most 32 of whatever else (the kernel's `MAX_ADDR_LEN`).
fn is_hardware_address(text: &str) -> bool {
    let byte = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    text.len() <= 3 * 32 && text.split(':').all(byte)
}

/// Directories that never hold a node: read by the thousand they would cost more than all else.
fn is_barren(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "power",
        "wakeup",
        "queue",
        "queues",
        "mq",
        "statistics",
        "integrity",
        "trace",
        "holders",
        "slaves",
        "link",
        "firmware_node",
    ];
    NAMES.contains(&name) || name.starts_with("ep_") || key::is_device(name) || key::hub_of_port(name).is_some()
}

/// A path below `/dev` that goes down only and has nothing to hide.
fn is_plain_path(path: &str) -> bool {
    path.len() < 256
        && !path.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER)
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_bytes_with_colons_and_nothing_else() {
        for address in ["02:11:22:33:44:aA", "02", &("00:".repeat(31) + "ff")] {
            assert!(is_hardware_address(address), "{address}");
        }
        for other in ["", "02:", ":02", "0211", "2:11", "02:5g", "02:\u{7}a", "02 11", &("00:".repeat(32) + "ff")] {
            assert!(!is_hardware_address(other), "{other:?}");
        }
    }
}

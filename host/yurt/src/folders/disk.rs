//! The tmpfs and what stands in it. Everything goes by descriptors of directories, without following links.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, makedev};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::Manifest;

const MANIFEST: &str = "manifest.json";
/// A draft of a node or a manifest, renamed when it is whole.
const DRAFT: &str = ".new";

/// Of the whole file system: manifests are small, and nodes are no bytes.
const SIZE: &str = "4m";
const INODES: &str = "16k";
/// Longest manifest that is read, in bytes.
const MANIFEST_MAX: u64 = 1 << 20;

/// Who may open the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    /// Permission bits.
    pub(crate) mode: u32,
    /// None: root's.
    pub(crate) group: Option<u32>,
}

impl Default for Access {
    fn default() -> Self {
        Access { mode: 0o660, group: None }
    }
}

/// A tmpfs of ours.
pub(super) struct Disk {
    root: OwnedFd,
}

impl Disk {
    /// One that is mounted already.
    pub(super) fn left_at(root: &Path) -> Option<Disk> {
        let (here, above) = (fs::symlink_metadata(root).ok()?, fs::symlink_metadata(root.parent()?).ok()?);
        let ours = here.is_dir() && here.uid() == rustix::process::geteuid().as_raw() && here.dev() != above.dev();
        let tmpfs = ours && rustix::fs::statfs(root).is_ok_and(|of| of.f_type == rustix::fs::FsWord::from(TMPFS_MAGIC));
        if tmpfs { open(root).ok() } else { None }
    }

    /// Mounts one. Others may pass through to the directories whose names they know, since a task need not be root.
    pub(super) fn make(root: &Path) -> Result<Disk, String> {
        let told = |what: &str, why: &dyn std::fmt::Display| format!("{what}: {why}");
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o711).create(root).map_err(|why| told("cannot be made", &why))?;
        let options = format!("mode=0711,size={SIZE},nr_inodes={INODES}");
        let options = std::ffi::CString::new(options).map_err(|why| told("options", &why))?;
        rustix::mount::mount("yurt", root, "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, options.as_c_str())
            .map_err(|why| told("a tmpfs cannot be mounted there", &why))?;
        open(root).map_err(|why| told("cannot be opened", &why))
    }

    /// What earlier plugins wrote; what cannot be read is as good as not there.
    pub(super) fn manifests(&self) -> BTreeMap<String, Manifest> {
        let mut all = BTreeMap::new();
        let Ok(entries) = rustix::fs::Dir::read_from(&self.root) else { return all };
        for entry in entries.flatten() {
            let Some(name) = entry.file_name().to_str().ok().filter(|name| !name.starts_with('.')) else { continue };
            let read = self.folder(name, false).and_then(|folder| read(&folder));
            match read {
                Ok(manifest) if manifest.is_sound() && manifest.id == name => {
                    drop(all.insert(name.to_owned(), manifest))
                }
                Ok(_) => tracing::warn!(name, "a node directory is not one of this version, and is left alone"),
                Err(why) => tracing::warn!(name, error = %why, "a node directory cannot be read, and is left alone"),
            }
        }
        all
    }

    /// Makes the nodes of a manifest, then the manifest. Without `before`, whatever stands there goes first.
    pub(super) fn write(&self, now: &Manifest, before: Option<&Manifest>, access: &Access) -> Result<(), String> {
        if before.is_none() {
            self.clear(&now.id).map_err(|why| format!("{}: cannot be emptied: {why}", now.id))?;
        }
        let folder = self.folder(&now.id, true).map_err(|why| format!("{}: {why}", now.id))?;
        let was = |name: &str| before?.slots().find(|slot| slot.name == name)?.node.as_ref();
        // What is gone first: its numbers may be another device's already.
        for slot in now.slots() {
            let same = match (&slot.node, was(&slot.name)) {
                (Some(now), Some(was)) => now.numbers() == was.numbers(),
                (_, was) => was.is_none(),
            };
            if !same {
                remove(&folder, &slot.name).map_err(|why| format!("{}/{}: {why}", now.id, slot.name))?;
            }
        }
        for slot in now.slots() {
            let same = was(&slot.name).map(super::manifest::Now::numbers);
            if let Some(node) = slot.node.as_ref().filter(|node| same != Some(node.numbers())) {
                make_node(&folder, &slot.name, node.numbers(), access)
                    .map_err(|why| format!("{}/{}: {why}", now.id, slot.name))?;
            }
        }
        write_manifest(&folder, now).map_err(|why| format!("{}/{MANIFEST}: {why}", now.id))
    }

    fn folder(&self, id: &str, make: bool) -> io::Result<OwnedFd> {
        Ok(directory(&self.root, id, make)?)
    }

    fn clear(&self, id: &str) -> io::Result<()> {
        match self.folder(id, false) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(why) => Err(why),
            Ok(folder) => empty(&folder, true),
        }
    }
}

/// `linux/magic.h`.
const TMPFS_MAGIC: u32 = 0x0102_1994;

fn open(root: &Path) -> io::Result<Disk> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Disk { root: rustix::fs::open(root, flags, Mode::empty())? })
}

fn directory(above: &OwnedFd, name: &str, make: bool) -> Result<OwnedFd, Errno> {
    if make {
        match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(why) => return Err(why),
        }
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

/// Files of a directory, and of those in it.
fn empty(folder: &OwnedFd, deep: bool) -> io::Result<()> {
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Err(Errno::ISDIR) if deep => {
                let below = directory(folder, &name.to_string_lossy(), false)?;
                empty(&below, false)?;
                rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?;
            }
            done => done?,
        }
    }
    Ok(())
}

/// The directory and the last part of a name that may have two.
fn within(folder: &OwnedFd, name: &str) -> Result<(OwnedFd, String), Errno> {
    match name.split_once('/') {
        Some((above, name)) => Ok((directory(folder, above, true)?, name.to_owned())),
        None => Ok((rustix::io::fcntl_dupfd_cloexec(folder, 0)?, name.to_owned())),
    }
}

fn remove(folder: &OwnedFd, name: &str) -> io::Result<()> {
    let (folder, name) = within(folder, name)?;
    match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

fn make_node(folder: &OwnedFd, name: &str, numbers: (bool, u32, u32), access: &Access) -> io::Result<()> {
    let (block, major, minor) = numbers;
    let (folder, name) = within(folder, name)?;
    remove(&folder, DRAFT)?;
    let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
    // Nobody may open it before it is whole.
    rustix::fs::mknodat(&folder, DRAFT, kind, Mode::empty(), makedev(major, minor))?;
    if let Some(group) = access.group {
        rustix::fs::chownat(&folder, DRAFT, None, Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::chmodat(&folder, DRAFT, Mode::from_raw_mode(access.mode), AtFlags::empty())?;
    Ok(rustix::fs::renameat(&folder, DRAFT, &folder, name)?)
}

fn write_manifest(folder: &OwnedFd, manifest: &Manifest) -> io::Result<()> {
    let text = serde_json::to_string_pretty(manifest)?;
    remove(folder, DRAFT)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = fs::File::from(rustix::fs::openat(folder, DRAFT, flags, Mode::from_raw_mode(0o644))?);
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    // Whatever the umask is.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    Ok(rustix::fs::renameat(folder, DRAFT, folder, MANIFEST)?)
}

fn read(folder: &OwnedFd) -> io::Result<Manifest> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::openat(folder, MANIFEST, flags, Mode::empty())?);
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, MANIFEST_MAX), &mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

//! A root directory of the task's own: what the agent put there, with `/proc`, `/sys` and `/dev` of its own over it, and what the
//! task is to have besides. In a mount namespace of its own, so that nothing of it is seen from outside and all ends with the task.
//!
//! Everything goes by descriptor. What comes from the host is picked up as detached mounts while this process still is in the host's
//! namespace, which keeps the ties that a shared mount is to have; the rest is made new. The task's files may hold links of all sorts:
//! [`walk`] follows them as the task will, and never out of the root.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, StatVfsMountFlags, Uid, chmodat, chownat, fstat, fstatvfs,
    makedev, mknodat, openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, mount_remount, move_mount,
    open_tree, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root};
use yurt_keeper::{Device, Failed, File, Mount, Propagation, Start, Step};

use crate::child::by_number;
use crate::failure::{During as _, Failure, Outcome};
use crate::host::Host;
use crate::sys;
use crate::walk::{Make, kind, walk};

/// Nodes that every task has: name, major and minor number.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Links that programs expect in `/dev`.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Options of the file system for shared memory.
const SHM: [(&str, &str); 2] = [("mode", "1777"), ("size", "65536k")];
/// Of `/proc` and `/sys`: not to be read, where it is there.
const MASKED: [&str; 7] =
    ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/acpi", "/proc/scsi", "/sys/firmware"];
/// Not to be written, where it is there.
const READ_ONLY: [&str; 5] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"];

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// The host's files in a mount namespace that is a copy of the host's: what is the task's own there is mounted, and allowed by its rules.
/// What the host mounts and unmounts later is seen: nobody's secrets are kept alive here.
pub(crate) fn restrict(start: &Start, ruleset: &OwnedFd) -> Outcome<()> {
    let follow = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", follow).during(Step::Root, "keeping mounts to itself")?;
    let tree = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).during(Step::Root, "/")?;
    let root = Root { tree, host: Vec::new(), sources: Vec::new() };
    if start.private_pid {
        root.mount("/proc", "proc", &[], NOSUID | NODEV | NOEXEC, Step::Proc)?;
        for path in MASKED.into_iter().filter(|path| path.starts_with("/proc")) {
            root.mask(path)?;
        }
    }
    let is_directory = |meta: Stat| kind(&meta) == FileType::Directory;
    if start.private_ipc && statat(&root.tree, "dev/shm", AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_directory) {
        root.mount("/dev/shm", "tmpfs", &SHM, NOSUID | NODEV | NOEXEC, Step::Dev)?;
    }
    for path in &start.hidden {
        root.mask(path)?;
    }
    for allowed in &start.allowed {
        if let Ok(found) = root.walk(&allowed.path, Make::Nothing) {
            sys::allow(ruleset, &found, allowed.access).during(Step::Landlock, &allowed.path)?;
        }
    }
    Ok(())
}

/// A root directory to be entered.
pub(crate) struct Root {
    /// Its mount, not yet anywhere.
    tree: OwnedFd,
    /// Files and directories of the host at their paths.
    host: Vec<Host>,
    /// What comes from the host, in the order of the mounts.
    sources: Vec<OwnedFd>,
}

impl Root {
    /// Picks up what the host gives, in its mount namespace. Also says why directories of the host are read-only that should not be.
    pub(crate) fn gather(root: &OwnedFd, work: Option<&OwnedFd>, start: &Start) -> Outcome<(Root, Option<Failed>)> {
        let (host, read_only) = Host::gather(root, work, &start.host_paths)?;
        let tree = copy(root, "").during(Step::Root, "the root directory")?;
        let source = |mount: &Mount| copy(CWD, &mount.source).during(Step::Mount, named(mount));
        let sources = start.mounts.iter().map(source).collect::<Outcome<_>>()?;
        Ok((Root { tree, host, sources }, read_only))
    }

    /// Goes there, in a new mount namespace.
    pub(crate) fn enter(self, start: &Start) -> Outcome<()> {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).during(Step::Root, "keeping mounts to itself")?;
        // Over the root of that namespace, which absolute paths still lead to, and `/proc/self` with them.
        let place = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).during(Step::Root, "/")?;
        attach(&self.tree, &place).during(Step::Root, "the root directory")?;
        set(&self.tree, MountAttrFlags::empty(), Propagation::Private)
            .during(Step::Root, "keeping mounts to itself")?;

        for host in &self.host {
            host.attach(&self.tree, start.read_only)?;
        }
        self.mount("/proc", "proc", &[], NOSUID | NODEV | NOEXEC, Step::Proc)?;
        self.mount("/sys", "sysfs", &[], NOSUID | NODEV | NOEXEC | RDONLY, Step::Sys)?;
        self.dev()?;
        for path in READ_ONLY {
            self.read_only(path)?;
        }
        for path in MASKED {
            self.mask(path)?;
        }
        for (mount, source) in start.mounts.iter().zip(&self.sources) {
            self.bind(mount, source)?;
        }
        for device in &start.devices {
            self.device(device)?;
        }
        for file in &start.files {
            self.file(file)?;
        }
        for path in &start.hidden {
            self.mask(path)?;
        }
        if start.read_only {
            self.seal(&start.writable)?;
        }
        self.pivot()
    }

    fn walk(&self, path: &str, make: Make) -> rustix::io::Result<OwnedFd> {
        walk(&self.tree, path, make)
    }

    /// A new file system at a directory that is really there, not at the end of a link: what is hidden below must be the kernel's.
    fn mount(
        &self,
        at: &str,
        kind_of: &str,
        options: &[(&str, &str)],
        attributes: MountAttrFlags,
        step: Step,
    ) -> Outcome<OwnedFd> {
        let linked = statat(&self.tree, at.trim_start_matches('/'), AtFlags::SYMLINK_NOFOLLOW);
        if linked.is_ok_and(|meta| kind(&meta) == FileType::Symlink) {
            return Err(Failure::new(step, format_args!("{at} is a symbolic link in the root directory")));
        }
        let place = self.walk(at, Make::Directory).during(step, at)?;
        let new = file_system(kind_of, options, attributes).during(step, format_args!("{kind_of} for {at}"))?;
        attach(&new, &place).during(step, at)?;
        Ok(new)
    }

    fn dev(&self) -> Outcome<()> {
        let dev = self.mount("/dev", "tmpfs", &[("mode", "0755"), ("size", "65536k")], NOSUID, Step::Dev)?;
        for (name, major, minor) in NODES {
            node(&dev, name, FileType::CharacterDevice, (major, minor), 0o666).during(Step::Dev, name)?;
        }
        for (name, target) in LINKS {
            symlinkat(target, &dev, name).during(Step::Dev, name)?;
        }
        let pts = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
        self.mount("/dev/pts", "devpts", &pts, NOSUID | NOEXEC, Step::Dev)?;
        self.mount("/dev/shm", "tmpfs", &SHM, NOSUID | NODEV | NOEXEC, Step::Dev)?;
        // A kernel without POSIX message queues has none to give.
        match self.mount("/dev/mqueue", "mqueue", &[], NOSUID | NODEV | NOEXEC, Step::Dev) {
            Err(why) if why.0.errno != libc::ENODEV => Err(why),
            _ => Ok(()),
        }
    }

    fn bind(&self, mount: &Mount, source: &OwnedFd) -> Outcome<()> {
        let place = || {
            let directory = kind(&fstat(source)?) == FileType::Directory;
            let place = self.walk(&mount.target, if directory { Make::Directory } else { Make::File })?;
            attach(source, &place)
        };
        place().during(Step::Mount, named(mount))?;
        let attributes = if mount.read_only { RDONLY } else { MountAttrFlags::empty() };
        set(source, attributes, mount.propagation()).during(Step::Mount, named(mount))
    }

    /// A node; in place of one that an earlier run has left.
    fn device(&self, device: &Device) -> Outcome<()> {
        let make = || {
            let (parent, name) = device.path.rsplit_once('/').unwrap_or(("", &device.path));
            let dir = self.walk(parent, Make::Directory)?;
            let kind_of = if device.block { FileType::BlockDevice } else { FileType::CharacterDevice };
            if statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|meta| kind(&meta) == kind_of) {
                unlinkat(&dir, name, AtFlags::empty())?;
            }
            node(&dir, name, kind_of, (device.major, device.minor), device.mode)?;
            let (uid, gid) = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
            chownat(&dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        };
        make().during(Step::Device, &device.path)
    }

    /// A file in memory, bound over the one of the root. Its own name is gone afterwards.
    fn file(&self, file: &File) -> Outcome<()> {
        let lay = || {
            let (dev, name) = (self.walk("/dev", Make::Nothing)?, ".yurt-file");
            let (new, mode) = (OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, Mode::from_raw_mode(0o644));
            let memory = openat(&dev, name, new | OFlags::CLOEXEC, mode)?;
            let mut rest = file.content.as_slice();
            while !rest.is_empty() {
                let written = rustix::io::write(&memory, rest)?;
                rest = rest.get(written..).unwrap_or_default();
            }
            let bound = copy(&dev, name)?;
            attach(&bound, &self.walk(&file.target, Make::File)?)?;
            set(&bound, RDONLY, Propagation::Private)?;
            unlinkat(&dev, name, AtFlags::empty())
        };
        lay().during(Step::File, &file.target)
    }

    fn read_only(&self, path: &str) -> Outcome<()> {
        let Ok(found) = self.walk(path, Make::Nothing) else { return Ok(()) };
        let bind = || {
            let bound = copy(&found, "")?;
            attach(&bound, &found)?;
            set(&bound, RDONLY, Propagation::Private)
        };
        bind().during(Step::Proc, path)
    }

    fn mask(&self, path: &str) -> Outcome<()> {
        let Ok(found) = self.walk(path, Make::Nothing) else { return Ok(()) };
        let hide = || {
            let over = if kind(&fstat(&found)?) == FileType::Directory {
                file_system("tmpfs", &[("mode", "0555"), ("size", "4k")], RDONLY | NOSUID | NODEV | NOEXEC)?
            } else {
                copy(self.walk("/dev/null", Make::Nothing)?, "")?
            };
            attach(&over, &found)
        };
        hide().during(Step::Proc, path)
    }

    /// The root itself cannot be written any more: what is mounted in it can, and so these directories become mounts of their own.
    fn seal(&self, writable: &[String]) -> Outcome<()> {
        for path in writable {
            let Ok(found) = self.walk(path, Make::Nothing) else { continue };
            let bind = || attach(&copy(&found, "")?, &found);
            bind().during(Step::Root, path)?;
        }
        set_alone(&self.tree, RDONLY).during(Step::Root, "making it read-only")
    }

    /// The root becomes `/`, and the host's is gone.
    fn pivot(&self) -> Outcome<()> {
        fchdir(&self.tree).during(Step::Pivot, "the root directory")?;
        match pivot_root(".", ".") {
            // Both stand at the same place now, the host's on top.
            Ok(()) => unmount(".", UnmountFlags::DETACH).during(Step::Pivot, "leaving the host's files")?,
            // The host lives in an initramfs, which cannot be left. Ours lies over all of it.
            Err(Errno::INVAL) => chroot(".").during(Step::Pivot, "chroot")?,
            Err(why) => return Err(why).during(Step::Pivot, "pivot_root"),
        }
        chdir("/").during(Step::Pivot, "/")
    }
}

fn named(mount: &Mount) -> String {
    format!("{} at {}", mount.source, mount.target)
}

fn node(dir: &OwnedFd, name: &str, kind: FileType, number: (u32, u32), mode: u32) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    mknodat(dir, name, kind, mode, makedev(number.0, number.1))?;
    // What the umask took away.
    chmodat(dir, name, mode, AtFlags::empty())
}

/// A detached copy of a mount and of all below it.
pub(crate) fn copy(dir: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(dir, path, if path.is_empty() { flags | OpenTreeFlags::AT_EMPTY_PATH } else { flags })
}

/// A new file system, detached.
pub(crate) fn file_system(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(context.as_fd(), *name, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

pub(crate) fn attach(mount: &OwnedFd, place: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}

/// Attributes of a mount and not of those below it, beside those that it has.
pub(crate) fn set_alone(mount: &OwnedFd, attributes: MountAttrFlags) -> rustix::io::Result<()> {
    match sys::set_mount(mount.as_fd(), false, attributes, 0) {
        Err(Errno::NOSYS) => remount_read_only(mount, &by_number(mount)),
        outcome => outcome,
    }
}

/// Attributes of a mount and those below it, beside those that they have; and who sees what is mounted below them later.
pub(crate) fn set(mount: &OwnedFd, attributes: MountAttrFlags, propagation: Propagation) -> rustix::io::Result<()> {
    let propagation = match propagation {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::HostToTask => MountPropagationFlags::DOWNSTREAM,
        Propagation::Bidirectional => MountPropagationFlags::SHARED,
    };
    match sys::set_mount(mount.as_fd(), true, attributes, propagation.bits().into()) {
        // Linux < 5.12, where only the topmost one can be made read-only.
        Err(Errno::NOSYS) => {
            let path = by_number(mount);
            mount_change(&path, propagation | MountPropagationFlags::REC)?;
            if attributes.is_empty() { Ok(()) } else { remount_read_only(mount, &path) }
        }
        outcome => outcome,
    }
}

/// Keeps what the mount is kept from already: all of it has to be named again.
fn remount_read_only(mount: &OwnedFd, path: &str) -> rustix::io::Result<()> {
    let has = fstatvfs(mount)?.f_flag;
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, flag)| flag);
    mount_remount(path, kept.fold(MountFlags::BIND | MountFlags::RDONLY, |all, flag| all | flag), c"")
}

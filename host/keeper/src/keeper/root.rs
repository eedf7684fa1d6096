//! A root directory of the task's own: what the agent put there, with `/proc`, `/sys` and `/dev` of its own over it, and what the
//! task is to have besides. In a mount namespace of its own, so that nothing of it is seen from outside and all ends with the task.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mknodat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, mount_remount, unmount,
};
use yurt_keeper::{Device, File, Mount, Propagation, Step};

use crate::child::by_number;
use crate::failure::{During as _, Outcome};
use crate::plan::Plan;

/// Nodes that every task has: name, minor number of major 1 or, of `tty`, 5.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Links into `/proc` that programs expect.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Of `/proc` and `/sys`: not to be read, where it is there.
const MASKED: [&str; 7] =
    ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/acpi", "/proc/scsi", "/sys/firmware"];
/// Not to be written, where it is there.
const READ_ONLY: [&str; 5] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"];

/// Makes it and goes there.
pub(crate) fn enter(plan: &Plan) -> Outcome<()> {
    let Some(root) = &plan.root else { return Ok(()) };
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).during(Step::Root, "keeping mounts to itself")?;
    // A root must be a mount of its own, and what was mounted below it before comes along.
    let path = fs::read_link(by_number(root.as_fd())).during(Step::Root, "its path")?;
    mount_bind_recursive(&path, &path).during(Step::Root, path.display())?;
    let root = Root { path };

    let nosuid = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    root.mount("/proc", "proc", nosuid, "", Step::Proc)?;
    root.mount("/sys", "sysfs", nosuid | MountFlags::RDONLY, "", Step::Sys)?;
    root.dev()?;
    for wanted in &plan.start.mounts {
        root.bind(wanted)?;
    }
    for device in &plan.start.devices {
        root.device(device)?;
    }
    for (number, file) in plan.start.files.iter().enumerate() {
        root.file(number, file)?;
    }
    for path in READ_ONLY {
        root.read_only(path)?;
    }
    for path in MASKED {
        root.mask(path)?;
    }
    root.pivot()
}

struct Root {
    path: PathBuf,
}

impl Root {
    /// Opens a path within the root, following links there as the task will.
    fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// A directory within the root, made with those above it where it is not there.
    fn directory(&self, path: &str, step: Step) -> Outcome<OwnedFd> {
        let mut whole = String::new();
        let mut at = self.open("/", OFlags::PATH | OFlags::DIRECTORY).during(step, path)?;
        for part in Path::new(path).components() {
            let Component::Normal(name) = part else { continue };
            whole.push('/');
            whole.push_str(&name.to_string_lossy());
            at = match self.open(&whole, OFlags::PATH | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    let made = rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755));
                    made.during(step, format_args!("making {whole}"))?;
                    self.open(&whole, OFlags::PATH | OFlags::DIRECTORY).during(step, &whole)?
                }
                other => other.during(step, &whole)?,
            };
        }
        Ok(at)
    }

    /// A place for a file to be mounted at: what is there, at the end of its links, or an empty file.
    fn place(&self, path: &str, step: Step) -> Outcome<OwnedFd> {
        let mut path = path.to_owned();
        // A link that leads nowhere is followed by hand, so that the file stands where the task will look for it.
        for _ in 0..8 {
            match self.open(&path, OFlags::PATH) {
                Ok(found) => return Ok(found),
                Err(Errno::NOENT) => {}
                Err(why) => return Err(why).during(step, path),
            }
            let link = self.open(&path, OFlags::PATH | OFlags::NOFOLLOW);
            let target = link.ok().and_then(|link| rustix::fs::readlinkat(link, "", Vec::new()).ok());
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            match target.as_ref().map(|target| target.to_string_lossy()) {
                Some(target) if target.starts_with('/') => path = plain(&target),
                Some(target) => path = plain(&format!("{parent}/{target}")),
                None => {
                    let parent = self.directory(parent, step)?;
                    let name = path.rsplit('/').next().unwrap_or_default();
                    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644));
                    made.during(step, format_args!("making {path}"))?;
                }
            }
        }
        self.open(&path, OFlags::PATH).during(step, path)
    }

    fn mount(&self, at: &str, kind: &str, flags: MountFlags, options: &str, step: Step) -> Outcome<()> {
        let dir = self.directory(at, step)?;
        let options = std::ffi::CString::new(options).unwrap_or_default();
        mount(kind, by_number(dir.as_fd()), kind, flags, options.as_c_str()).during(step, at)
    }

    fn dev(&self) -> Outcome<()> {
        let plain = MountFlags::NOSUID | MountFlags::NOEXEC;
        self.mount("/dev", "tmpfs", MountFlags::NOSUID, "mode=755,size=65536k", Step::Dev)?;
        let dev = self.directory("/dev", Step::Dev)?;
        for (name, major, minor) in NODES {
            self.node(&dev, name, FileType::CharacterDevice, (major, minor), 0o666)?;
        }
        for (name, target) in LINKS {
            rustix::fs::symlinkat(target, &dev, name).during(Step::Dev, name)?;
        }
        let pts = "newinstance,ptmxmode=0666,mode=0620,gid=5";
        self.mount("/dev/pts", "devpts", plain, pts, Step::Dev)?;
        self.mount("/dev/shm", "tmpfs", plain | MountFlags::NODEV, "mode=1777,size=65536k", Step::Dev)?;
        // A kernel without POSIX message queues has none to give.
        match self.mount("/dev/mqueue", "mqueue", plain | MountFlags::NODEV, "", Step::Dev) {
            Err(why) if why.0.errno != libc::ENODEV => Err(why),
            _ => Ok(()),
        }
    }

    fn node(&self, dir: &OwnedFd, name: &str, kind: FileType, number: (u32, u32), mode: u32) -> Outcome<()> {
        let device = rustix::fs::makedev(number.0, number.1);
        mknodat(dir, name, kind, Mode::from_raw_mode(mode), device).during(Step::Device, name)?;
        // What the caller's umask took away.
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())
            .during(Step::Device, name)
    }

    fn device(&self, device: &Device) -> Outcome<()> {
        let (parent, name) = device.path.rsplit_once('/').unwrap_or(("", &device.path));
        let dir = self.directory(parent, Step::Device)?;
        match rustix::fs::unlinkat(&dir, name, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(why) => return Err(why).during(Step::Device, format_args!("{} is in the way", device.path)),
        }
        let kind = if device.block { FileType::BlockDevice } else { FileType::CharacterDevice };
        self.node(&dir, name, kind, (device.major, device.minor), device.mode)?;
        let (uid, gid) = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
        chownat(&dir, name, uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).during(Step::Device, &device.path)
    }

    fn bind(&self, wanted: &Mount) -> Outcome<()> {
        let detail = format!("{} at {}", wanted.source, wanted.target);
        let source = fs::metadata(&wanted.source).during(Step::Mount, &detail)?;
        let target = if source.is_dir() {
            self.directory(&wanted.target, Step::Mount)?
        } else {
            self.place(&wanted.target, Step::Mount)?
        };
        mount_bind_recursive(&wanted.source, by_number(target.as_fd())).during(Step::Mount, &detail)?;
        // The descriptor still shows what lies below the new mount.
        let target = self.open(&wanted.target, OFlags::PATH).during(Step::Mount, &detail)?;
        let at = by_number(target.as_fd());
        let propagation = match wanted.propagation() {
            Propagation::Private => MountPropagationFlags::PRIVATE,
            Propagation::HostToTask => MountPropagationFlags::DOWNSTREAM,
            Propagation::Bidirectional => MountPropagationFlags::SHARED,
        };
        mount_change(&at, propagation | MountPropagationFlags::REC).during(Step::Mount, &detail)?;
        if wanted.read_only {
            remount_read_only(&target).during(Step::Mount, format_args!("{detail}, read-only"))?;
        }
        Ok(())
    }

    /// A file in memory, bound over the one of the root.
    fn file(&self, number: usize, file: &File) -> Outcome<()> {
        let place = self.place(&file.target, Step::File)?;
        let name = format!(".yurt-file-{number}");
        let (path, own) = (format!("/dev/{name}"), self.path.join("dev").join(&name));
        fs::write(&own, &file.content).during(Step::File, &file.target)?;
        let source = self.open(&path, OFlags::PATH).during(Step::File, &file.target)?;
        mount_bind_recursive(by_number(source.as_fd()), by_number(place.as_fd())).during(Step::File, &file.target)?;
        fs::remove_file(&own).during(Step::File, &file.target)
    }

    fn read_only(&self, path: &str) -> Outcome<()> {
        let Ok(found) = self.open(path, OFlags::PATH) else { return Ok(()) };
        let at = by_number(found.as_fd());
        mount_bind_recursive(&at, &at).during(Step::Proc, path)?;
        let bound = self.open(path, OFlags::PATH).during(Step::Proc, path)?;
        remount_read_only(&bound).during(Step::Proc, path)
    }

    fn mask(&self, path: &str) -> Outcome<()> {
        let Ok(found) = self.open(path, OFlags::PATH) else { return Ok(()) };
        let at = by_number(found.as_fd());
        if rustix::fs::fstat(&found).is_ok_and(|meta| FileType::from_raw_mode(meta.st_mode).is_dir()) {
            return mount("tmpfs", &at, "tmpfs", MountFlags::RDONLY, c"size=0").during(Step::Proc, path);
        }
        let null = self.open("/dev/null", OFlags::PATH).during(Step::Proc, path)?;
        mount_bind_recursive(by_number(null.as_fd()), &at).during(Step::Proc, path)
    }

    /// The root becomes `/`, and the host's is gone.
    fn pivot(&self) -> Outcome<()> {
        rustix::process::chdir(&self.path).during(Step::Pivot, self.path.display())?;
        rustix::process::pivot_root(".", ".").during(Step::Pivot, self.path.display())?;
        // Both stand at the same place now, the host's on top.
        unmount(".", UnmountFlags::DETACH).during(Step::Pivot, "leaving the host's files")?;
        rustix::process::chdir("/").during(Step::Pivot, "/")
    }
}

/// A path without `..`: what it leads to is not there, so no link in it can say otherwise.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    format!("/{}", parts.join("/"))
}

/// Keeps the other flags of a mount, which the kernel would not let a task's owner drop.
fn remount_read_only(at: &OwnedFd) -> io::Result<()> {
    let has = rustix::fs::fstatvfs(at)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (on_file_system, flag) in [
        (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        if has.contains(on_file_system) {
            flags |= flag;
        }
    }
    Ok(mount_remount(format!("/proc/self/fd/{}", at.as_raw_fd()), flags, c"")?)
}

//! A USB bus that is this machine's to everyone inside, and to nobody outside.
//!
//! `/sys` stays the kernel's own sysfs, since libusb asks its file system type; the parts of it that tell of devices, and `/dev`,
//! are covered by memory file systems that hold nothing of this machine's hardware. Uevents go through the kernel: who has
//! CAP_SYS_ADMIN over a network namespace may hand it one, and it broadcasts it there as its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// What a process needs of `/dev` that is no hardware.
const DEV: [&str; 12] =
    ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero"];

/// A program in fresh mount and network namespaces, with a user namespace around them where that is what it takes.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--net", "--"]).arg(program);
    command
}

/// Whether this machine lets us: the reason in one sentence if it does not.
pub(crate) fn available() -> Result<(), String> {
    match command(Path::new("true")).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(why) => Err(format!("unshare (of util-linux): {why}")),
    }
}

/// Covers what is real. To be called once, inside the namespaces, before anything looks at USB.
pub(crate) fn cover() -> anyhow::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot keep mounts to ourselves")?;
    cover_but("/sys/bus", &[])?;
    cover_but("/sys/class", &[])?;
    cover_but("/sys/devices", &["system"])?;
    cover_but("/dev", &DEV)?;
    // udev's database is about this machine's devices, which share their numbers with ours.
    if Path::new("/run/udev").is_dir() {
        cover_but("/run/udev", &[])?;
    }
    fs::create_dir_all("/sys/bus/pci/devices")?;
    Ok(())
}

/// A memory file system over `target` with `kept` bound back in.
fn cover_but(target: &str, kept: &[&str]) -> anyhow::Result<()> {
    let target = Path::new(target);
    let hold = tempfile::tempdir()?;
    rustix::mount::mount_bind_recursive(target, hold.path())
        .with_context(|| format!("cannot hold {}", target.display()))?;
    rustix::mount::mount("tmpfs", target, "tmpfs", MountFlags::empty(), Some(c"mode=0755"))
        .with_context(|| format!("no memory file system over {}", target.display()))?;
    for name in kept {
        let (from, to) = (hold.path().join(name), target.join(name));
        let Ok(meta) = fs::symlink_metadata(&from) else { continue };
        if meta.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            continue;
        }
        if meta.is_dir() {
            fs::create_dir(&to)?;
        } else {
            fs::write(&to, "")?;
        }
        rustix::mount::mount_bind_recursive(&from, &to)
            .with_context(|| format!("cannot bind {} back", to.display()))?;
    }
    rustix::mount::unmount(hold.path(), UnmountFlags::DETACH).context("cannot let go of what was held")
}

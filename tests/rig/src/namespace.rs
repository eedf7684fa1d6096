//! A USB bus that is this machine's to everyone inside, and to nobody outside.
//!
//! `/sys` stays the kernel's own sysfs, since libusb asks its file system type; `/sys/bus` and `/sys/class` are covered by
//! empty memory file systems, `/sys/devices` and `/dev` by ones that hold all that was there but the USB part. Uevents go through the
//! kernel: who has CAP_SYS_ADMIN over a network namespace may hand it one, and it broadcasts it to that namespace as its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Runs `command` in fresh mount and network namespaces, with a user namespace around them where that is what it takes.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--net"]).arg(program);
    command
}

/// Whether this machine lets us: one sentence if it does not.
pub fn available() -> Result<(), String> {
    let outcome = command(Path::new("true")).output();
    match outcome {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("no namespaces here: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(why) => Err(format!("no namespaces here: unshare: {why}")),
    }
}

/// Covers what is real. To be called once, inside the namespaces, before anything looks at USB.
pub fn cover() -> anyhow::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).context("private mounts")?;
    for empty in ["/sys/bus", "/sys/class"] {
        memory(Path::new(empty))?;
    }
    cover_but(Path::new("/sys/devices"), "pci0000:00")?;
    cover_but(Path::new("/dev"), "bus")?;
    fs::create_dir_all("/sys/bus/pci/devices")?;
    Ok(())
}

fn memory(target: &Path) -> anyhow::Result<()> {
    rustix::mount::mount("tmpfs", target, "tmpfs", MountFlags::empty(), None)
        .with_context(|| format!("a memory file system over {}", target.display()))
}

/// A memory file system over `target` with everything bound back in but `without`.
fn cover_but(target: &Path, without: &str) -> anyhow::Result<()> {
    let hold = PathBuf::from(format!("/tmp/.yurt-rig-{}", std::process::id()));
    fs::create_dir_all(&hold)?;
    rustix::mount::mount_bind_recursive(target, &hold).with_context(|| format!("cannot hold {}", target.display()))?;
    memory(target)?;
    for entry in fs::read_dir(&hold)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if name == without {
            continue;
        }
        let (from, to) = (entry.path(), target.join(&name));
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&to)?;
        } else {
            fs::write(&to, "")?;
        }
        // What cannot be bound (a socket of somebody else, say) is not missed by anything here.
        let _ = rustix::mount::mount_bind_recursive(&from, &to);
    }
    rustix::mount::unmount(&hold, UnmountFlags::DETACH).context("letting go of what was held")?;
    fs::remove_dir(&hold)?;
    if target.join(without).exists() {
        bail!("{} still shows {without}", target.display());
    }
    Ok(())
}

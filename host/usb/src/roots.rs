//! Where the facts come from: this machine, or a directory that looks like one.

use std::path::{Path, PathBuf};

/// Where uevents come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Events {
    /// The kernel's own netlink group (`NETLINK_KOBJECT_UEVENT`, group 1).
    Kernel,
    /// A unix datagram socket that the watcher binds at this path; a simulated bus writes one datagram per uevent
    /// to it, in the kernel's format.
    Socket(PathBuf),
}

/// The places that are read. Nothing outside of them is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// What `/sys` is: holds `bus/usb/devices` and the `devices` that its links lead to.
    pub sys: PathBuf,
    /// What `/dev` is. The paths in the facts say `/dev` all the same.
    pub dev: PathBuf,
    /// What `/run/udev/data` is: udev's database, which knows the stable names of nodes. May be missing.
    pub udev: PathBuf,
    /// What `/proc` is: `self/mountinfo` and `swaps` tell which block devices are in use. May be missing.
    pub proc: PathBuf,
    /// Where changes are told.
    pub events: Events,
}

impl Roots {
    /// This machine.
    #[must_use]
    pub fn system() -> Self {
        Self {
            sys: "/sys".into(),
            dev: "/dev".into(),
            udev: "/run/udev/data".into(),
            proc: "/proc".into(),
            events: Events::Kernel,
        }
    }

    /// A directory that holds `sys`, `dev`, `udev`, `proc` and the socket `events.sock`.
    #[must_use]
    pub fn simulated(dir: &Path) -> Self {
        Self {
            sys: dir.join("sys"),
            dev: dir.join("dev"),
            udev: dir.join("udev"),
            proc: dir.join("proc"),
            events: Events::Socket(dir.join("events.sock")),
        }
    }

    /// Whether the facts are those of this machine. In a simulated `dev` plain files stand for nodes.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.events == Events::Kernel
    }
}

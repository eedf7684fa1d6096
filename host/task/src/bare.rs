//! A mount namespace with next to nothing in it.
//!
//! Who makes one of his own gets a copy of all mounts of the one that he is in. A task with a root of its own drops them at once, and on a
//! node with a thousand tasks they are thousands. Copied from here they are three. `mount_namespaces(7)`

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, open, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use crate::sys;

/// Makes one. `None`: it cannot be made here, as on a host that lives in an initramfs, whose root nobody leaves; without it all is the
/// same but for the time that it takes. Blocks.
pub(crate) fn make() -> Option<OwnedFd> {
    // Of this thread alone, and gone with it, but for the descriptor.
    let made = std::thread::Builder::new().name("mounts".to_owned()).spawn(leave).ok()?.join().ok()?;
    made.inspect_err(|errno| tracing::debug!("tasks copy all mounts: {}", std::io::Error::from(*errno))).ok()
}

/// Leaves all mounts but `/proc`, by which descriptors are named.
fn leave() -> Result<OwnedFd, Errno> {
    const OWN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
        .union(MountAttrFlags::MOUNT_ATTR_NODEV)
        .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
    sys::unshare_mounts()?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let proc = open_tree(CWD, "/proc", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in [("mode", "0755"), ("size", "4k")] {
        fsconfig_set_string(&context, name, value)?;
    }
    fsconfig_create(&context)?;
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, OWN)?;
    let place = OFlags::PATH | OFlags::CLOEXEC;
    attach(&root, &open("/", place, Mode::empty())?)?;
    mkdirat(&root, "proc", Mode::from_raw_mode(0o555))?;
    attach(&proc, &openat(&root, "proc", place, Mode::empty())?)?;
    fchdir(&root)?;
    pivot_root(".", ".")?;
    // Both stand at the same place now, the host's on top.
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn attach(mount: &OwnedFd, place: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    #[test]
    fn proc_is_all_that_is_in_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let Some(bare) = super::make() else { return };
        let here = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let enter = move || {
            crate::sys::unshare_mounts().expect("a namespace");
            move_into_link_name_space(bare.as_fd(), Some(LinkNameSpaceType::Mount)).expect("the bare one");
            let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("mounts");
            let all: Vec<String> = std::fs::read_dir("/")
                .expect("its root")
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
                .collect();
            (mounts, all)
        };
        let (mounts, all) = std::thread::spawn(enter).join().expect("no panic");
        let mut places: Vec<_> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        places.sort_unstable();
        assert_eq!(places, ["/", "/proc"], "{mounts}");
        assert_eq!(all, ["proc"]);
        assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").expect("mounts"), here, "the others notice nothing");
    }
}

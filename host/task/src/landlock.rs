//! Rules about the host's files for a task that has no root of its own: `landlock(7)`.
//!
//! The ruleset is made here, once, and goes to the keeper as a descriptor: a task and every command in it are held to the same, whatever
//! the task has done to the paths meanwhile. Of what the kernel can refuse all is refused that is not unveiled; what it cannot on this
//! machine, [`missing`] says. Nobody is ever allowed to make device nodes.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;
use yurt_keeper::{Allowed, Step};

use crate::error::StepError;
use crate::launch::{Access, Unveil, Unveiled};
use crate::sys::landlock::{add, create, version};

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_BLOCK: u64 = 1 << 11;
const MAKE_SYM: u64 = 1 << 12;
/// Version 2.
const REFER: u64 = 1 << 13;
/// Version 3.
const TRUNCATE: u64 = 1 << 14;

/// Of files that are no directories.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;

/// The kernel's version of Landlock; an error says why there is none.
pub fn available() -> Result<u32, String> {
    version().map_err(|errno| match errno {
        Errno::OPNOTSUPP => {
            "Landlock is not enabled on this machine: add landlock to lsm= on the kernel's command line".to_owned()
        }
        Errno::NOSYS => "this kernel has no Landlock, which takes Linux 5.13 or later".to_owned(),
        errno => format!("Landlock cannot be used: {}", io::Error::from(errno)),
    })
}

/// What this version cannot do: a clause for people.
pub fn missing(version: u32) -> Option<&'static str> {
    match version {
        0 | 1 => Some(
            "files cannot be moved between directories, and can be cut off where they may not be written (Linux 6.2 does better)",
        ),
        2 => Some("files can be cut off where they may not be written (Linux 6.2 does better)"),
        _ => None,
    }
}

/// The ruleset, and what is to be added to it where only the task's own mounts are.
pub(crate) fn ruleset(unveiled: &Unveiled) -> Result<(OwnedFd, Vec<Allowed>), StepError> {
    let failed = |what: &str, errno| StepError::errno(Step::Landlock.to_string(), what, errno);
    let version = available().map_err(|why| StepError::text(Step::Landlock.to_string(), "", why))?;
    let known = known(version);
    let ruleset = create(known).map_err(|errno| failed("", errno))?;
    let mut later = Vec::new();
    for unveil in &unveiled.paths {
        let access = bits(unveil.access) & known;
        if is_mounted_later(unveil, unveiled) {
            later.push(Allowed { path: unveil.path.clone(), access });
            continue;
        }
        let whole = Path::new(&unveil.path).join(&unveil.below).display().to_string();
        let found = match open(unveil) {
            Err(Errno::NOENT | Errno::NOTDIR) if !unveil.needed => continue,
            found => found.map_err(|errno| failed(&whole, errno))?,
        };
        let directory = fstat(&found).map(|meta| FileType::from_raw_mode(meta.st_mode) == FileType::Directory);
        let directory = directory.map_err(|errno| failed(&whole, errno))?;
        let access = if directory { access } else { access & OF_FILES };
        if access != 0 {
            add(ruleset.as_fd(), found.as_fd(), access).map_err(|errno| failed(&whole, errno))?;
        }
    }
    Ok((ruleset, later))
}

/// Over the host's the task has its own, of which there is nothing yet.
fn is_mounted_later(unveil: &Unveil, unveiled: &Unveiled) -> bool {
    let path = Path::new(&unveil.path);
    (unveiled.namespaces.pid && path.starts_with("/proc")) || (unveiled.namespaces.ipc && path.starts_with("/dev/shm"))
}

fn open(unveil: &Unveil) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let trusted = openat(CWD, &unveil.path, flags, Mode::empty())?;
    if unveil.below.is_empty() {
        return Ok(trusted);
    }
    openat2(trusted, &unveil.below, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// What this version can refuse.
fn known(version: u32) -> u64 {
    let nodes = MAKE_CHAR | MAKE_BLOCK;
    let added = [(2, REFER), (3, TRUNCATE)].into_iter().filter(|(since, _)| version >= *since);
    added.fold(nodes | (bits(Access::ALL) & !REFER & !TRUNCATE), |all, (_, bit)| all | bit)
}

fn bits(access: Access) -> u64 {
    let made = MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM | REMOVE_DIR | REMOVE_FILE | REFER;
    let parts = [
        (access.read, READ_FILE | READ_DIR),
        (access.write, WRITE_FILE | TRUNCATE),
        (access.execute, EXECUTE),
        (access.create, made),
    ];
    parts.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, bits)| all | bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_makes_device_nodes_and_all_else_can_be_unveiled() {
        assert_eq!(known(3) & !bits(Access::ALL), MAKE_CHAR | MAKE_BLOCK);
        assert_eq!(known(1), 0x1fff);
        assert_eq!((known(2), known(9)), (0x3fff, 0x7fff));
        assert!(missing(1).is_some() && missing(2).is_some() && missing(3).is_none());
    }

    #[test]
    fn an_access_is_within_another_that_has_all_of_it() {
        let read = Access { read: true, ..Access::default() };
        assert!(read.within(read) && read.within(Access::ALL) && Access::default().within(read));
        assert!(!Access::ALL.within(read) && !Access { write: true, ..read }.within(read));
    }
}

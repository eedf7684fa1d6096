//! Paths in a root directory, followed as the task will follow them, and never out of it: its files may hold links of all sorts.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, readlinkat};
use rustix::io::Errno;

/// Most links on one way: the kernel's own number.
const LINKS_MAX: u32 = 40;

/// What [`walk`] makes where nothing is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Nothing,
    Directory,
    File,
}

/// What a path within `root` leads to. What is not there is made, with the directories on the way, at the end of the links that
/// lead there.
pub(crate) fn walk(root: &OwnedFd, path: &str, make: Make) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut above = vec![openat(root, ".", flags, Mode::empty())?];
    let mut rest = parts(path.as_bytes());
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let Some(at) = above.last() else { return Err(Errno::NOENT) };
        if name == b".." {
            // The root is its own parent.
            above.truncate(above.len().saturating_sub(1).max(1));
            continue;
        }
        let found = match openat(at, name.as_slice(), flags, Mode::empty()) {
            Err(Errno::NOENT) if make != Make::Nothing => {
                let name = name.as_slice();
                let made = if make == Make::Directory || !rest.is_empty() {
                    mkdirat(at, name, Mode::from_raw_mode(0o755))
                } else {
                    let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                    openat(at, name, new, Mode::from_raw_mode(0o644)).map(drop)
                };
                // Another task of the allocation may have been faster, in a directory that they share.
                made.or_else(|why| if why == Errno::EXIST { Ok(()) } else { Err(why) })?;
                openat(at, name, flags, Mode::empty())?
            }
            found => found?,
        };
        if kind(&fstat(&found)?) != FileType::Symlink {
            above.push(found);
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(&found, "", Vec::new())?.into_bytes();
        if target.starts_with(b"/") {
            above.truncate(1);
        }
        rest.extend(parts(&target));
    }
    above.pop().ok_or(Errno::NOENT)
}

/// Names in a path, the last one first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

pub(crate) fn kind(meta: &Stat) -> FileType {
    FileType::from_raw_mode(meta.st_mode)
}

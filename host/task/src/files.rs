//! Small files, whole or not at all.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// No file of an entry is larger.
const MOST: usize = 4 << 20;

/// The whole content of a file; no link is followed.
pub(crate) fn read(dir: BorrowedFd<'_>, name: &str) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let mut content = Vec::with_capacity(4096);
    loop {
        let read = rustix::io::read(&file, rustix::buffer::spare_capacity(&mut content))?;
        if read == 0 {
            return Ok(content);
        }
        if content.len() > MOST {
            return Err(Errno::FBIG);
        }
        content.reserve(4096);
    }
}

/// Writes a file beside its place and renames it into it.
pub(crate) fn replace(dir: BorrowedFd<'_>, name: &str, content: &[u8], mode: Mode) -> Result<(), Errno> {
    place(dir, name, content, mode, RenameFlags::empty())
}

/// Likewise, if there is no such file; else `Errno::EXIST`.
pub(crate) fn create(dir: BorrowedFd<'_>, name: &str, content: &[u8], mode: Mode) -> Result<(), Errno> {
    place(dir, name, content, mode, RenameFlags::NOREPLACE)
}

fn place(dir: BorrowedFd<'_>, name: &str, content: &[u8], mode: Mode, how: RenameFlags) -> Result<(), Errno> {
    let draft = format!(".{name}.{}", std::process::id());
    let _ = rustix::fs::unlinkat(dir, &draft, AtFlags::empty());
    let placed =
        write(dir, &draft, content, mode).and_then(|()| rustix::fs::renameat_with(dir, &draft, dir, name, how));
    if placed.is_err() {
        let _ = rustix::fs::unlinkat(dir, &draft, AtFlags::empty());
    }
    placed
}

fn write(dir: BorrowedFd<'_>, name: &str, content: &[u8], mode: Mode) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: OwnedFd = rustix::fs::openat(dir, name, flags, mode)?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::write(file.as_fd(), rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

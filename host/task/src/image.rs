//! The keeper's program: embedded in this one, executed from a sealed memory file, or, where the kernel forbids that, from a file in the
//! runtime directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

use crate::error::StepError;
use crate::files::replace;

const PROGRAM: &[u8] = include_bytes!(env!("YURT_KEEPER"));

/// Name of the file in the runtime directory, where one is needed. Entries have other names: 32 digits.
pub(crate) const FILE: &str = "keeper";

/// The program, made ready once.
#[derive(Debug, Default)]
pub(crate) struct Image {
    memory: OnceLock<Option<OwnedFd>>,
    file: OnceLock<OwnedFd>,
}

impl Image {
    /// In a memory file; `None` where the kernel makes none that can be executed.
    pub(crate) fn in_memory(&self) -> Option<BorrowedFd<'_>> {
        self.memory.get_or_init(|| memory_file().ok()).as_ref().map(AsFd::as_fd)
    }

    /// In a file of `dir`.
    pub(crate) fn in_file(&self, dir: BorrowedFd<'_>) -> Result<BorrowedFd<'_>, StepError> {
        if let Some(file) = self.file.get() {
            return Ok(file.as_fd());
        }
        let file = file(dir).map_err(|errno| StepError::errno("writing the keeper's program", FILE, errno))?;
        Ok(self.file.get_or_init(|| file).as_fd())
    }
}

fn memory_file() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC is known from Linux 6.3 on; before, every memory file can be executed.
    let file = match rustix::fs::memfd_create("yurt-keeper", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create("yurt-keeper", flags)?,
        made => made?,
    };
    let mut rest = PROGRAM;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    above_streams(file)
}

fn file(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    replace(dir, FILE, PROGRAM, Mode::RUSR | Mode::XUSR)?;
    above_streams(rustix::fs::openat(dir, FILE, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// The same file under a number that is not in the way in a child.
pub(crate) fn above_streams(file: OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(file, 10)
}

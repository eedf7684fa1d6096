//! A directory of the control group file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::StepError;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) path: PathBuf,
    fd: OwnedFd,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    pub(crate) fn open(path: &Path) -> Result<Dir, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Dir { path: path.to_owned(), fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    pub(crate) fn read(&self, file: &str) -> Result<String, Errno> {
        let bytes = crate::files::read(self.fd.as_fd(), file)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        let file = rustix::fs::openat(&self.fd, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, value.as_bytes()).map(|_| ())
    }

    /// Writes what has to be there.
    pub(crate) fn set(&self, file: &str, value: impl ToString) -> Result<(), StepError> {
        let value = value.to_string();
        self.write(file, &value).map_err(|errno| {
            StepError::errno("setting a limit", format!("{} to {value}", self.path.join(file).display()), errno)
        })
    }

    /// A file with one number.
    pub(crate) fn number(&self, file: &str) -> Option<u64> {
        self.read(file).ok()?.trim().parse().ok()
    }

    /// A file of lines `key number`.
    pub(crate) fn table(&self, file: &str) -> Option<Table> {
        self.read(file).ok().map(Table)
    }
}

/// The content of a file of lines `key number`.
pub(crate) struct Table(String);

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<u64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }
}

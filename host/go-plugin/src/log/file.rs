//! The file that gets the lines when nobody reads stderr: for this user only, bounded, one predecessor kept.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Where the file is set aside and a new one begins.
pub(super) const SIZE_MAX: u64 = 4 * 1024 * 1024;

pub(super) struct LogFile {
    path: PathBuf,
    size_max: u64,
    open: Option<File>,
}

impl LogFile {
    pub(super) fn new(path: PathBuf) -> LogFile {
        LogFile { path, size_max: SIZE_MAX, open: None }
    }

    /// There is nobody left to tell of a failure.
    pub(super) fn append(&mut self, line: &[u8]) {
        if self.has_ended() {
            self.open = None;
        }
        if self.open.is_none() {
            self.open = open(&self.path, self.size_max);
        }
        if let Some(mut file) = self.open.as_ref() {
            let _ = file.write_all(line);
        }
    }

    /// Full, or set aside by another copy of this plugin.
    fn has_ended(&self) -> bool {
        let Some(open) = self.open.as_ref().and_then(|file| file.metadata().ok()) else { return false };
        let same = std::fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == open.ino());
        open.size() >= self.size_max || !same
    }
}

fn open(path: &Path, size_max: u64) -> Option<File> {
    if std::fs::symlink_metadata(path).is_ok_and(|there| there.size() >= size_max) {
        let _ = std::fs::rename(path, predecessor(path));
    }
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::open(path, flags, mode).ok()?;
    // Also one that somebody made before.
    let _ = rustix::fs::fchmod(&file, mode);
    Some(File::from(file))
}

pub(super) fn predecessor(path: &Path) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(".1");
    name.into()
}

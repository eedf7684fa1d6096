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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn small(path: &Path) -> LogFile {
        LogFile { size_max: 100, ..LogFile::new(path.to_owned()) }
    }

    #[test]
    fn the_file_is_made_at_the_first_line_for_this_user_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = LogFile::new(path.clone());
        assert!(!path.exists());
        file.append(b"one\n");
        file.append(b"two\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_file_that_was_there_is_continued_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        LogFile::new(path.clone()).append(b"after\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"before\nafter\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_full_file_is_set_aside_and_only_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = small(&path);
        for number in 0..100 {
            file.append(format!("line {number:03}\n").as_bytes());
        }
        let kept = std::fs::read_to_string(predecessor(&path)).unwrap() + &std::fs::read_to_string(&path).unwrap();
        assert!(kept.ends_with("line 099\n"), "{kept}");
        assert!(kept.len() < 2 * (100 + 9), "{kept}");
        assert_eq!(kept.lines().count(), kept.lines().collect::<std::collections::BTreeSet<_>>().len());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn two_copies_of_a_plugin_share_a_file_without_losing_a_line_of_the_newer_part() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (mut one, mut two) = (small(&path), small(&path));
        for number in 0..40 {
            one.append(format!("one {number:02}\n").as_bytes());
            two.append(format!("two {number:02}\n").as_bytes());
        }
        let kept = std::fs::read_to_string(predecessor(&path)).unwrap() + &std::fs::read_to_string(&path).unwrap();
        let wanted: String = (0..40).map(|number| format!("one {number:02}\ntwo {number:02}\n")).collect();
        assert!(wanted.ends_with(&kept), "{kept}");
        assert!(kept.len() >= 100);
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, victim) = (directory.path().join("log"), directory.path().join("victim"));
        std::fs::write(&victim, "").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        LogFile::new(path).append(b"line\n");
        assert_eq!(std::fs::read(&victim).unwrap(), b"");
    }
}

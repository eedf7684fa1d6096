//! The task's standard output and error: named pipes of whoever collects logs, or nothing.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::StepError;

/// Bytes that a collector may be behind before the task waits for it.
const CAPACITY: usize = 1 << 20;

/// Opens a named pipe for reading and writing, so that a collector that comes late or dies is neither a wait nor an end; or `/dev/null`.
/// It is looked at before it is opened: it lies where the task can write.
pub(crate) fn open(name: &str, path: &Path) -> Result<OwnedFd, StepError> {
    let step = format!("opening standard {name}");
    let failed = |errno: Errno| StepError::errno(step.clone(), path.display().to_string(), errno);
    let refused = |text: &str| StepError::text(step.clone(), path.display().to_string(), text);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&found).map_err(failed)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => {}
        FileType::CharacterDevice if stat.st_rdev == rustix::fs::makedev(1, 3) => {}
        FileType::Symlink => return Err(refused("it is a symbolic link, not a named pipe")),
        _ => return Err(refused("it is neither a named pipe nor /dev/null")),
    }
    // The very file that was looked at.
    let by_number = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let stream = rustix::fs::open(by_number, flags, Mode::empty()).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
        // Less will do where the user's share of pipe memory is used up.
        let _ = rustix::pipe::fcntl_setpipe_size(&stream, CAPACITY);
    }
    // The task expects that writing waits.
    let flags = rustix::fs::fcntl_getfl(&stream).map_err(failed)?;
    rustix::fs::fcntl_setfl(&stream, flags - OFlags::NONBLOCK).map_err(failed)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    #[test]
    fn only_a_named_pipe_or_null_itself_is_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("a pipe");
        let opened = open("output", &pipe).expect("a pipe");
        assert!(!rustix::fs::fcntl_getfl(&opened).expect("flags").contains(OFlags::NONBLOCK));
        open("output", Path::new("/dev/null")).expect("null");

        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).expect("a link");
        let said = open("error", &link).expect_err("a link").to_string();
        assert_eq!(
            said,
            format!("opening standard error: {}: it is a symbolic link, not a named pipe", link.display())
        );
        let file = dir.path().join("file");
        std::fs::write(&file, "kept").expect("a file");
        assert!(
            open("output", &file)
                .expect_err("a file")
                .to_string()
                .ends_with("it is neither a named pipe nor /dev/null")
        );
        assert!(open("output", Path::new("/dev/zero")).is_err());
        let gone = open("output", &dir.path().join("none")).expect_err("nothing");
        assert_eq!(gone.os_error(), Some(2));
        assert_eq!(std::fs::read(&file).expect("a file"), b"kept");
    }
}

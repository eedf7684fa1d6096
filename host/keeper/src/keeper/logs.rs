//! The task's log pipes, held open here at both ends: a collector that dies is neither the end of the pipe nor a `SIGPIPE`. One that
//! does not read must not stop the task either: then the oldest bytes are thrown away, and counted.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};

use crate::child::by_number;
use crate::plan::Plan;

/// How often pipes are looked at while somebody reads them.
const CALM: Duration = Duration::from_secs(5);
/// How often while nobody does.
const DRAINING: Duration = Duration::from_millis(50);
/// Thrown away at once.
const PIECE: usize = 64 * 1024;

/// Both pipes.
pub(crate) struct Logs {
    pipes: Vec<Pipe>,
    pub(crate) dropped: u64,
}

struct Pipe {
    fd: OwnedFd,
    /// The same pipe, opened so that reading does not wait.
    reader: OwnedFd,
    /// Bytes in it when it was last found full.
    full: Option<u64>,
    draining: bool,
}

impl Logs {
    pub(crate) fn of(plan: &Plan) -> Logs {
        let pipe = |fd: &OwnedFd| {
            let meta = rustix::fs::fstat(fd).ok()?;
            if rustix::fs::FileType::from_raw_mode(meta.st_mode) != rustix::fs::FileType::Fifo {
                return None;
            }
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let reader = open(by_number(fd.as_fd()), flags, Mode::empty()).ok()?;
            Some(Pipe { fd: fd.try_clone().ok()?, reader, full: None, draining: false })
        };
        let streams = plan.streams.iter().flat_map(|(stdout, stderr)| [stdout, stderr]);
        Logs { pipes: streams.filter_map(pipe).collect(), dropped: 0 }
    }

    /// None any more.
    pub(crate) fn closed() -> Logs {
        Logs { pipes: Vec::new(), dropped: 0 }
    }

    /// How long until they should be looked at again.
    pub(crate) fn pause(&self) -> Duration {
        if self.pipes.iter().any(|pipe| pipe.draining) { DRAINING } else { CALM }
    }

    pub(crate) fn look(&mut self) {
        for pipe in &mut self.pipes {
            self.dropped = self.dropped.saturating_add(pipe.look());
        }
    }
}

impl Pipe {
    /// Bytes thrown away.
    fn look(&mut self) -> u64 {
        let now = rustix::io::ioctl_fionread(&self.fd).unwrap_or_default();
        if self.writable() {
            // While draining, less than was left is somebody else's reading.
            self.draining = self.draining && self.full.is_some_and(|before| now >= before);
            self.full = self.draining.then_some(now);
            return 0;
        }
        if !self.draining && self.full.replace(now) != Some(now) {
            return 0;
        }
        self.draining = true;
        let mut dropped = 0;
        let mut piece = vec![0; PIECE];
        for _ in 0..16 {
            match rustix::io::read(&self.reader, &mut piece) {
                Ok(read) if read > 0 => dropped += read as u64,
                _ => break,
            }
        }
        self.full = rustix::io::ioctl_fionread(&self.fd).ok();
        dropped
    }

    fn writable(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::OUT)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

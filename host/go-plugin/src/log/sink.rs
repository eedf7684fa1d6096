//! The way out of the process: a line is one write, and whatever goes wrong with it is no reason to fail or to wait for long.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::Level;

use super::encode::{self, Fields};
use super::file::LogFile;

/// How long a parent that does not read its plugin's log may hold the plugin up, once until it reads again.
const STALL_MAX: Duration = Duration::from_millis(200);

pub(super) struct Sink {
    out: Box<dyn AsFd + Send>,
    /// Nobody will ever read `out` again.
    broken: bool,
    /// Nobody has read it for too long.
    stalled: bool,
    /// Lines that did not go out since it stalled.
    missing: u64,
    file: Option<LogFile>,
}

impl Sink {
    pub(super) fn new(out: impl AsFd + Send + 'static) -> Sink {
        Sink { out: Box::new(out), broken: false, stalled: false, missing: 0, file: None }
    }

    pub(super) fn fall_back_to(&mut self, file: LogFile) {
        self.file = Some(file);
    }

    /// A line with its newline.
    pub(super) fn write(&mut self, line: &[u8]) {
        if self.out(line) {
            return;
        }
        if let Some(file) = &mut self.file {
            file.append(line);
        }
    }

    /// False when the line did not go out.
    fn out(&mut self, line: &[u8]) -> bool {
        if self.broken {
            return false;
        }
        if self.stalled {
            if !self.writable(Duration::ZERO) {
                self.missing = self.missing.saturating_add(1);
                return false;
            }
            self.stalled = false;
            let missing = std::mem::take(&mut self.missing);
            self.send(note(missing).as_bytes());
        }
        self.send(line)
    }

    fn send(&mut self, line: &[u8]) -> bool {
        let mut rest = line;
        while !rest.is_empty() {
            if !self.writable(STALL_MAX) {
                self.stalled = true;
                self.missing = self.missing.saturating_add(1);
                return false;
            }
            match rustix::io::write(&self.out, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                // Somebody else's non-blocking pipe that filled up meanwhile: the wait above bounds this.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::PIPE | Errno::BADF | Errno::IO | Errno::NXIO) => {
                    self.broken = true;
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// True also for a broken pipe: writing will tell.
    fn writable(&self, within: Duration) -> bool {
        let mut waited = [PollFd::new(&self.out, PollFlags::OUT)];
        let within = Timespec { tv_sec: 0, tv_nsec: within.subsec_nanos().into() };
        !matches!(poll(&mut waited, Some(&within)), Ok(0))
    }
}

fn note(missing: u64) -> String {
    let mut fields = Fields::of_event();
    fields.text("message", &format_args!("{missing} lines are missing here: this log was not read for a while"));
    encode::line(Level::WARN, "log", std::time::SystemTime::now(), &fields)
}

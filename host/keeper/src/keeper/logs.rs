//! The task's log pipes, held open here at both ends: a collector that dies is neither the end of the pipe nor a `SIGPIPE`. One that
//! does not read must not stop the task either: then the oldest bytes are thrown away, and counted.
//!
//! Pipes are looked at from time to time as long as there is something in them. Of one that was found empty the kernel tells when a task
//! writes: a task that is silent costs nothing.
//!
//! A full pipe alone says little: behind a collector that is slower than the task it is always full. So who finds it full has the
//! kernel tell of reads from then on, and throws away only what nobody has touched until the next look.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, inotify, open};
use rustix::io::{ioctl_fionread, read};
use rustix::pipe::fcntl_getpipe_size;

use crate::child::by_number;
use crate::plan::Plan;

/// How often pipes are looked at in which there may be something.
const CALM: Duration = Duration::from_secs(5);
/// How often where bytes are thrown away: fast enough for a task that writes some 10 MB/s.
const DROPPING: Duration = Duration::from_millis(50);
/// So many looks in a row without a full pipe, and it is calm again.
const PATIENCE: u32 = 100;

/// The pipes among a task's standard streams.
pub(crate) struct Logs {
    pipes: Vec<Pipe>,
    /// `None`: all were found empty.
    next: Option<Instant>,
    /// Bytes thrown away so far.
    pub(crate) dropped: u64,
}

struct Pipe {
    /// Both ends, opened by ourselves so that nothing waits.
    fd: OwnedFd,
    state: State,
}

enum State {
    Calm,
    /// It was full. What tells of reads since then.
    Full(Reads),
    /// Nobody reads. And how many looks ago it was last full.
    Dropping(Reads, u32),
}

impl Logs {
    pub(crate) fn of(plan: &Plan) -> Logs {
        let streams = plan.streams.iter().flat_map(|(stdout, stderr)| [stdout, stderr]);
        let pipes = streams.filter_map(Pipe::of).collect();
        Logs { pipes, next: None, dropped: 0 }
    }

    /// Whoever reads sees their end, once nobody else can write.
    pub(crate) fn close(&mut self) {
        self.pipes.clear();
    }

    /// When they should be looked at again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next.filter(|_| !self.pipes.is_empty())
    }

    /// Until then: whichever of these can be read, [`written`](Logs::written) is to be told.
    pub(crate) fn silent(&self) -> impl Iterator<Item = &OwnedFd> {
        self.pipes.iter().map(|pipe| &pipe.fd).filter(|_| self.next.is_none())
    }

    /// The task is silent no more.
    pub(crate) fn written(&mut self) {
        self.next.get_or_insert_with(|| Instant::now() + CALM);
    }

    /// Looks at them if it is time.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        if self.next().is_none_or(|next| now < next) {
            return;
        }
        for pipe in &mut self.pipes {
            self.dropped = self.dropped.saturating_add(pipe.look());
        }
        let dropping = self.pipes.iter().any(|pipe| matches!(pipe.state, State::Dropping(..)));
        let silent = self.pipes.iter().all(|pipe| matches!(pipe.state, State::Calm) && pipe.is_empty());
        self.next = (!silent).then(|| now + if dropping { DROPPING } else { CALM });
    }
}

impl Pipe {
    fn of(stream: &OwnedFd) -> Option<Pipe> {
        let is_pipe = FileType::from_raw_mode(fstat(stream).ok()?.st_mode) == FileType::Fifo;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = is_pipe.then(|| open(by_number(stream), flags, Mode::empty()).ok())??;
        Some(Pipe { fd, state: State::Calm })
    }

    /// Bytes thrown away.
    fn look(&mut self) -> u64 {
        let full = self.is_full();
        let (state, dropped) = match (std::mem::replace(&mut self.state, State::Calm), full) {
            (State::Calm, true) => (State::Full(Reads::of(&self.fd)), 0),
            (State::Calm | State::Full(_), false) => (State::Calm, 0),
            (State::Dropping(reads, looks), false) if looks < PATIENCE && !reads.happened(&self.fd) => {
                (State::Dropping(reads, looks + 1), 0)
            }
            (State::Dropping(..), false) => (State::Calm, 0),
            (State::Full(reads) | State::Dropping(reads, _), true) if reads.happened(&self.fd) => {
                (State::Full(Reads::of(&self.fd)), 0)
            }
            (State::Full(_) | State::Dropping(..), true) => {
                let dropped = self.drop_oldest();
                (State::Dropping(Reads::of(&self.fd), 0), dropped)
            }
        };
        self.state = state;
        dropped
    }

    fn is_full(&self) -> bool {
        !is_ready(&self.fd, PollFlags::OUT)
    }

    fn is_empty(&self) -> bool {
        !is_ready(&self.fd, PollFlags::IN)
    }

    /// Until half of it is free.
    fn drop_oldest(&self) -> u64 {
        let half = fcntl_getpipe_size(&self.fd).unwrap_or_default() as u64 / 2;
        let mut piece = [0; 16 * 1024];
        let mut dropped = 0;
        while dropped < half.max(1) {
            match read(&self.fd, &mut piece) {
                Ok(bytes) if bytes > 0 => dropped += bytes as u64,
                _ => break,
            }
        }
        dropped
    }
}

/// Whether somebody has read a pipe since a moment.
enum Reads {
    /// The kernel tells.
    Told(OwnedFd),
    /// It cannot, since too many ask it to: more or fewer bytes than these are a sign.
    Guessed(u64),
}

impl Reads {
    fn of(pipe: &OwnedFd) -> Reads {
        let told = || {
            let told = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            inotify::add_watch(&told, by_number(pipe), inotify::WatchFlags::ACCESS)?;
            rustix::io::Result::Ok(told)
        };
        told().map_or_else(|_| Reads::Guessed(ioctl_fionread(pipe).unwrap_or_default()), Reads::Told)
    }

    fn happened(&self, pipe: &OwnedFd) -> bool {
        match self {
            Reads::Told(told) => is_ready(told, PollFlags::IN),
            Reads::Guessed(bytes) => ioctl_fionread(pipe).is_ok_and(|now| now != *bytes),
        }
    }
}

fn is_ready(fd: &OwnedFd, flags: PollFlags) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), flags)], Some(&now)).is_ok_and(|ready| ready > 0)
}

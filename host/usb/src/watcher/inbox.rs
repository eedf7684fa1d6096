//! What the other threads have for the watcher: one place that holds the newest of each kind, and a bell.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use rustix::event::{EventfdFlags, eventfd};

use super::{Settings, libusb, looker::Looked};

/// Where news lie until the watcher takes them.
#[derive(Debug)]
pub(super) struct Inbox {
    bell: OwnedFd,
    news: Mutex<News>,
}

/// All that can be new. Of most things only the newest counts; none of them can pile up.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) stop: bool,
    pub(super) settings: Option<Settings>,
    pub(super) rescan: bool,
    /// When to look again if nobody asks sooner.
    pub(super) again: Option<Instant>,
    /// The answer to the one look that is under way.
    pub(super) looked: Option<Looked>,
    /// Devices at which looks hung that have ended now.
    pub(super) unhung: Vec<String>,
    pub(super) libusb: libusb::Heard,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { bell, news: Mutex::default() })
    }

    /// Puts something in and rings.
    pub(super) fn put(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        // Fails only where the bell has rung 2^64 times and nobody came.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Takes all there is.
    pub(super) fn take(&self) -> News {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsFd for Inbox {
    /// Readable while there is something in it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

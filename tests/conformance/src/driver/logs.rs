//! A log pipe, read as the agent's log collector reads it: opened for reading once, read until nobody holds it for writing.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags};

/// A named pipe and the thread that reads it. The pipe is made with it.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    shared: Arc<Mutex<Collected>>,
    reader: Mutex<Option<(JoinHandle<()>, OwnedFd)>>,
}

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    first_at: Option<Instant>,
    ended: bool,
}

impl Log {
    /// Makes the pipe and begins to read.
    pub fn new(path: PathBuf) -> Log {
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe");
        let log = Log { path, shared: Arc::default(), reader: Mutex::default() };
        log.read();
        log
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to read (again).
    pub fn read(&self) {
        let options = OFlags::NONBLOCK.bits().cast_signed();
        let pipe = OpenOptions::new().read(true).custom_flags(options).open(&self.path).expect("the pipe's read side");
        let shared = Arc::clone(&self.shared);
        shared.lock().expect("no panic").ended = false;
        let (stop, stopper) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let reader = std::thread::spawn(move || collect(pipe, &stop, &shared));
        *self.reader.lock().expect("no panic") = Some((reader, stopper));
    }

    /// Stops reading and closes the read side, as a collector that dies.
    pub fn stop(&self) {
        if let Some((reader, stopper)) = self.reader.lock().expect("no panic").take() {
            drop(stopper);
            reader.join().expect("no panic");
        }
    }

    /// All that came so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().expect("no panic").bytes).into_owned()
    }

    /// How many bytes came so far.
    pub fn len(&self) -> usize {
        self.shared.lock().expect("no panic").bytes.len()
    }

    /// Nothing came.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the first byte came.
    pub fn first_at(&self) -> Option<Instant> {
        self.shared.lock().expect("no panic").first_at
    }

    /// Nobody holds the write side any more.
    pub fn ended(&self) -> bool {
        self.shared.lock().expect("no panic").ended
    }

    /// Waits until this text is in it.
    pub async fn says(&self, what: &str) {
        let said = super::within(super::PATIENCE, || self.text().contains(what)).await;
        assert!(said, "no {what:?} in {}: {:?}", self.path.display(), self.text());
    }

    /// Waits until nobody can write any more; all that came.
    pub async fn whole(&self) -> String {
        let ended = super::within(super::PATIENCE, || self.ended()).await;
        assert!(ended, "somebody still holds {}: {:?}", self.path.display(), self.text());
        self.text()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Until nobody holds the write side, or `stop` is closed.
fn collect(mut pipe: File, stop: &OwnedFd, shared: &Mutex<Collected>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut fds = [PollFd::new(&pipe, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        if rustix::event::poll(&mut fds, None).is_err() {
            continue;
        }
        let [log, stop] = fds.map(|fd| !fd.revents().is_empty());
        if stop {
            return;
        }
        if !log {
            continue;
        }
        let got = match pipe.read(&mut buffer) {
            Ok(got) => got,
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => 0,
        };
        let mut collected = shared.lock().expect("no panic");
        collected.bytes.extend_from_slice(&buffer[..got]);
        if got > 0 {
            collected.first_at = collected.first_at.or(Some(Instant::now()));
        }
        collected.ended = got == 0;
        if got == 0 {
            return;
        }
    }
}

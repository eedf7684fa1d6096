//! A log pipe, read as the agent's log collector reads it: opened for reading once, read until nobody holds it for writing.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};

/// A named pipe and the thread that reads it. The pipe is made with it.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    shared: Arc<Mutex<Collected>>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    first_at: Option<Instant>,
    ended: bool,
    stop: bool,
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
        let mut collected = shared.lock().expect("no panic");
        (collected.ended, collected.stop) = (false, false);
        drop(collected);
        *self.reader.lock().expect("no panic") = Some(std::thread::spawn(move || collect(pipe, &shared)));
    }

    /// Stops reading and closes the read side, as a collector that dies.
    pub fn stop(&self) {
        self.shared.lock().expect("no panic").stop = true;
        if let Some(reader) = self.reader.lock().expect("no panic").take() {
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

fn collect(mut pipe: File, shared: &Mutex<Collected>) {
    let mut buffer = vec![0; 64 << 10];
    let wait = Timespec::try_from(Duration::from_millis(20)).expect("a short time");
    loop {
        let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
        let ready = rustix::event::poll(&mut fds, Some(&wait)).unwrap_or(0);
        if shared.lock().expect("no panic").stop {
            return;
        }
        if ready == 0 {
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

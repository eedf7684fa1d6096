//! The standard streams of a component. What it writes goes to the pipes at once and whole; what it reads is nothing, and comes to its end
//! when the task is asked to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Most that is taken of a component at once, in bytes.
const PIECE: usize = 64 << 10;

/// A line on the task's standard error, said as ours. Whoever does not read it misses it.
pub(crate) fn say(line: &str) {
    let _ = Output::Error.write_all(format!("yurt: {line}\n").as_bytes());
}

/// Standard input.
#[derive(Clone)]
pub(crate) struct Input {
    /// Whether it is at its end.
    ended: watch::Receiver<bool>,
    /// Whether the component ever looked at it.
    looked_at: Arc<AtomicBool>,
}

impl Input {
    pub(crate) fn new(ended: watch::Receiver<bool>, looked_at: Arc<AtomicBool>) -> Input {
        Input { ended, looked_at }
    }

    fn look(&self) {
        self.looked_at.store(true, Ordering::SeqCst);
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        self.look();
        // Its other end lives as long as the component.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

impl InputStream for Input {
    fn read(&mut self, _size: usize) -> StreamResult<Bytes> {
        self.look();
        if *self.ended.borrow() { Err(StreamError::Closed) } else { Ok(Bytes::new()) }
    }
}

/// Standard output or standard error.
#[derive(Clone, Copy)]
pub(crate) enum Output {
    Output,
    Error,
}

impl Output {
    fn fd(self) -> BorrowedFd<'static> {
        match self {
            Output::Output => rustix::stdio::stdout(),
            Output::Error => rustix::stdio::stderr(),
        }
    }

    fn write_all(self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(self.fd(), bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let _ = poll(&mut [PollFd::from_borrowed_fd(self.fd(), PollFlags::OUT)], None);
                }
                Err(why) => return Err(why.into()),
            }
        }
        Ok(())
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(*self)
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_all(&bytes).map_err(|why| match why.kind() {
            io::ErrorKind::BrokenPipe => StreamError::Closed,
            _ => StreamError::LastOperationFailed(why.into()),
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIECE)
    }
}

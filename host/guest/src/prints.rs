//! WASI's stdout and stderr, line by line into the log.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamResult};

/// Bytes taken by one write; the rest comes with the next.
const PERMIT: usize = 4096;
/// Bytes kept of one call; what is over is printed into the void.
const KEPT: usize = 64 << 10;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Print {
    Stdout,
    Stderr,
}

/// What one instance printed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prints(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Prints {
    /// A stream to print on; all streams of one kind print on the same.
    pub(crate) fn stream(&self, to: Print) -> DynOutputStream {
        Box::new(Printing { prints: self.clone(), to })
    }

    /// The lines, stdout's first.
    pub(crate) fn take(&self) -> Vec<(Print, String)> {
        let kept = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let lines = |to, bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.lines().filter(|line| !line.trim().is_empty()).map(|line| (to, line.to_owned())).collect::<Vec<_>>()
        };
        let mut all = lines(Print::Stdout, &kept.out);
        all.extend(lines(Print::Stderr, &kept.err));
        all
    }
}

struct Printing {
    prints: Prints,
    to: Print,
}

#[async_trait]
impl Pollable for Printing {
    async fn ready(&mut self) {}
}

impl OutputStream for Printing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut kept = self.prints.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match self.to {
            Print::Stdout => &mut kept.out,
            Print::Stderr => &mut kept.err,
        };
        let room = KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

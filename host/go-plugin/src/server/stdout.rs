//! The handshake line on stdout, and stdout afterwards.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};

use crate::handshake::Line;

/// The pipe to the parent, open until the process ends: its end of file means that to the parent.
static PIPE: OnceLock<OwnedFd> = OnceLock::new();

/// Writes the line, then keeps the pipe where neither a stray `println!` of some library nor a child process finds it.
pub(super) fn announce(line: &Line) -> io::Result<()> {
    let text = format!("{line}\n");
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
    }
    if let Err(why) = seal() {
        tracing::debug!(error = %why, "stdout stays where it is");
    }
    Ok(())
}

fn seal() -> io::Result<()> {
    let nothing = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let pipe = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    if PIPE.set(pipe).is_ok() {
        rustix::stdio::dup2_stdout(nothing)?;
    }
    Ok(())
}

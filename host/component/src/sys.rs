//! The system calls for which there is no safe wrapper.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// A descriptor that came with the start of this process. Each is to be asked for once.
#[allow(unsafe_code)]
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks about a number.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody in this process owns it yet: it is asked for before anything else is opened, and once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Ends this process by a signal, as one ends that does not handle it.
#[allow(unsafe_code)]
pub(crate) fn end_by(signal: i32) -> ! {
    // SAFETY: the default action, which runs no code of ours; the signal goes to this thread, which does not block it.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
        // One whose default is to go on.
        libc::_exit(128 + signal)
    }
}

//! The system calls of `landlock(7)`.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: i32 = 1;

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    parent: RawFd,
}

/// The newest version that this kernel speaks.
pub(crate) fn version() -> Result<u32, Errno> {
    let nothing = std::ptr::null::<u64>();
    // SAFETY: with this flag the kernel reads no structure.
    let outcome = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) };
    u32::try_from(outcome).map_err(|_| last())
}

/// A ruleset without rules, which refuses these accesses to all files.
pub(crate) fn create(handled: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: the first field of the structure is all that is said to be there, and outlives the call.
    let outcome =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size_of::<u64>(), 0u32) };
    let number = RawFd::try_from(outcome).ok().filter(|number| *number >= 0).ok_or_else(last)?;
    // SAFETY: the kernel has just made it, closed on `execve`, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Allows this access to what `parent` stands for, and all below it.
pub(crate) fn add(ruleset: BorrowedFd<'_>, parent: BorrowedFd<'_>, access: u64) -> Result<(), Errno> {
    let rule = PathBeneath { access, parent: parent.as_raw_fd() };
    let number = ruleset.as_raw_fd();
    // SAFETY: the structure is what the kernel reads for this kind of rule, and outlives the call.
    let outcome = unsafe { libc::syscall(libc::SYS_landlock_add_rule, number, PATH_BENEATH, &raw const rule, 0u32) };
    if outcome == 0 { Ok(()) } else { Err(last()) }
}

fn last() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

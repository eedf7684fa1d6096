//! The system calls that have no safe form elsewhere. All `unsafe` of the keeper stands here.
//!
//! The keeper has one thread, so what runs after a clone may do all that runs before it.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// One side of a clone.
pub(crate) enum Cloned {
    /// This is the new process.
    Child,
    /// It has this number here, and this pidfd.
    Parent { pid: i32, pidfd: OwnedFd },
}

/// `clone3(2)` as a fork: its own memory, `SIGCHLD` at its end. `flags`: namespaces and `CLONE_PARENT`. Born in the control group
/// `cgroup` of version 2.
pub(crate) fn clone(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut flags = flags as u32 as u64 | libc::CLONE_PIDFD as u64;
    // With CLONE_PARENT the signal is that of the calling process, and must not be given.
    let exit_signal = if flags & libc::CLONE_PARENT as u64 != 0 { 0 } else { libc::SIGCHLD as u64 };
    let mut arguments = CloneArguments { exit_signal, pidfd: (&raw mut pidfd) as u64, ..CloneArguments::default() };
    if let Some(cgroup) = cgroup {
        flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    arguments.flags = flags;
    // SAFETY: the structure is as long as is said and outlives the call; no stack and no memory is shared, so that the child goes on
    // with a copy of everything.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just put a new descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// `struct clone_args` up to `cgroup`.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A descriptor that this process was started with.
pub(crate) fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks about a number, whatever it is.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and called once per number, before anything else is opened.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from `first` on. Only before any is owned, or where nothing comes after.
pub(crate) fn close_from(first: RawFd) {
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Closes every descriptor from 3 on but these. The caller must not return to whoever owns the others.
pub(crate) fn keep_only(fds: &[BorrowedFd<'_>]) {
    let mut kept: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            // SAFETY: see above.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
        }
        first = first.max(fd + 1);
    }
    close_from(first);
}

/// Makes `fd` the descriptor `number`, which stays open over `execve`.
pub(crate) fn put_at(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: changes a flag of a descriptor that is open.
        return check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) });
    }
    // SAFETY: nobody owns the descriptors 0 to 2, the only ones that are replaced.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) })
}

/// Blocks every signal and gives the descriptor from which they are read instead.
pub(crate) fn signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before it is used, and outlives the calls.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()))?;
        let fd = libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The next signal from such a descriptor.
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: plain data, for which zeros will do; the kernel writes no more than its size.
    unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        let read = libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size);
        (read == size as isize).then_some(info.ssi_signo as i32)
    }
}

/// Every signal as a new program expects it: default action, nothing blocked.
pub(crate) fn default_signals() {
    // SAFETY: sets initialised sets and the default action.
    unsafe {
        for number in 1..=64 {
            libc::signal(number, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// A child that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) pid: i32,
    /// As `wait(2)` has it.
    pub(crate) status: i32,
    pub(crate) user_micros: u64,
    pub(crate) system_micros: u64,
    pub(crate) max_rss_kib: u64,
}

/// The next child that has ended, without waiting.
pub(crate) fn reap() -> Option<Ended> {
    let mut status = 0;
    // SAFETY: plain data, for which zeros will do; both outlive the call.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    let micros =
        |time: libc::timeval| (time.tv_sec as u64).saturating_mul(1_000_000).saturating_add(time.tv_usec as u64);
    (pid > 0).then(|| Ended {
        pid,
        status,
        user_micros: micros(usage.ru_utime),
        system_micros: micros(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss as u64,
    })
}

/// `prlimit(2)` of this process, by the kernel's number.
pub(crate) fn limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure outlives the call, and nothing is written back.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, std::ptr::null_mut::<()>()) as i32
    })
}

/// Replaces this program. Comes back only with the reason why not.
pub(crate) fn execute(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both lists end with a null pointer, and they and what they point to outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process without running anything else of it.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

fn check(outcome: i32) -> io::Result<()> {
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

//! The system calls that have no safe form elsewhere. All `unsafe` of the keeper stands here.
//!
//! The keeper has one thread, so what runs after a clone may do all that runs before it.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use yurt_keeper::Exit;

/// One side of a clone.
pub(crate) enum Cloned {
    /// This is the new process.
    Child,
    /// It has this number here, and this pidfd.
    Parent { pid: i32, pidfd: OwnedFd },
}

/// `clone3(2)` as a fork: its own memory, `SIGCHLD` at its end. As process 1 of a new process id namespace, if wanted; born in the
/// control group `cgroup` of version 2.
pub(crate) fn clone(private_pid: bool, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    if private_pid {
        arguments.flags |= libc::CLONE_NEWPID as u64;
    }
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
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

/// Leaves namespaces for new ones.
pub(crate) fn unshare(kinds: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: there is one thread, and the table of descriptors stays.
    unsafe { unshare_unsafe(kinds.difference(UnshareFlags::FILES)) }
}

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

/// Has every descriptor from `first` on closed by `execve`.
pub(crate) fn close_on_execute(first: RawFd) {
    // SAFETY: closes nothing. Linux < 5.11 refuses; all that this program opens it opens so anyway.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Makes `fd` the descriptor `number`, which stays open over `execve`.
pub(crate) fn put_at(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: changes a flag of a descriptor that is open.
        return check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) });
    }
    // SAFETY: nobody owns the descriptors 0 to 2. What is replaced beyond is closed by nobody else, since the caller becomes another
    // program or ends.
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

/// Sends a signal by number: also those that have no name.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: numbers and a null pointer.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) as i32 })
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

impl Ended {
    fn new(pid: i32, status: i32, usage: &libc::rusage) -> Ended {
        let micros =
            |time: libc::timeval| (time.tv_sec as u64).saturating_mul(1_000_000).saturating_add(time.tv_usec as u64);
        Ended {
            pid,
            status,
            user_micros: micros(usage.ru_utime),
            system_micros: micros(usage.ru_stime),
            max_rss_kib: usage.ru_maxrss as u64,
        }
    }

    /// In Nomad's terms: a signal is code 128 and more.
    pub(crate) fn exit(&self) -> Exit {
        Exit {
            user_micros: self.user_micros,
            system_micros: self.system_micros,
            max_rss_kib: self.max_rss_kib,
            ..Exit::of_status(self.status)
        }
    }
}

/// The next child that has ended, without waiting; none: none at the moment. `ECHILD`: there are no children.
pub(crate) fn reap() -> rustix::io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: plain data, for which zeros will do; both outlive the call.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    if pid < 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::CHILD));
    }
    Ok((pid > 0).then(|| Ended::new(pid, status, &usage)))
}

/// A child that has ended, left as it is for [`wait_for`]; none: none at the moment.
pub(crate) fn peek() -> Option<Ended> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: plain data, for which zeros will do; all outlives the call, which says of a child what the fields read here mean.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut usage: libc::rusage = std::mem::zeroed();
        let outcome = libc::syscall(libc::SYS_waitid, libc::P_ALL, 0, &raw mut info, options, &raw mut usage);
        if outcome != 0 || info.si_pid() == 0 {
            return None;
        }
        let status = match info.si_code {
            libc::CLD_EXITED => info.si_status() << 8,
            libc::CLD_DUMPED => info.si_status() | 0x80,
            _ => info.si_status(),
        };
        Some(Ended::new(info.si_pid(), status, &usage))
    }
}

/// Waits for a child that is about to end.
pub(crate) fn wait_for(pid: i32) -> Option<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the number outlives the call.
        match unsafe { libc::waitpid(pid, &raw mut status, 0) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return None,
            _ => return Some(status),
        }
    }
}

/// How a process ended that is another's child and has been waited for: Linux ≥ 6.15.
pub(crate) fn ended_elsewhere(pidfd: BorrowedFd<'_>) -> Option<Ended> {
    // SAFETY: plain data, for which zeros will do. The request says how much of it there is.
    let (outcome, info) = unsafe {
        let mut info: libc::pidfd_info = std::mem::zeroed();
        info.mask = libc::PIDFD_INFO_EXIT.into();
        (libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info), info)
    };
    let known = outcome == 0 && info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0;
    known.then_some(Ended { pid: 0, status: info.exit_code, user_micros: 0, system_micros: 0, max_rss_kib: 0 })
}

/// `mount_setattr(2)` of the mount that `fd` stands for, or also of those `below` it: Linux ≥ 5.12.
pub(crate) fn set_mount(
    fd: BorrowedFd<'_>,
    below: bool,
    set: MountAttrFlags,
    propagation: u64,
) -> rustix::io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set.bits().into(), attr_clr: 0, propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if below { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and structure are whole, as long as is said, and outlive the call.
    let outcome = unsafe {
        let size = size_of::<libc::mount_attr>();
        libc::syscall(libc::SYS_mount_setattr, fd.as_raw_fd(), c"".as_ptr(), flags, &raw const attributes, size)
    };
    check(outcome as i32).map_err(|why| Errno::from_io_error(&why).unwrap_or(Errno::IO))
}

/// `prlimit(2)` of this process, by the kernel's number.
pub(crate) fn limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure outlives the call, and nothing is written back.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, std::ptr::null_mut::<()>()) as i32
    })
}

/// Soft and hard limit of this process, by the kernel's number.
pub(crate) fn limit_now(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the call, and nothing is set.
    let outcome =
        unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<libc::rlimit64>(), &raw mut limit) };
    check(outcome as i32).map(|()| (limit.rlim_cur, limit.rlim_max))
}

/// Has every system call of this process and of what it becomes or starts go through a filter: whole instructions of
/// `struct sock_filter`, at most as many as a length of 16 bits can say.
pub(crate) fn filter(program: &[u8]) -> io::Result<()> {
    let instructions: Vec<libc::sock_filter> = program
        .chunks_exact(size_of::<libc::sock_filter>())
        // SAFETY: as many bytes as the structure has, which is numbers only and may lie anywhere.
        .map(|bytes| unsafe { bytes.as_ptr().cast::<libc::sock_filter>().read_unaligned() })
        .collect();
    let program = libc::sock_fprog { len: instructions.len() as u16, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which outlives the call, and changes nothing of it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) as i32 })
}

/// Lets a Landlock ruleset allow this access to what `parent` stands for, and all below it.
pub(crate) fn allow(ruleset: &OwnedFd, parent: &OwnedFd, access: u64) -> io::Result<()> {
    let rule = PathBeneath { access, parent: parent.as_raw_fd() };
    let (ruleset, kind) = (ruleset.as_raw_fd(), PATH_BENEATH);
    // SAFETY: the structure is what the kernel reads for this kind of rule, and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset, kind, &raw const rule, 0) as i32 })
}

/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: i32 = 1;

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    parent: RawFd,
}

/// Holds this process and all that it starts to a Landlock ruleset.
pub(crate) fn restrict(ruleset: &OwnedFd) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) as i32 })
}

/// Replaces this program. Comes back only with the reason why not.
pub(crate) fn execute(path: &CStr, argv: &[CString], env: &[CString]) -> Errno {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both lists end with a null pointer, and they and what they point to outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOEXEC)
}

/// Replaces this program by the one in an open file. Comes back only with the reason why not.
pub(crate) fn execute_open(program: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> Errno {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: as in `execute`; the path is an empty one, which stands for the file itself.
    unsafe {
        let (argv, env) = (argv.as_ptr(), env.as_ptr());
        libc::syscall(libc::SYS_execveat, program.as_raw_fd(), c"".as_ptr(), argv, env, libc::AT_EMPTY_PATH);
    }
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOEXEC)
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Ends this process without running anything else of it.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Gives memory that is no longer in use back to the kernel, now, and large pieces from now on at once.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: settings of the allocator, which nobody else is using.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 * 1024);
        libc::malloc_trim(0);
    }
}

fn check(outcome: i32) -> io::Result<()> {
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

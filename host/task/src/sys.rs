//! The system calls that nobody wraps safely: all `unsafe` of this room.
#![allow(unsafe_code)]

mod confine;
pub(crate) mod landlock;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) use confine::confine;

/// Leaves the mount namespace for a new one, this thread alone, root and working directory of its own included.
pub(crate) fn unshare_mounts() -> Result<(), Errno> {
    // SAFETY: the table of descriptors stays that of all threads.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
}

/// Why a program was not spawned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpawnError {
    /// No process was made.
    Clone(Errno),
    /// Preparing its descriptors failed.
    Descriptors(Errno),
    /// It could not enter the control group with this index.
    Cgroup(usize, Errno),
    /// The program cannot be executed.
    Execute(Errno),
}

/// What the child needs, and where it says why it failed: it runs in this process's memory while the calling thread is held.
struct Child<'a> {
    program: RawFd,
    null: RawFd,
    socket: RawFd,
    groups: &'a [RawFd],
    name: *const c_char,
    open_files: Option<libc::rlimit64>,
    failed: Option<SpawnError>,
}

/// Runs `program` (a descriptor of its file) with `/dev/null` as 0, 1 and 2, `socket` as 3, no other descriptor, no environment, every
/// signal as the kernel has it by default. It is made within the control group of version 2 `group`, and enters those of version 1
/// whose `tasks` files are `groups`.
///
/// The child shares this process's memory until it executes (`CLONE_VM | CLONE_VFORK`): forking would copy the page tables of a
/// process with large mappings. That it is made within its control group, or enters one by itself, is for speed, too: before the
/// kernel moves a whole process it waits for every processor to pass a quiet point, some 15 ms.
///
/// All descriptors have to be above 3. Returns the pidfd of the child.
pub(crate) fn spawn(
    program: BorrowedFd<'_>,
    name: &CStr,
    null: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    group: Option<BorrowedFd<'_>>,
    groups: &[RawFd],
) -> Result<OwnedFd, SpawnError> {
    let mut stack = vec![MaybeUninit::<u128>::uninit(); 4096];
    let mut child = Child {
        program: program.as_raw_fd(),
        null: null.as_raw_fd(),
        socket: socket.as_raw_fd(),
        groups,
        name: name.as_ptr(),
        open_files: crate::open_files::given(),
        failed: None,
    };
    let mut pidfd: c_int = -1;
    let shared = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let arguments = Clone3 {
        flags: u64::from(shared.unsigned_abs()) | group.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        stack: stack.as_mut_ptr() as u64,
        stack_size: size_of_val(stack.as_slice()) as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.map_or(0, |group| u64::from(group.as_raw_fd().unsigned_abs())),
    };
    // SAFETY: the child runs `enter` on a stack of its own, which lives until it has executed or ended, as CLONE_VFORK holds this
    // thread until then; so do `child` and what it borrows. Signals are blocked around it, so that no handler of this process runs in
    // the child. `enter` only makes system calls, does not allocate, lock or unwind, and never returns.
    let pid = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let pid = clone3(&raw const arguments, enter, (&raw mut child).cast());
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        pid
    };
    drop(stack);
    if pid < 0 {
        return Err(SpawnError::Clone(Errno::from_raw_os_error(i32::try_from(-pid).unwrap_or(libc::ENOSYS))));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    match child.failed {
        None => Ok(pidfd),
        Some(failed) => {
            reap(pidfd.as_fd());
            Err(failed)
        }
    }
}

/// `struct clone_args`: `clone(2)`.
#[repr(C)]
struct Clone3 {
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

const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Makes a child that calls `enter` with `argument` on the stack that `arguments` names. Returns its process id, or the negative
/// reason. In assembly, as the child must not return through frames of its parent.
///
/// # Safety
/// `enter` has to be fit for what it shares with this process by the flags.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(
    arguments: *const Clone3,
    enter: unsafe extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> i64 {
    let mut result = libc::SYS_clone3;
    // SAFETY: the parent sees a system call; the child starts on an aligned stack of its own and calls a function that never returns.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {argument}",
            "call {enter}",
            "ud2",
            "2:",
            argument = in(reg) argument,
            enter = in(reg) enter,
            inout("rax") result,
            in("rdi") arguments,
            in("rsi") size_of::<Clone3>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(
    arguments: *const Clone3,
    enter: unsafe extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> i64 {
    let result: i64;
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {argument}",
            "blr {enter}",
            "brk #1",
            "2:",
            argument = in(reg) argument,
            enter = in(reg) enter,
            inlateout("x0") arguments => result,
            in("x1") size_of::<Clone3>(),
            in("x8") libc::SYS_clone3,
        );
    }
    result
}

/// Takes the status of a child that has ended.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    while matches!(waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED), Err(Errno::INTR)) {}
}

/// The child of [`spawn`].
///
/// # Safety
/// Only there.
unsafe extern "C" fn enter(argument: *mut c_void) -> ! {
    // SAFETY: `spawn` passes its `Child`, and touches it again only when this process has executed or ended. Only system calls follow.
    unsafe {
        let child = &mut *argument.cast::<Child<'_>>();
        let failed = become_program(child);
        child.failed = Some(failed);
        libc::_exit(127)
    }
}

/// By bare system calls: the library's functions may take a lock that another thread of the parent holds.
///
/// # Safety
/// Only for [`enter`].
unsafe fn become_program(child: &Child<'_>) -> SpawnError {
    // SAFETY: system calls with descriptors and memory that `spawn` keeps alive.
    unsafe {
        let errno = || Errno::from_raw_os_error(*libc::__errno_location());
        for (index, group) in child.groups.iter().enumerate() {
            if libc::syscall(libc::SYS_write, *group, c"0".as_ptr(), 1) < 0 {
                return SpawnError::Cgroup(index, errno());
            }
        }
        // Ignored ones stay ignored over an execve. A `struct sigaction` of the kernel is four words or less; zero is SIG_DFL.
        let default = [0u64; 8];
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null::<u64>(), size_of::<u64>());
        }
        for (from, to) in [(child.null, 0), (child.null, 1), (child.null, 2), (child.socket, yurt_keeper::START_FD)] {
            if libc::syscall(libc::SYS_dup3, from, to, 0) < 0 {
                return SpawnError::Descriptors(errno());
            }
        }
        let above = yurt_keeper::START_FD.unsigned_abs() + 1;
        if libc::syscall(libc::SYS_close_range, above, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) < 0 {
            return SpawnError::Descriptors(errno());
        }
        if let Some(limit) = &child.open_files {
            let limit: *const libc::rlimit64 = limit;
            if libc::syscall(libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE, limit, ptr::null::<u64>()) < 0 {
                return SpawnError::Descriptors(errno());
            }
        }
        let none = 0u64;
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null::<u64>(),
            size_of::<u64>(),
        );
        let arguments = [child.name, ptr::null()];
        let environment = [ptr::null::<c_char>()];
        libc::syscall(
            libc::SYS_execveat,
            child.program,
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        SpawnError::Execute(errno())
    }
}

/// `struct pidfd_info` in its first form: `include/uapi/linux/pidfd.h`.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xff, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: libc::Ioctl = rustix::ioctl::opcode::read_write::<PidfdInfo>(0xff, 11) as libc::Ioctl;

/// The wait status of a process that has ended and been reaped, also by somebody else; `None`: it has not been, yet. Linux ≥ 6.15.
pub(crate) fn exit_status(pidfd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the operation's number carries the size of the structure that the kernel reads and fills.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if done < 0 {
        // SAFETY: of this thread.
        return Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
    }
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}

/// Sends a signal, of any number; 0 only looks whether one could be sent. `Errno::SRCH`: the process has ended and been reaped.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, number: i32) -> Result<(), Errno> {
    // SAFETY: no details are passed.
    let done = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, ptr::null::<libc::siginfo_t>(), 0)
    };
    checked(done).map(drop)
}

/// A descriptor that tasks of the runtime wait for.
pub(crate) fn awaited(fd: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one and the same open descriptor until it is dropped, and nothing here replaces one by assignment.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// All groups of a user, from the host's group database.
pub(crate) fn groups_of(name: &CStr, gid: u32) -> Vec<u32> {
    let mut groups = vec![0 as libc::gid_t; 64];
    loop {
        let mut count = c_int::try_from(groups.len()).unwrap_or(c_int::MAX);
        // SAFETY: the kernel's list has room for `count` groups.
        let found = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
        let count = usize::try_from(count).unwrap_or(0);
        if found >= 0 {
            groups.truncate(count);
            return groups;
        }
        // It says how many there are; some libraries do not.
        groups.resize(count.max(groups.len() * 2), 0);
    }
}

/// One instruction of the kernel's small machine: `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// Source in the upper four bits, destination in the lower.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    /// What newer kernels write beside it.
    more: [u64; 4],
}

/// The head of `union bpf_attr` for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_ATTACH: c_int = 8;
const BPF_PROG_DETACH: c_int = 9;
const BPF_PROG_GET_FD_BY_ID: c_int = 13;
const BPF_PROG_QUERY: c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Asks `program` for every device that a process of the control group opens or makes, and no more those that this group had before;
/// programs of its parents have to say yes, too.
pub(crate) fn filter_devices(cgroup: BorrowedFd<'_>, program: &[Instruction]) -> Result<(), Errno> {
    let target = cgroup.as_raw_fd().unsigned_abs();
    let mut before = [0u32; 64];
    let mut query = Query {
        target,
        kind: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: before.as_mut_ptr() as u64,
        count: 64,
        more: [0; 4],
    };
    // SAFETY: the kernel writes no more than `count` numbers.
    unsafe { bpf(BPF_PROG_QUERY, &mut query) }?;
    let count = usize::try_from(query.count).unwrap_or(0);

    let license: CString = c"Apache-2.0".into();
    let mut load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel copies program and license before it returns, and has just made this descriptor for us.
    let loaded = unsafe { OwnedFd::from_raw_fd(bpf(BPF_PROG_LOAD, &mut load)?) };
    let attach = |program: &OwnedFd, flags| Attach {
        target,
        program: program.as_raw_fd().unsigned_abs(),
        kind: BPF_CGROUP_DEVICE,
        flags,
    };
    // SAFETY: the kernel copies the structure; the control group holds the program from now on.
    unsafe { bpf(BPF_PROG_ATTACH, &mut attach(&loaded, BPF_F_ALLOW_MULTI)) }?;
    for id in before.iter().take(count) {
        let mut by_id = ById { id: *id, next: 0, flags: 0 };
        // SAFETY: the kernel has just made this descriptor for us.
        let old = unsafe { OwnedFd::from_raw_fd(bpf(BPF_PROG_GET_FD_BY_ID, &mut by_id)?) };
        // SAFETY: the kernel copies the structure.
        unsafe { bpf(BPF_PROG_DETACH, &mut attach(&old, 0)) }?;
    }
    Ok(())
}

/// `bpf(2)`.
///
/// # Safety
/// `attributes` is what the kernel takes for the command, and what it points to is there.
unsafe fn bpf<T>(command: c_int, attributes: &mut T) -> Result<RawFd, Errno> {
    // SAFETY: as above; the size is the structure's.
    checked(unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) })
}

fn checked(returned: libc::c_long) -> Result<RawFd, Errno> {
    if returned < 0 {
        // SAFETY: of this thread.
        return Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
    }
    RawFd::try_from(returned).map_err(|_| Errno::OVERFLOW)
}

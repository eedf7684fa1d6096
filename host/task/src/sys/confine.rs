//! Turns a command into one that can do little: the part of a probe that happens between fork and exec.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Most that a probe may map, in bytes: an interpreter that prints its version needs a small part of it.
const ADDRESS_SPACE: u64 = 2 << 30;

/// Makes `command` run in a session of its own with `root` as its root directory and a bound on its memory; where this process is root
/// also as user and group `id`, without capabilities, in namespaces of its own for network, processes, messages and host name.
pub(crate) fn confine(command: &mut Command, root: Option<&Path>, id: u32) -> io::Result<()> {
    let root = root.map(|root| CString::new(root.as_os_str().as_bytes())).transpose()?;
    let open_files = crate::open_files::given();
    let privileged = rustix::process::geteuid().is_root();
    // SAFETY: what runs between fork and exec makes system calls only: it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            if privileged {
                apart()?;
                if let Some(root) = &root {
                    check(libc::chroot(root.as_ptr()))?;
                }
                check(libc::chdir(c"/".as_ptr()))?;
                check(libc::setgroups(0, std::ptr::null()))?;
                check(libc::setresgid(id, id, id))?;
                check(libc::setresuid(id, id, id))?;
                // Only now: changing the user takes it back.
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
            } else {
                check(libc::setsid())?;
                check(libc::chdir(c"/".as_ptr()))?;
            }
            let memory = libc::rlimit { rlim_cur: ADDRESS_SPACE, rlim_max: ADDRESS_SPACE };
            check(libc::setrlimit(libc::RLIMIT_AS, &raw const memory))?;
            if let Some(limit) = &open_files {
                check(libc::setrlimit64(libc::RLIMIT_NOFILE, limit))?;
            }
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            check(libc::setrlimit(libc::RLIMIT_CORE, &raw const none))?;
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        });
    }
    Ok(())
}

/// Goes on in a child that is process 1 of a namespace of its own, and alone: when it ends, or the process in between is killed, the
/// kernel ends everything in there. Never comes back in the process in between, which passes the child's end on.
fn apart() -> io::Result<()> {
    let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    // SAFETY: system calls without memory of ours, but for `status`, which lives long enough. The process has one thread.
    unsafe {
        check(libc::setsid())?;
        check(libc::unshare(namespaces))?;
        match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(()),
            child => {
                // The pipe on which the caller learns that exec has succeeded must not stay open here.
                libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                let mut status = 0;
                while libc::waitpid(child, &raw mut status, 0) == -1 && *libc::__errno_location() == libc::EINTR {}
                if libc::WIFSIGNALED(status) {
                    libc::_exit(128 + libc::WTERMSIG(status));
                }
                libc::_exit(libc::WEXITSTATUS(status));
            }
        }
    }
}

fn check(outcome: libc::c_int) -> io::Result<()> {
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

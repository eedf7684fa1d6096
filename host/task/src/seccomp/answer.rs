//! What the kernel answers to a system call, in its own terms: `SECCOMP_RET_*` with an error where there is one.

/// Most that the kernel takes for an error.
const ERRNO_MAX: u32 = 4095;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer(pub(super) u32);

impl Answer {
    pub(super) const ALLOW: Answer = Answer(libc::SECCOMP_RET_ALLOW);
    pub(super) const KILL: Answer = Answer(libc::SECCOMP_RET_KILL_PROCESS);

    pub(super) const fn errno(number: u32) -> Answer {
        Answer(libc::SECCOMP_RET_ERRNO | number)
    }

    /// By the name that profiles have for it. An error is `EPERM` unless it is said.
    pub(super) fn of(action: &str, errno: Option<u32>) -> Result<Answer, String> {
        Ok(match action {
            "SCMP_ACT_ALLOW" => Answer::ALLOW,
            "SCMP_ACT_LOG" => Answer(libc::SECCOMP_RET_LOG),
            "SCMP_ACT_ERRNO" => match errno.unwrap_or(libc::EPERM.unsigned_abs()) {
                number if number > ERRNO_MAX => {
                    return Err(format!("{number} is no error: at most {ERRNO_MAX} is one"));
                }
                number => Answer::errno(number),
            },
            "SCMP_ACT_TRAP" => Answer(libc::SECCOMP_RET_TRAP),
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Answer(libc::SECCOMP_RET_KILL_THREAD),
            "SCMP_ACT_KILL_PROCESS" => Answer::KILL,
            "SCMP_ACT_TRACE" | "SCMP_ACT_NOTIFY" => {
                return Err(format!("{action} takes somebody who decides about every call, and there is nobody"));
            }
            other => return Err(format!("{other:?} is no action")),
        })
    }

    /// Whether the call is made.
    pub(super) fn lets_pass(self) -> bool {
        [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_LOG].contains(&self.0)
    }

    /// The kernel's own order, where several filters answer: the strictest first.
    pub(super) fn strictness(self) -> i32 {
        (self.0 & libc::SECCOMP_RET_ACTION_FULL).cast_signed()
    }
}

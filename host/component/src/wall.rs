//! The second wall: should a component ever break out of its sandbox, it finds itself in a process that can start no program, look into no
//! other, send no signal but to itself, make no memory that others share, and open no socket beyond its grants.
//!
//! The keeper's filter, which refuses what changes the machine, holds besides. This one refuses with `EPERM`.

use std::collections::BTreeMap;

use libc::c_long;
use rustix::process::{DumpableBehavior, getpid, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Refused whatever their arguments.
const ALWAYS: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// What sockets there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    None,
    /// Of the internet.
    Internet,
    /// Also those by which names are looked up.
    Names,
}

/// Shuts the doors of this process, for all of its threads. Needs no privilege; whatever is open stays open.
pub(crate) fn shut(sockets: Sockets) -> Result<(), String> {
    set_no_new_privs(true).map_err(|why| format!("no_new_privs: {why}"))?;
    // Nobody of the same user looks into this one, either.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|why| format!("not to be dumped: {why}"))?;
    let program = program(sockets).map_err(|why| why.to_string())?;
    seccompiler::apply_filter_all_threads(&program).map_err(|why| format!("seccomp: {why}"))
}

fn program(sockets: Sockets) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
    // To itself a process may send what it likes.
    let own = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![rule([condition(0, SeccompCmpOp::Ne, own)?])?]);
    }
    // A thread, and no process.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    rules.insert(libc::SYS_clone, vec![rule([condition(0, SeccompCmpOp::MaskedEq(thread), 0)?])?]);
    let families: &[i32] = match sockets {
        Sockets::None => &[],
        Sockets::Internet => &[libc::AF_INET, libc::AF_INET6],
        Sockets::Names => &[libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK],
    };
    let others = families.iter().map(|family| condition(0, SeccompCmpOp::Ne, family.unsigned_abs().into()));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_socket, if others.is_empty() { Vec::new() } else { vec![SeccompRule::new(others)?] });
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let machine = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, refused, machine)?.try_into()
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.to_vec())
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

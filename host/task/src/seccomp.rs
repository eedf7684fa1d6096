//! The system calls that a task is refused, by a filter of its own in the kernel: `seccomp(2)`.
//!
//! A list of what is refused, not of what is allowed, so that a program of tomorrow runs on a kernel of tomorrow. On it is what the
//! profiles of container engines lack, too: calls that change the machine, that reach parts of the kernel which no namespace divides
//! (keyrings, handles of files), or that are known as ways into it (`bpf`, `userfaultfd`, `io_uring`, user namespaces). Most of them take
//! a capability anyway, and a task that holds it may make the call: the filter is a second wall in the same place. What it adds by itself
//! are the calls that take none.
//!
//! `ptrace` and `process_vm_readv` stay: a tracer cannot lead its tracee past the filter since Linux 4.8, the kernel lets a task look only
//! into processes that are its own in user and capabilities, and debuggers and profilers live of it.
//!
//! What is refused fails with `EPERM`. `clone3` fails with `ENOSYS`, as on an older kernel: which namespaces it is to make stands in memory,
//! where no filter sees it, and libraries then take `clone`, whose flags are an argument. So do calls of the x32 ABI, which have numbers of
//! their own. A 32-bit program is killed at its first call.
//!
//! That is the default; an operator's own is a [`Profile`].

mod answer;
mod calls;
mod condition;
#[cfg(test)]
mod machine;
mod profile;
mod program;
mod release;

use std::collections::BTreeMap;

use libc::c_long;
use rustix::thread::CapabilitySet;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

pub use profile::Profile;

use crate::launch::Seccomp;

/// Refused whatever a task holds: no capability stands for these.
const ALWAYS: &[c_long] = &[
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_nfsservctl,
];

/// `open_tree_attr(2)`, Linux 6.15.
const OPEN_TREE_ATTR: c_long = 467;

/// Refused to a task that holds none of these capabilities: `capabilities(7)`.
const UNLESS: &[(CapabilitySet, &[c_long])] = &[
    (
        CapabilitySet::SYS_ADMIN,
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            OPEN_TREE_ATTR,
            libc::SYS_fsopen,
            libc::SYS_fsmount,
            libc::SYS_fsconfig,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            libc::SYS_pivot_root,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_setns,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_fanotify_init,
            libc::SYS_lookup_dcookie,
        ],
    ),
    (CapabilitySet::SYS_ADMIN.union(CapabilitySet::BPF), &[libc::SYS_bpf]),
    (CapabilitySet::SYS_ADMIN.union(CapabilitySet::PERFMON), &[libc::SYS_perf_event_open]),
    (CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYSLOG), &[libc::SYS_syslog]),
    (CapabilitySet::SYS_BOOT, &[libc::SYS_reboot, libc::SYS_kexec_load, KEXEC_FILE_LOAD]),
    (CapabilitySet::SYS_MODULE, &[libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module]),
    (CapabilitySet::DAC_READ_SEARCH, &[libc::SYS_open_by_handle_at]),
    (CapabilitySet::SYS_PTRACE, &[libc::SYS_kcmp, libc::SYS_pidfd_getfd, libc::SYS_process_madvise]),
    (
        CapabilitySet::SYS_TIME,
        &[libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_adjtimex, libc::SYS_clock_adjtime],
    ),
    (CapabilitySet::SYS_PACCT, &[libc::SYS_acct]),
    (CapabilitySet::SYS_TTY_CONFIG, &[libc::SYS_vhangup]),
    #[cfg(target_arch = "x86_64")]
    (CapabilitySet::SYS_RAWIO, &[libc::SYS_iopl, libc::SYS_ioperm]),
];

/// Not all of the C libraries' tables have it for every machine.
const KEXEC_FILE_LOAD: c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// Flags of `clone` and `unshare` that make namespaces. `CLONE_NEWTIME` is one of `unshare` only: `clone` reads a signal there.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// What programs ask `personality` for: Linux, that of 32 bits, each also with the version number of 2.6, and what it is.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Numbers of the x32 ABI have this bit; elsewhere no call has.
const X32: u32 = 0x4000_0000;

/// The filter for a task that holds these capabilities, in the form of `yurt_keeper::Start::filter`. Empty: none.
pub(crate) fn filter(wanted: &Seccomp, held: CapabilitySet) -> Result<Vec<u8>, String> {
    let program = match wanted {
        Seccomp::None => Vec::new(),
        Seccomp::Default => program(held).map_err(|why| why.to_string())?,
        Seccomp::Profile(profile) => profile.program(held)?,
    };
    let bytes = |one: sock_filter| {
        let [low, high] = one.code.to_ne_bytes();
        let [a, b, c, d] = one.k.to_ne_bytes();
        [low, high, one.jt, one.jf, a, b, c, d]
    };
    Ok(program.into_iter().flat_map(bytes).collect())
}

fn program(held: CapabilitySet) -> Result<BpfProgram, BackendError> {
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let machine = std::env::consts::ARCH.try_into()?;
    let rest: BpfProgram = SeccompFilter::new(rules(held)?, SeccompAction::Allow, refused, machine)?.try_into()?;
    Ok(unknown(held).into_iter().chain(rest).collect())
}

/// What is refused, by number and, where it depends on them, arguments.
fn rules(held: CapabilitySet) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let lacking = UNLESS.iter().filter(|(capabilities, _)| !held.intersects(*capabilities));
    let whole = ALWAYS.iter().chain(lacking.flat_map(|(_, calls)| *calls));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = whole.map(|call| (*call, Vec::new())).collect();
    if !held.contains(CapabilitySet::SYS_ADMIN) {
        let namespaces = NAMESPACES.into_iter().map(with_flag).collect::<Result<Vec<_>, _>>()?;
        rules.insert(libc::SYS_clone, namespaces.clone());
        rules.insert(libc::SYS_unshare, namespaces.into_iter().chain([with_flag(libc::CLONE_NEWTIME)?]).collect());
    }
    let unusual = PERSONALITIES.map(|usual| argument(SeccompCmpOp::Ne, usual)).into_iter().collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(unusual)?]);
    Ok(rules)
}

fn with_flag(flag: i32) -> Result<SeccompRule, BackendError> {
    let flag = flag.unsigned_abs().into();
    SeccompRule::new(vec![argument(SeccompCmpOp::MaskedEq(flag), flag)?])
}

/// A condition on the first argument, of which the kernel reads 32 bits in all of these calls.
fn argument(operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)
}

/// The calls that this kernel seems not to know. They stand before the others, since a filter of `seccompiler` has one error for all.
fn unknown(held: CapabilitySet) -> Vec<sock_filter> {
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let compare = |how, k| instruction(libc::BPF_JMP | how | libc::BPF_K, 0, 1, k);
    let refuse =
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()).into());
    // The number of the call is the first word.
    let load = instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0);
    let mut all = vec![load, compare(libc::BPF_JGE, X32), refuse.clone()];
    if !held.contains(CapabilitySet::SYS_ADMIN) {
        all.extend([compare(libc::BPF_JEQ, libc::SYS_clone3 as u32), refuse]);
    }
    all
}

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod tests;

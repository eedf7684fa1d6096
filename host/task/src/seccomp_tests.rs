use super::*;

const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
/// What Nomad's drivers leave a task of root.
const NOMAD: CapabilitySet = CapabilitySet::from_bits_retain(0xa804_05fb);

fn answer_on(machine: u32, held: CapabilitySet, call: c_long, argument: u64) -> u32 {
    machine::run(&program(held).unwrap(), machine, call as u32, [argument, 0, 0, 0, 0, 0])
}

fn answer(held: CapabilitySet, call: c_long, argument: u64) -> u32 {
    answer_on(machine::MACHINE, held, call, argument)
}

#[test]
fn what_programs_need_is_theirs() {
    let usual = [
        libc::SYS_read,
        libc::SYS_openat,
        libc::SYS_execve,
        libc::SYS_socket,
        libc::SYS_futex,
        libc::SYS_kill,
        libc::SYS_chroot,
        libc::SYS_prctl,
        libc::SYS_seccomp,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_clock_gettime,
        libc::SYS_name_to_handle_at,
        libc::SYS_mknodat,
        // One that is not there yet.
        700,
    ];
    for call in usual {
        assert_eq!(answer(CapabilitySet::empty(), call, 0), ALLOWED, "{call}");
    }
}

#[test]
fn what_no_capability_stands_for_is_refused_to_everybody() {
    for call in ALWAYS {
        for held in [CapabilitySet::empty(), NOMAD, CapabilitySet::all()] {
            assert_eq!(answer(held, *call, 0), EPERM, "{call}");
        }
    }
}

#[test]
fn a_capability_lifts_what_it_stands_for_and_nothing_else() {
    let all: Vec<c_long> = UNLESS.iter().flat_map(|(_, calls)| *calls).copied().collect();
    for call in &all {
        assert_eq!((answer(CapabilitySet::empty(), *call, 0), answer(NOMAD, *call, 0)), (EPERM, EPERM), "{call}");
        assert_eq!(answer(CapabilitySet::all(), *call, 0), ALLOWED, "{call}");
    }
    for (held, lifted) in [
        (CapabilitySet::SYS_ADMIN, vec![libc::SYS_mount, libc::SYS_pivot_root, libc::SYS_setns, libc::SYS_bpf]),
        (CapabilitySet::BPF, vec![libc::SYS_bpf]),
        (CapabilitySet::PERFMON, vec![libc::SYS_perf_event_open]),
        (CapabilitySet::SYSLOG, vec![libc::SYS_syslog]),
        (CapabilitySet::SYS_TIME, vec![libc::SYS_clock_settime, libc::SYS_adjtimex]),
        (CapabilitySet::SYS_BOOT, vec![libc::SYS_reboot, libc::SYS_kexec_load]),
        (CapabilitySet::SYS_MODULE, vec![libc::SYS_init_module]),
        (CapabilitySet::SYS_PTRACE, vec![libc::SYS_kcmp]),
        (CapabilitySet::SYS_TTY_CONFIG, vec![libc::SYS_vhangup]),
        #[cfg(target_arch = "x86_64")]
        (CapabilitySet::SYS_RAWIO, vec![libc::SYS_iopl, libc::SYS_ioperm]),
    ] {
        for call in lifted {
            assert_eq!(answer(held, call, 0), ALLOWED, "{call} with {held:?}");
        }
        let own = UNLESS.iter().filter(|(capabilities, _)| held.intersects(*capabilities));
        let own: Vec<c_long> = own.flat_map(|(_, calls)| *calls).copied().collect();
        for call in all.iter().filter(|call| !own.contains(call)) {
            assert_eq!(answer(held, *call, 0), EPERM, "{call} with {held:?}");
        }
    }
}

#[test]
fn new_namespaces_are_refused_where_processes_and_threads_are_not() {
    let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let vfork = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    for flags in [thread, vfork, libc::SIGCHLD] {
        assert_eq!(answer(NOMAD, libc::SYS_clone, flags as u64), ALLOWED, "{flags:#x}");
    }
    assert_eq!(answer(NOMAD, libc::SYS_unshare, libc::CLONE_FILES as u64), ALLOWED);
    for flag in NAMESPACES {
        for call in [libc::SYS_clone, libc::SYS_unshare] {
            // Beside others, and with the upper half that a careless caller leaves.
            let flags = (flag | libc::CLONE_FS) as u64 | 1 << 40;
            assert_eq!(answer(NOMAD, call, flags), EPERM, "{flag:#x}");
            assert_eq!(answer(CapabilitySet::SYS_ADMIN, call, flags), ALLOWED, "{flag:#x}");
        }
    }
    assert_eq!(answer(NOMAD, libc::SYS_unshare, libc::CLONE_NEWTIME as u64), EPERM);
    assert_eq!(answer(NOMAD, libc::SYS_clone3, 0), ENOSYS);
    assert_eq!(answer(CapabilitySet::SYS_ADMIN, libc::SYS_clone3, 0), ALLOWED);
}

#[test]
fn a_personality_is_a_usual_one() {
    for usual in PERSONALITIES {
        assert_eq!(answer(CapabilitySet::all(), libc::SYS_personality, usual), ALLOWED);
    }
    // READ_IMPLIES_EXEC, and no randomisation of addresses.
    for strange in [0x040_0000, 0x004_0000] {
        assert_eq!(answer(CapabilitySet::all(), libc::SYS_personality, strange), EPERM);
    }
}

#[test]
fn the_calls_of_other_machines_are_no_way_around() {
    let held = CapabilitySet::all();
    assert_eq!(answer(held, c_long::from(X32) | libc::SYS_keyctl, 0), ENOSYS);
    assert_eq!(answer(held, c_long::from(X32), 0), ENOSYS);
    const I386: u32 = 0x4000_0003;
    assert_eq!(answer_on(I386, held, 20, 0), libc::SECCOMP_RET_KILL_PROCESS);
}

#[test]
fn a_filter_is_small_and_one_that_the_kernel_takes_whole() {
    let bytes = filter(&Seccomp::Default, CapabilitySet::empty()).unwrap();
    assert_eq!(bytes.len(), program(CapabilitySet::empty()).unwrap().len() * 8);
    assert!(bytes.len() < 4096, "{} bytes stay with every task", bytes.len());
}

//! What a profile means is seen in what its program answers.

use serde_json::{Value, json};

use super::super::machine::{MACHINE, run};
use super::*;

const NOTHING: CapabilitySet = CapabilitySet::empty();
const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

fn parsed(profile: &Value) -> Profile {
    Profile::parse(&profile.to_string()).unwrap()
}

fn answer_to(profile: &Profile, held: CapabilitySet, name: &str, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    run(&profile.program(held).unwrap(), MACHINE, calls::number(name).unwrap(), all)
}

fn answer(profile: &Profile, name: &str, arguments: &[u64]) -> u32 {
    answer_to(profile, NOTHING, name, arguments)
}

/// A profile that refuses nothing but what these rules say.
fn but(rules: Value) -> Profile {
    parsed(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
}

/// A profile that allows what tasks need, and what these rules say.
fn only(rules: &[Value]) -> Value {
    let needed = json!({"names": NEEDED, "action": "SCMP_ACT_ALLOW"});
    let all: Vec<Value> = [needed].into_iter().chain(rules.iter().cloned()).collect();
    json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": libc::ENOSYS, "syscalls": all})
}

#[test]
fn what_is_not_listed_gets_the_default_action_and_each_rule_its_own() {
    let profile = parsed(&only(&[
        json!({"name": "uname", "action": "SCMP_ACT_ALLOW", "args": null, "comment": "the old way", "includes": {}}),
        json!({"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EROFS, "errno": "EROFS"}),
        json!({"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}),
        json!({"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"}),
        json!({"names": ["acct", "reboot"], "action": "SCMP_ACT_KILL"}),
        json!({"names": ["mount"], "action": "SCMP_ACT_TRAP"}),
        json!({"names": ["getpid"], "action": "SCMP_ACT_LOG"}),
        json!({"names": [], "action": "SCMP_ACT_LOG"}),
    ]));
    for (name, wanted) in [
        ("uname", ALLOWED),
        ("read", ALLOWED),
        ("mkdirat", errno(libc::EROFS)),
        ("bpf", errno(libc::EPERM)),
        ("ptrace", libc::SECCOMP_RET_KILL_PROCESS),
        ("acct", libc::SECCOMP_RET_KILL_THREAD),
        ("reboot", libc::SECCOMP_RET_KILL_THREAD),
        ("mount", libc::SECCOMP_RET_TRAP),
        ("getpid", libc::SECCOMP_RET_LOG),
        ("getuid", errno(libc::ENOSYS)),
    ] {
        assert_eq!(answer(&profile, name, &[]), wanted, "{name}");
    }
    // One that is not there yet, and the last that can be.
    let program = profile.program(NOTHING).unwrap();
    for call in [700, 0x3fff_ffff] {
        assert_eq!(run(&program, MACHINE, call, [0; 6]), errno(libc::ENOSYS), "{call}");
    }
}

#[test]
fn every_comparison_is_one_of_64_bits() {
    const BIG: u64 = 5 << 32 | 7;
    let values = [0, 6, 7, 8, 4 << 32 | 7, 4 << 32 | 9, BIG - 1, BIG, BIG + 1, 6 << 32, 6 << 32 | 7, u64::MAX];
    for value in [7, BIG, 5 << 32, u64::MAX] {
        for (op, holds) in [
            ("EQ", (|is, value| is == value) as fn(u64, u64) -> bool),
            ("NE", |is, value| is != value),
            ("LT", |is, value| is < value),
            ("LE", |is, value| is <= value),
            ("GE", |is, value| is >= value),
            ("GT", |is, value| is > value),
        ] {
            for index in 0..6 {
                let rule = json!({"names": ["mkdirat"], "action": "SCMP_ACT_TRAP",
                    "args": [{"index": index, "value": value, "op": format!("SCMP_CMP_{op}")}]});
                let profile = but(json!([rule]));
                for is in values {
                    let mut arguments = [value; 6];
                    arguments[index] = is;
                    let wanted = if holds(is, value) { libc::SECCOMP_RET_TRAP } else { ALLOWED };
                    assert_eq!(answer(&profile, "mkdirat", &arguments), wanted, "{is:#x} {op} {value:#x}, {index}");
                }
            }
        }
    }
}

#[test]
fn under_a_mask_other_bits_do_not_matter() {
    let profile = parsed(&only(&[json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 0x7e02_0000u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]})]));
    assert_eq!(answer(&profile, "clone", &[17]), ALLOWED);
    assert_eq!(answer(&profile, "clone", &[1 << 40 | 17]), ALLOWED);
    assert_eq!(answer(&profile, "clone", &[0x1000_0000 | 17]), errno(libc::ENOSYS));
    let profile = but(json!([{"names": ["clone"], "action": "SCMP_ACT_TRAP",
        "args": [{"index": 0, "value": 0xff_0000_00ffu64, "valueTwo": 0x12_0000_0034u64, "op": "SCMP_CMP_MASKED_EQ"}]}]));
    assert_eq!(answer(&profile, "clone", &[0x12_5555_5534]), libc::SECCOMP_RET_TRAP);
    assert_eq!(answer(&profile, "clone", &[0x13_5555_5534]), ALLOWED);
    assert_eq!(answer(&profile, "clone", &[0x12_5555_5535]), ALLOWED);
}

#[test]
fn all_of_a_rule_has_to_fit_and_one_of_several_rules() {
    let equal = |index: u8, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let rule = |args: Value| json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args});
    let profile = parsed(&only(&[rule(json!([equal(0, 1), equal(1, 2)])), rule(json!([equal(0, 10)]))]));
    for (arguments, allowed) in [([1, 2], true), ([1, 3], false), ([2, 2], false), ([10, 9], true)] {
        assert_eq!(answer(&profile, "socket", &arguments) == ALLOWED, allowed, "{arguments:?}");
    }
    // Two of one argument could not both hold, and are two rules.
    let profile = parsed(&only(&[rule(json!([equal(0, 1), equal(0, 2), equal(1, 3)]))]));
    for (arguments, allowed) in [([1, 0], true), ([2, 0], true), ([9, 3], true), ([9, 0], false)] {
        assert_eq!(answer(&profile, "socket", &arguments) == ALLOWED, allowed, "{arguments:?}");
    }
    let six: Vec<Value> =
        (0..6).map(|index| json!({"index": index, "value": 1u64 << 32, "op": "SCMP_CMP_GT"})).collect();
    let profile = parsed(&only(&[rule(json!(six))]));
    assert_eq!(answer(&profile, "socket", &[u64::MAX; 6]), ALLOWED);
    assert_eq!(answer(&profile, "socket", &[u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX, 1]), errno(libc::ENOSYS));
}

#[test]
fn a_rule_without_conditions_decides_alone_and_of_several_the_first() {
    let with = json!({"names": ["socket"], "action": "SCMP_ACT_TRAP",
        "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]});
    let first = json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EACCES});
    let second = json!({"names": ["socket"], "action": "SCMP_ACT_KILL"});
    for rules in [json!([with, first, second]), json!([first, with, second]), json!([first, second, with])] {
        let profile = but(rules);
        for argument in [0, 1] {
            assert_eq!(answer(&profile, "socket", &[argument]), errno(libc::EACCES));
        }
    }
    // What the default says anyway is no rule that could be the first.
    let profile = but(json!([{"names": ["socket"], "action": "SCMP_ACT_ALLOW"}, second]));
    assert_eq!(answer(&profile, "socket", &[]), libc::SECCOMP_RET_KILL_THREAD);
}

#[test]
fn where_conditions_that_differ_fit_the_stricter_action_counts() {
    let rule = |action: &str, op: &str| json!({"names": ["socket"], "action": action, "args": [{"index": 0, "value": 5, "op": op}]});
    let (log, kill, fails) = (
        rule("SCMP_ACT_LOG", "SCMP_CMP_GE"),
        rule("SCMP_ACT_KILL_PROCESS", "SCMP_CMP_EQ"),
        rule("SCMP_ACT_ERRNO", "SCMP_CMP_LE"),
    );
    for rules in [json!([log, kill, fails]), json!([fails, kill, log]), json!([kill, log, fails])] {
        let profile = but(rules);
        assert_eq!(answer(&profile, "socket", &[5]), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(answer(&profile, "socket", &[4]), errno(libc::EPERM));
        assert_eq!(answer(&profile, "socket", &[6]), libc::SECCOMP_RET_LOG);
    }
}

#[test]
fn rules_count_by_capabilities_kernel_and_machine() {
    let rule = |name: &str, key: &str, when: Value| json!({"names": [name], "action": "SCMP_ACT_ALLOW", key: when});
    let profile = parsed(&only(&[
        rule("mount", "includes", json!({"caps": ["CAP_SYS_ADMIN"]})),
        rule("bpf", "includes", json!({"caps": ["CAP_BPF", "CAP_PERFMON"]})),
        rule("clone", "excludes", json!({"caps": ["CAP_SYS_ADMIN", "CAP_SYS_BOOT"]})),
        rule("ptrace", "includes", json!({"minKernel": "4.8"})),
        rule("uname", "includes", json!({"minKernel": "99.0"})),
        rule("getpid", "excludes", json!({"minKernel": "4.8"})),
        rule("getuid", "includes", json!({"arches": ["amd64", "arm64"]})),
        rule("getgid", "includes", json!({"arches": ["s390x"]})),
        rule("geteuid", "excludes", json!({"arches": ["x86_64", "aarch64"]})),
    ]));
    let admin = CapabilitySet::SYS_ADMIN;
    for (name, held, allowed) in [
        ("mount", NOTHING, false),
        ("mount", admin, true),
        ("bpf", CapabilitySet::BPF, false),
        ("bpf", CapabilitySet::BPF | CapabilitySet::PERFMON, true),
        ("clone", NOTHING, true),
        ("clone", admin, false),
        ("clone", CapabilitySet::SYS_BOOT, false),
        ("ptrace", NOTHING, true),
        ("uname", NOTHING, false),
        ("getpid", NOTHING, false),
        ("getuid", NOTHING, true),
        ("getgid", NOTHING, false),
        ("geteuid", NOTHING, false),
    ] {
        assert_eq!(answer_to(&profile, held, name, &[]) == ALLOWED, allowed, "{name} with {held:?}");
    }
}

#[test]
fn the_calls_of_other_machines_are_no_way_around() {
    let program = but(json!([])).program(CapabilitySet::all()).unwrap();
    const I386: u32 = 0x4000_0003;
    assert_eq!(run(&program, I386, 20, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    for call in [0x4000_0000, 0x4000_0000 | 20, u32::MAX] {
        assert_eq!(run(&program, MACHINE, call, [0; 6]), errno(libc::ENOSYS), "{call:#x}");
    }
    assert_eq!(run(&program, MACHINE, 20, [0; 6]), ALLOWED);
}

#[test]
fn what_says_nothing_here_is_passed_over() {
    let mut profile =
        only(&[json!({"names": ["arm_fadvise64_64", "uname", "no_such_call"], "action": "SCMP_ACT_ALLOW"})]);
    profile["archMap"] = json!([{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]);
    let profile = parsed(&profile);
    assert_eq!(profile.unknown(), ["arm_fadvise64_64", "no_such_call"]);
    assert_eq!(answer(&profile, "uname", &[]), ALLOWED);
    let named = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "defaultErrno": "", "syscalls": null});
    assert_eq!(answer(&parsed(&named), "mount", &[]), ALLOWED);
}

#[test]
fn a_long_list_of_what_is_allowed_is_a_small_filter() {
    let names: Vec<&str> = (0..500).map(calls::name).filter(|name| *name != "?" && !name.starts_with("io_")).collect();
    assert!(names.len() > 300);
    let profile = parsed(&only(&[json!({"names": names, "action": "SCMP_ACT_ALLOW"})]));
    let program = profile.program(NOTHING).unwrap();
    assert!(program.len() < 100, "{} instructions stay with every task", program.len());
    for name in names {
        assert_eq!(answer(&profile, name, &[]), ALLOWED, "{name}");
    }
    assert_eq!(answer(&profile, "io_uring_setup", &[]), errno(libc::ENOSYS));
}

#[test]
fn errors_say_where_and_what() {
    let entry = |entry: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}, entry]});
    let argument = |argument: Value| entry(json!({"names": ["mkdir"], "action": "SCMP_ACT_LOG", "args": [argument]}));
    let hundreds: Vec<Value> = (0..700u64)
        .map(|value| json!({"names": ["mkdirat"], "action": "SCMP_ACT_TRAP", "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]}))
        .collect();
    for (profile, words) in [
        (json!({"syscalls": []}), ["defaultAction", "missing"]),
        (json!({"defaultAction": "ALLOW"}), ["defaultAction", "\"ALLOW\" is no action"]),
        (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), ["defaultAction", "SCMP_ACT_NOTIFY takes somebody"]),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS"}), ["ENOSYS", "defaultErrnoRet"]),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": []}), ["unknown field", "flags"]),
        (entry(json!({"names": ["mkdir"], "action": "SCMP_ACT_TRACE"})), ["syscalls[1] (mkdir)", "SCMP_ACT_TRACE"]),
        (entry(json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000})), ["syscalls[1]", "5000"]),
        (entry(json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errno": "EPERM"})), ["syscalls[1]", "errnoRet"]),
        (
            entry(json!({"names": ["mkdir"], "name": "mkdir", "action": "SCMP_ACT_LOG"})),
            ["syscalls[1]", "name and names"],
        ),
        (entry(json!({"names": ["mkdir"], "action": "SCMP_ACT_LOG", "arg": []})), ["unknown field", "`arg`"]),
        (argument(json!({"index": 6, "value": 0, "op": "SCMP_CMP_EQ"})), ["syscalls[1]", "args[0].index = 6"]),
        (argument(json!({"index": 0, "value": 0, "op": "EQ"})), ["syscalls[1]", "args[0].op = \"EQ\""]),
        (
            entry(json!({"names": ["mkdir"], "action": "SCMP_ACT_LOG", "includes": {"caps": ["SYS_ADMIN"]}})),
            ["syscalls[1]", "includes.caps: \"SYS_ADMIN\""],
        ),
        (
            entry(json!({"names": ["mkdir"], "action": "SCMP_ACT_LOG", "excludes": {"minKernel": "new"}})),
            ["syscalls[1]", "excludes.minKernel = \"new\""],
        ),
        (entry(json!({"names": ["execve", "read"], "action": "SCMP_ACT_KILL"})), ["refuses execve", "allow them"]),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": hundreds}), ["instructions", "4096"]),
    ] {
        let why = Profile::parse(&profile.to_string()).unwrap_err();
        for word in words {
            assert!(why.contains(word), "{why:?} lacks {word:?}");
        }
    }
    assert!(Profile::parse("{").unwrap_err().contains("line 1"));
}

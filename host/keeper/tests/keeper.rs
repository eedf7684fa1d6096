//! The real keeper, driven over its sockets as a plugin does. Cases that need root say so and are left out without it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, unsafe_code)]

mod rig;

use std::time::{Duration, Instant};

use yurt_keeper::answer::Say;
use yurt_keeper::{Exec, Privileges, Start, State, Step, names};

use rig::{Rig, is_root, words};

#[test]
fn a_task_runs_and_its_exit_code_is_told_and_written_down() {
    let rig = Rig::new();
    let mut task =
        rig.start(Start { argv: words(&["/bin/sh", "-c", "echo hello $NAME; exit 42"]), ..rig.plain() }).unwrap();
    assert_eq!(task.exit().code, 42);
    assert_eq!(rig.output(), "hello world\n");
    let written: yurt_keeper::Exit = rig.file(names::EXIT);
    assert_eq!((written.code, written.signal, written.oom_killed), (42, 0, false));
    assert!(task.forget());
    assert!(!rig.entry().join(names::SOCKET).exists());
}

#[test]
fn the_state_says_who_the_task_is_before_it_goes() {
    let rig = Rig::new();
    let memo = b"notes".to_vec();
    let task = rig.start(Start { argv: words(&["/bin/sleep", "30"]), memo, ..rig.plain() }).unwrap();
    let state: State = rig.file(names::STATE);
    let identity = state.task.unwrap();
    assert_eq!(
        (state.id.as_str(), state.memo.as_slice(), identity),
        (rig::ID, b"notes".as_slice(), task.started.task.unwrap())
    );
    assert_eq!(state.keeper, task.started.keeper);
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", identity.pid)).unwrap();
    assert_eq!(comm, "sleep\n");
    assert_eq!(state.boot_id.len(), 16);
}

#[test]
fn a_signal_that_ends_the_task_is_told() {
    let rig = Rig::new();
    let mut task = rig.start(Start { argv: words(&["/bin/sleep", "30"]), ..rig.plain() }).unwrap();
    task.signal(rustix::process::Signal::KILL);
    let exit = task.exit();
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (137, 9, false));
}

#[test]
fn a_program_that_is_not_there_is_a_step_with_its_reason_and_leaves_nothing() {
    let rig = Rig::new();
    for (program, step) in [("/nowhere/python", Step::Execute), ("no-such-program", Step::Lookup)] {
        let failed = rig.start(Start { argv: words(&[program]), ..rig.plain() }).err().unwrap();
        assert_eq!((Step::from_number(failed.step), failed.errno), (step, libc::ENOENT));
        assert!(failed.detail.contains(program), "{failed:?}");
        assert!(!rig.entry().join(names::STATE).exists() && !rig.entry().join(names::SOCKET).exists());
    }
    let failed =
        rig.start(Start { argv: words(&["/bin/true"]), work_dir: b"/nowhere".to_vec(), ..rig.plain() }).err().unwrap();
    assert_eq!((Step::from_number(failed.step), failed.detail.as_str()), (Step::WorkDir, "/nowhere"));
}

#[test]
fn garbage_is_refused_in_a_sentence() {
    let rig = Rig::new();
    for bytes in [b"\xff\xff\xff".as_slice(), b"", &[0x08, 0x63]] {
        let failed = rig.send_raw(bytes).unwrap();
        assert_eq!(Step::from_number(failed.step), Step::Record, "{failed:?}");
    }
}

#[test]
fn a_plugin_that_goes_away_does_not_disturb_the_task_and_the_next_one_learns_all() {
    let rig = Rig::new();
    let task = rig.start(Start { argv: words(&["/bin/sh", "-c", "sleep 0.5; exit 7"]), ..rig.plain() }).unwrap();
    let pid = task.started.task.unwrap().pid;
    task.leave();
    let mut found = rig.connect();
    let Say::State(state) = found.watch() else { panic!("no state") };
    assert_eq!(state.task.unwrap().pid, pid);
    assert_eq!(found.exit().code, 7);
    // Every time anew.
    let mut again = rig.connect();
    again.watch();
    assert_eq!(again.exit().code, 7);
    assert!(again.forget());
}

#[test]
fn a_running_task_is_not_forgotten() {
    let rig = Rig::new();
    let mut task = rig.start(Start { argv: words(&["/bin/sleep", "30"]), ..rig.plain() }).unwrap();
    assert!(!task.forget());
    task.signal(rustix::process::Signal::TERM);
    assert_eq!(task.exit().signal, 15);
    assert!(task.forget());
}

#[test]
fn a_keeper_that_is_asked_to_end_stops_its_task() {
    let rig = Rig::new();
    let mut task = rig.start(Start { argv: words(&["/bin/sleep", "30"]), ..rig.plain() }).unwrap();
    task.signal_keeper(rustix::process::Signal::TERM);
    assert_eq!(task.exit().signal, 15);
}

#[test]
fn a_task_outlives_a_keeper_that_is_killed() {
    let rig = Rig::new();
    let task = rig.start(Start { argv: words(&["/bin/sleep", "30"]), ..rig.plain() }).unwrap();
    let pid = task.started.task.unwrap().pid;
    task.signal_keeper(rustix::process::Signal::KILL);
    std::thread::sleep(Duration::from_millis(200));
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(state.contains(") S "), "{state}");
    task.signal(rustix::process::Signal::KILL);
}

#[test]
fn the_task_has_no_descriptors_but_its_streams() {
    let rig = Rig::new();
    let mut task = rig.start(Start { argv: words(&["/bin/sh", "-c", "ls /proc/self/fd"]), ..rig.plain() }).unwrap();
    assert_eq!(task.exit().code, 0);
    // 3 is the directory that is being listed.
    assert_eq!(rig.output(), "0\n1\n2\n3\n");
}

#[test]
fn a_command_has_its_streams_the_task_s_environment_and_an_exit_of_its_own() {
    let rig = Rig::new();
    let _task = rig.start(Start { argv: words(&["/bin/sleep", "30"]), ..rig.plain() }).unwrap();
    let env = words(&["MORE=1"]);
    let command = rig.exec(Exec {
        argv: words(&["sh", "-c", "cat; echo $NAME$MORE; echo err >&2; exit 3"]),
        env,
        ..Exec::default()
    });
    let (out, err, exit) = command.unwrap().finish(b"in ");
    assert_eq!((out.as_str(), err.as_str(), exit.code), ("in world1\n", "err\n", 3));
    let failed = rig.exec(Exec { argv: words(&["no-such-program"]), ..Exec::default() }).err().unwrap();
    assert_eq!(Step::from_number(failed.step), Step::Lookup);
}

#[test]
fn a_terminal_has_its_size_and_is_the_controlling_one() {
    let rig = Rig::new();
    let _task = rig.start(Start { argv: words(&["/bin/sleep", "30"]), ..rig.plain() }).unwrap();
    let exec = Exec {
        argv: words(&["sh", "-c", "stty size; tty; echo end"]),
        tty: true,
        rows: 40,
        columns: 90,
        ..Exec::default()
    };
    let (out, exit) = rig.exec(exec).unwrap().finish_terminal();
    assert!(out.starts_with("40 90\r\n/dev/pts/") && out.ends_with("end\r\n"), "{out:?}");
    assert_eq!(exit.code, 0);
}

#[test]
fn a_command_whose_caller_goes_away_is_killed_with_all_it_started() {
    let rig = Rig::new();
    let _task = rig.start(Start { argv: words(&["/bin/sleep", "30"]), ..rig.plain() }).unwrap();
    let command = rig.exec(Exec { argv: words(&["sh", "-c", "sleep 7171 & sleep 7171"]), ..Exec::default() }).unwrap();
    assert!(rig::eventually(|| rig::count_of("7171") == 2));
    drop(command);
    assert!(rig::eventually(|| rig::count_of("7171") == 0), "somebody still sleeps");
}

#[test]
fn nobody_reading_the_logs_does_not_stop_the_task_and_what_is_lost_is_counted() {
    let rig = Rig::new();
    let began = Instant::now();
    let script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; i=$((i+1)); done; exit 5";
    let mut task = rig.start(Start { argv: words(&["/bin/sh", "-c", script]), ..rig.plain() }).unwrap();
    let exit = task.exit();
    assert_eq!(exit.code, 5);
    assert!(exit.log_bytes_dropped > 0, "{exit:?}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_user_has_no_capabilities_and_root_has_those_that_it_keeps() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let show = |privileges| {
        let show = "grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status; id -u; id -g";
        let start = Start { argv: words(&["/bin/sh", "-c", show]), privileges: Some(privileges), ..rig.plain() };
        let mut task = rig.start(start).unwrap();
        assert_eq!(task.exit().code, 0);
        task.forget();
        rig.output()
    };
    let nobody = Privileges {
        change: true,
        uid: 65_534,
        gid: 65_534,
        groups: vec![65_534, 7],
        bounding: 0xa804_05fb,
        ambient: 0,
        no_new_privs: true,
    };
    let shown = show(nobody.clone());
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t00000000a80405fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Groups:\t7 65534",
        "65534\n65534",
    ] {
        assert!(shown.contains(line), "{shown} lacks {line}");
    }
    let ambient = show(Privileges { ambient: 0x400, ..nobody.clone() });
    for line in [
        "CapInh:\t0000000000000400",
        "CapPrm:\t0000000000000400",
        "CapEff:\t0000000000000400",
        "CapAmb:\t0000000000000400",
    ] {
        assert!(ambient.contains(line), "{ambient} lacks {line}");
    }
    let root = show(Privileges { uid: 0, gid: 0, groups: vec![], ..nobody });
    for line in [
        "CapPrm:\t00000000a80405fb",
        "CapEff:\t00000000a80405fb",
        "CapBnd:\t00000000a80405fb",
        "CapAmb:\t0000000000000000",
    ] {
        assert!(root.contains(line), "{root} lacks {line}");
    }
}

#[test]
fn a_filter_is_of_the_task_and_its_commands_and_not_of_the_keeper() {
    let rig = Rig::new();
    let mode = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find(|line| line.starts_with("Seccomp:")).unwrap().to_owned()
    };
    let show = words(&["/bin/sh", "-c", "grep ^Seccomp: /proc/self/status; uname || echo refused; exec sleep 30"]);
    let privileges = Some(Privileges { no_new_privs: true, ..Privileges::default() });
    for privileges in [privileges, is_root().then(Privileges::default)].into_iter().flatten() {
        let filter = refusing(libc::SYS_uname);
        let start = Start { argv: show.clone(), privileges: Some(privileges), filter, ..rig.plain() };
        let task = rig.start(start).unwrap();
        let mut said = String::new();
        while !said.ends_with("refused\n") {
            said.push_str(&rig.output());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(said.starts_with("Seccomp:\t2\n"), "{said}");
        let command = Exec { argv: words(&["grep", "^Seccomp:", "/proc/self/status"]), ..Exec::default() };
        assert_eq!(rig.exec(command).unwrap().finish(b"").0, "Seccomp:\t2\n");
        assert_eq!(mode(&task.started.keeper.unwrap().pid.to_string()), mode("self"));
    }
}

/// Instructions that answer one call with `EPERM`, and let all others be.
fn refusing(call: libc::c_long) -> Vec<u8> {
    let instruction = |code: u16, jt: u8, jf: u8, k: u32| {
        let ([a, b], [c, d, e, f]) = (code.to_ne_bytes(), k.to_ne_bytes());
        [a, b, jt, jf, c, d, e, f]
    };
    let eperm = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    [
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 0, 1, call as u32),
        instruction(0x06, 0, 0, eperm),
        instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
    .concat()
}

#[test]
fn a_filter_that_is_none_is_a_step_with_its_reason_and_leaves_nothing() {
    let rig = Rig::new();
    let start = |filter: &[u8]| Start {
        argv: words(&["/bin/true"]),
        privileges: Some(Privileges { no_new_privs: true, ..Privileges::default() }),
        filter: filter.to_vec(),
        ..rig.plain()
    };
    let failed = rig.start(start(&[0xff; 16])).err().unwrap();
    assert_eq!((Step::from_number(failed.step), failed.errno), (Step::Filter, libc::EINVAL));
    for nonsense in [vec![0; 7], vec![0; 8 * 4097]] {
        let failed = rig.start(start(&nonsense)).err().unwrap();
        assert_eq!(Step::from_number(failed.step), Step::Record, "{failed:?}");
    }
    assert!(!rig.entry().join(names::STATE).exists() && !rig.entry().join(names::SOCKET).exists());
}

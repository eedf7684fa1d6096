//! Control groups: limits, figures, devices, what an earlier task left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use yurt_task::{Cgroup, Device, Isolation, Limits, Namespaces, RootDirectory, Whom};

use crate::rig::{Rig, end, eventually, is_alive, is_root, is_v2, patience};

/// The directory of a controller.
fn group(rig: &Rig, controller: &str) -> PathBuf {
    if is_v2() { rig.main_group() } else { Path::new("/sys/fs/cgroup").join(controller).join("nomad").join(&rig.name) }
}

fn content(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap().trim().to_owned()
}

#[tokio::test]
async fn limits_stand_in_the_groups_and_the_task_is_in_all_of_them() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let mut launch = rig.shell("cat /proc/self/cgroup; sleep 1000");
    launch.limits = Limits {
        memory_max: Some(64 << 20),
        memory_low: Some(32 << 20),
        cpu_shares: Some(512),
        pids_max: Some(77),
        ..Limits::default()
    };
    let task = rig.tasks().start(launch).await.unwrap();
    let memory = group(&rig, "memory");
    if is_v2() {
        assert_eq!(content(&memory, "memory.max"), (64 << 20).to_string());
        assert_eq!(content(&memory, "memory.low"), (32 << 20).to_string());
        assert_eq!(content(&memory, "cpu.weight"), "20");
    } else {
        assert_eq!(content(&memory, "memory.limit_in_bytes"), (64 << 20).to_string());
        assert_eq!(content(&memory, "memory.soft_limit_in_bytes"), (32 << 20).to_string());
        assert_eq!(content(&group(&rig, "cpu"), "cpu.shares"), "512");
    }
    assert_eq!(content(&group(&rig, "pids"), "pids.max"), "77");
    let mut log = String::new();
    assert!(
        eventually(|| {
            log.push_str(&rig.log());
            log.contains("0::")
        })
        .await
    );
    let inside = log.lines().filter(|line| line.contains(&rig.name)).count();
    assert_eq!(inside, if is_v2() { 1 } else { log.lines().count() - 2 }, "all but cpuset and version 2: {log}");
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    end(&task).await;
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_set_of_processors_is_the_task_s_own() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let mut launch = rig.shell("grep ^Cpus_allowed_list /proc/self/status");
    launch.limits.cpuset = Some("0".into());
    let own = Path::new("/sys/fs/cgroup/cpuset").join(&rig.name);
    if let Cgroup::V1 { cpuset, .. } = &mut launch.cgroup {
        // The agent makes it, without processors or memory.
        fs::create_dir(&own).unwrap();
        cpuset.clone_from(&own);
    }
    let task = rig.tasks().start(launch).await.unwrap();
    assert_eq!(end(&task).await.code, 0);
    assert_eq!(rig.log(), "Cpus_allowed_list:\t0\n");
    if !is_v2() {
        fs::remove_dir(&own).unwrap();
    }
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_task_that_uses_up_its_memory_is_told_so() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let tasks = rig.tasks();
    for _ in 0..5 {
        let mut launch = rig.launch(&["tail", "/dev/zero"]);
        launch.limits.memory_max = Some(16 << 20);
        let exit = end(&tasks.start(launch).await.unwrap()).await;
        assert_eq!((exit.code, exit.signal, exit.oom_killed), (137, 9, true));
    }
    // Another task's kills, which the group remembers, are not counted.
    let exit = end(&tasks.start(rig.shell("kill -9 $$")).await.unwrap()).await;
    assert_eq!((exit.code, exit.oom_killed), (137, false));
    rig.nothing_is_left();
}

#[tokio::test]
async fn figures_are_of_this_task() {
    for rig in Rig::both() {
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; sleep 1000";
        let task = rig.tasks().start(rig.shell(busy)).await.unwrap();
        rig.logged("done").await;
        assert!(eventually(|| task.processes().len() == 2).await);
        let stats = task.stats().unwrap();
        assert!(stats.cpu.user_nanos > 1_000_000, "{stats:?}");
        assert!(stats.memory.rss.unwrap() > 50_000, "{stats:?}");
        let mut pids: Vec<_> = stats.processes.iter().map(|process| process.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, task.processes());
        let main = stats.processes.iter().find(|process| process.pid == task.pid()).unwrap();
        assert!(main.rss > 100_000 && main.cpu.user_nanos > 0, "{main:?}");
        if matches!(rig.cgroup(), Cgroup::V1 { .. }) || is_v2() && is_root() {
            let memory = &stats.memory;
            assert!(memory.usage.unwrap() >= memory.rss.unwrap() && memory.max_usage >= memory.usage, "{stats:?}");
            assert_eq!((stats.pids, stats.oom_kills), (Some(2), Some(0)));
            assert!(stats.throttled_periods.is_some() && stats.throttled_nanos.is_some());
            assert!(memory.cache.is_some() && memory.kernel_usage.is_some());
        }
        task.kill(patience(Duration::from_secs(10))).await.unwrap();
        end(&task).await;
    }
}

#[tokio::test]
async fn what_an_earlier_task_left_in_the_groups_is_killed_before_the_start() {
    if !is_root() {
        return;
    }
    for rig in Rig::both() {
        let mut left = Command::new("sh").args(["-c", "trap '' TERM; while :; do sleep 1; done"]).spawn().unwrap();
        fs::write(rig.main_group().join("cgroup.procs"), left.id().to_string()).unwrap();
        let task = rig.tasks().start(rig.launch(&["sleep", "1000"])).await.unwrap();
        assert!(!is_alive(left.id()) && is_alive(task.pid()));
        left.wait().unwrap();
        task.kill(patience(Duration::from_secs(10))).await.unwrap();
        end(&task).await;
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn a_group_whose_members_were_killed_at_one_blow_can_be_used_again() {
    for rig in Rig::both() {
        let blow = rig.groups().map(|group| group.join("cgroup.kill")).find(|file| file.exists());
        let Some(blow) = blow else { continue };
        for code in [3, 4] {
            fs::write(&blow, "1").unwrap();
            let task = rig.tasks().start(rig.shell(&format!("exit {code}"))).await.unwrap();
            assert_eq!(end(&task).await.code, code);
        }
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn the_end_of_an_earlier_task_does_not_touch_the_next_one_in_its_groups() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let tasks = rig.tasks();
    let first = tasks.start(rig.shell("exit 1")).await.unwrap();
    first.wait().await;
    let second = tasks.start(rig.launch(&["sleep", "1000"])).await.unwrap();
    first.kill(Duration::from_secs(5)).await.unwrap();
    first.forget().await.unwrap();
    assert!(is_alive(second.pid()) && second.exit().is_none());
    assert_eq!(first.processes(), Vec::<u32>::new());
    second.kill(patience(Duration::from_secs(10))).await.unwrap();
    end(&second).await;
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_task_with_a_root_of_its_own_has_the_devices_it_was_given_and_no_others() {
    if !is_root() {
        return;
    }
    for rig in Rig::both() {
        let root = rig.dir.path().join("root");
        copy_program(&root, "/bin/sh");
        // Nodes may be made, but not opened: 1:11 is the kernel's log, 1:1 the memory.
        let script =
            "true <>/dev/null && echo null; true </dev/given && echo given; true 2>&1 </dev/kernel-log || echo no log";
        let mut launch = rig.shell(script);
        let device =
            |source: &str, target: &str| Device { source: source.into(), target: target.into(), access: "rw".into() };
        launch.isolation = Isolation::Chroot(Box::new(RootDirectory {
            path: root.clone(),
            namespaces: Namespaces { pid: true, init: true, ipc: true, uts: false },
            mounts: vec![yurt_task::Mount {
                source: "/dev/kmsg".into(),
                target: "/dev/kernel-log".into(),
                read_only: false,
                propagation: yurt_task::Propagation::Private,
            }],
            devices: vec![device("/dev/zero", "/dev/given")],
            allowed: vec![],
            files: vec![],
        }));
        let task = rig.tasks().start(launch).await.unwrap();
        assert_eq!(end(&task).await.code, 0);
        let log = rig.log();
        assert!(
            log.starts_with("null\ngiven\n") && log.ends_with("no log\n") && log.contains("Operation not permitted"),
            "{log}"
        );
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn a_signal_for_all_reaches_a_task_below_its_init_once() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let root = rig.dir.path().join("root");
    copy_program(&root, "/bin/sh");
    let mut launch = rig.shell(
        "trap 'echo got it' USR1; trap 'exit 0' TERM; echo up; while :; do read line </dev/tty; done 2>/dev/null",
    );
    launch.isolation = Isolation::Chroot(Box::new(RootDirectory {
        path: root,
        namespaces: Namespaces { pid: true, init: true, ipc: true, uts: false },
        mounts: vec![],
        devices: vec![],
        allowed: vec![],
        files: vec![],
    }));
    let task = rig.tasks().start(launch).await.unwrap();
    rig.logged("up").await;
    assert_eq!(task.processes().len(), 2, "init and the shell");
    task.signal(10, Whom::All).unwrap();
    rig.logged("got it").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.log(), "", "not twice");
    task.signal(15, Whom::All).unwrap();
    assert_eq!(end(&task).await.code, 0);
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_task_that_is_killed_with_all_its_processes_is_known_to_have_been_by_its_init() {
    if !is_root() {
        return;
    }
    for rig in Rig::both() {
        let root = rig.dir.path().join("root");
        copy_program(&root, "/bin/sh");
        for stop in [Stop::Kill, Stop::Signal, Stop::Kill, Stop::Kill, Stop::Kill] {
            let mut launch = rig.shell("trap '' TERM; (while :; do :; done) & echo up; while :; do :; done");
            launch.isolation = Isolation::Chroot(Box::new(RootDirectory {
                path: root.clone(),
                namespaces: Namespaces { pid: true, init: true, ipc: true, uts: false },
                mounts: vec![],
                devices: vec![],
                allowed: vec![],
                files: vec![],
            }));
            let task = rig.tasks().start(launch).await.unwrap();
            rig.logged("up").await;
            match stop {
                Stop::Kill => task.kill(patience(Duration::from_secs(10))).await.unwrap(),
                Stop::Signal => task.signal(9, Whom::All).unwrap(),
            }
            let exit = end(&task).await;
            assert_eq!((exit.code, exit.signal, &exit.unknown), (137, 9, &None));
            // Only who waits for it hears of that.
            assert!(exit.max_rss > 0, "{exit:?}");
            rig.nothing_is_left();
        }
    }
}

enum Stop {
    Kill,
    Signal,
}

/// A program with what it loads.
pub(crate) fn copy_program(root: &Path, program: &str) {
    let loads = Command::new("ldd").arg(program).output().unwrap();
    let loads = String::from_utf8(loads.stdout).unwrap();
    for file in loads.split_whitespace().filter(|word| word.starts_with('/')).chain([program]) {
        let to = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
}

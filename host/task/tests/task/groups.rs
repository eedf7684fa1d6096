//! Control groups: limits, figures, devices, what an earlier task left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use yurt_task::{Cgroup, CpuMax, Device, Elsewhere, IoMax, Isolation, Limits, Namespaces, RootDirectory, Whom};

use crate::rig::{Rig, end, eventually, is_alive, is_root, is_v2, patience};

/// The directory of a controller.
fn group(rig: &Rig, controller: &str) -> PathBuf {
    if is_v2() { rig.main_group() } else { Path::new("/sys/fs/cgroup").join(controller).join("nomad").join(&rig.name) }
}

fn content(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap().trim().to_owned()
}

const NAMESPACES: Namespaces =
    Namespaces { pid: true, init: true, ipc: true, uts: false, user: false, cgroup: false, time: false };

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

/// Limits that a job asks for by name, as they stand in the groups of a running task.
#[tokio::test]
async fn limits_by_name_stand_in_the_groups() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let mut launch = rig.launch(&["sleep", "1000"]);
    let device = block_device();
    launch.limits = Limits {
        memory_max: Some(64 << 20),
        swap_max: Some(16 << 20),
        cpu_max: Some(CpuMax { quota: Some(50_000), period: 200_000 }),
        io_weight: Some(200),
        io_max: device
            .map(|device| IoMax { read_bytes: Some(1 << 20), writes: Some(50), device, ..IoMax::default() })
            .into_iter()
            .collect(),
        ..Limits::default()
    };
    if is_v2() {
        launch.limits.memory_high = Some(48 << 20);
    }
    // Of a kernel without one, another test speaks.
    let weighs = has_weight(&rig);
    if !weighs {
        launch.limits.io_weight = None;
    }
    let task = rig.tasks().start(launch).await.unwrap();
    let (memory, cpu, io) = (group(&rig, "memory"), group(&rig, "cpu"), group(&rig, "blkio"));
    let line = |file: &str| {
        let device = device.map(|(major, minor)| format!("{major}:{minor} ")).unwrap_or_default();
        content(&io, file).lines().find_map(|line| line.strip_prefix(&device).map(str::to_owned)).unwrap_or_default()
    };
    if is_v2() {
        assert_eq!(content(&memory, "memory.swap.max"), (16 << 20).to_string());
        assert_eq!(content(&memory, "memory.high"), (48 << 20).to_string());
        assert_eq!(content(&cpu, "cpu.max"), "50000 200000");
        assert!(device.is_none() || line("io.max") == "rbps=1048576 wbps=max riops=max wiops=50");
    } else {
        assert_eq!(content(&memory, "memory.memsw.limit_in_bytes"), (80 << 20).to_string());
        assert_eq!(content(&cpu, "cpu.cfs_quota_us"), "50000");
        assert_eq!(content(&cpu, "cpu.cfs_period_us"), "200000");
        assert!(device.is_none() || line("blkio.throttle.read_bps_device") == "1048576");
        assert!(device.is_none() || line("blkio.throttle.write_iops_device") == "50");
    }
    if weighs {
        let files = ["io.weight", "io.bfq.weight", "blkio.weight", "blkio.bfq.weight"];
        let weights = files.iter().filter_map(|file| fs::read_to_string(io.join(file)).ok());
        let weight = weights.map(|text| text.trim().trim_start_matches("default ").to_owned()).next();
        assert!(matches!(weight.as_deref(), Some("200" | "1000")), "{weight:?}");
    }
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    end(&task).await;
    rig.nothing_is_left();
}

/// A whole disk, whatever it is; a machine may have none.
fn block_device() -> Option<(u32, u32)> {
    let mut disks: Vec<_> = fs::read_dir("/sys/block").unwrap().flatten().map(|entry| entry.path()).collect();
    disks.sort_by_key(|disk| disk.file_name().unwrap().to_string_lossy().starts_with("loop"));
    let numbers = fs::read_to_string(disks.first()?.join("dev")).unwrap();
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    Some((major.parse().unwrap(), minor.parse().unwrap()))
}

fn has_weight(rig: &Rig) -> bool {
    let probe = if is_v2() { rig.main_group() } else { PathBuf::from("/sys/fs/cgroup/blkio").join(&rig.name) };
    let made = !is_v2() && fs::create_dir(&probe).is_ok();
    let has =
        ["io.weight", "io.bfq.weight", "blkio.weight", "blkio.bfq.weight"].iter().any(|file| probe.join(file).exists());
    if made {
        fs::remove_dir(&probe).unwrap();
    }
    has
}

#[tokio::test]
async fn a_limit_that_this_machine_lacks_is_refused_by_its_name() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let mut asked = vec![(Limits { hugetlb_max: vec![("3MB".to_owned(), 0)], ..Limits::default() }, "hugetlb.3MB.max")];
    if !is_v2() {
        asked.push((Limits { memory_high: Some(1 << 20), ..Limits::default() }, "memory.high"));
        asked.push((Limits { swap_max: Some(1 << 20), ..Limits::default() }, "memory.swap.max"));
    }
    for (limits, name) in asked {
        let mut launch = rig.launch(&["true"]);
        launch.limits = limits;
        let why = rig.tasks().start(launch).await.unwrap_err();
        let said = why.to_string();
        assert!(said.starts_with(&format!("setting a limit: {name}: ")) && !why.recoverable(), "{said}");
        assert!(said.ends_with("leave the limit out"), "{said}");
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn a_start_that_fails_leaves_the_limits_as_they_were() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let files: &[(&str, &str)] = if is_v2() {
        &[
            ("memory", "memory.max"),
            ("memory", "memory.low"),
            ("memory", "memory.swap.max"),
            ("cpu", "cpu.weight"),
            ("cpu", "cpu.max"),
            ("pids", "pids.max"),
            ("io", "io.max"),
        ]
    } else {
        &[
            ("memory", "memory.limit_in_bytes"),
            ("memory", "memory.soft_limit_in_bytes"),
            ("memory", "memory.memsw.limit_in_bytes"),
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_quota_us"),
            ("cpu", "cpu.cfs_period_us"),
        ]
    };
    let read = || files.iter().map(|(controller, file)| content(&group(&rig, controller), file)).collect::<Vec<_>>();
    let before = read();
    let mut launch = rig.launch(&["/no/such/program"]);
    launch.limits = Limits {
        memory_max: Some(64 << 20),
        memory_low: Some(32 << 20),
        swap_max: Some(0),
        cpu_shares: Some(77),
        cpu_max: Some(CpuMax { quota: Some(50_000), period: 200_000 }),
        pids_max: Some(5),
        io_max: block_device()
            .map(|device| IoMax { read_bytes: Some(1 << 20), device, ..IoMax::default() })
            .into_iter()
            .collect(),
        ..Limits::default()
    };
    rig.tasks().start(launch.clone()).await.unwrap_err();
    assert_eq!(read(), before);
    // Also where a limit itself is what fails.
    launch.argv = vec!["/bin/true".to_owned()];
    launch.limits.hugetlb_max = vec![("3MB".to_owned(), 0)];
    rig.tasks().start(launch).await.unwrap_err();
    assert_eq!(read(), before);
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_task_may_be_in_a_group_of_somebody_else_s_and_takes_nobody_there_along() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let mount = if is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
    let name = format!("custom-{}", rig.name);
    let custom = Path::new(mount).join(&name);
    let mut launch = rig.shell("cat /proc/self/cgroup; echo up; sleep 1000 & exec sleep 1000");
    let controller = (!is_v2()).then(|| "memory".to_owned());
    launch.elsewhere = vec![Elsewhere { controller, path: name.clone().into() }];
    launch.limits = Limits { memory_max: Some(64 << 20), ..Limits::default() };
    let why = rig.tasks().start(launch.clone()).await.unwrap_err().to_string();
    assert!(why.starts_with("unable to configure cgroups: no such file or directory: "), "{why}");
    fs::create_dir(&custom).unwrap();
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(custom.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    for _ in 0..2 {
        launch.id.push('x');
        let task = rig.tasks().start(launch.clone()).await.unwrap();
        let mut log = String::new();
        assert!(
            eventually(|| {
                log.push_str(&rig.log());
                log.contains("up\n")
            })
            .await
        );
        assert!(log.contains(&format!("/{name}/{}", rig.main_group().file_name().unwrap().to_string_lossy())), "{log}");
        assert!(eventually(|| task.processes().len() == 2).await, "{:?}", task.processes());
        let own =
            fs::read_dir(&custom).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_dir()).unwrap();
        if !is_v2() {
            // The agent's limits are not for the groups of others.
            assert_ne!(content(&own, "memory.limit_in_bytes"), (64 << 20).to_string());
        }
        task.kill(patience(Duration::from_secs(10))).await.unwrap();
        end(&task).await;
        task.forget().await.unwrap();
        assert!(is_alive(stranger.id()) && custom.exists() && !own.exists());
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    fs::remove_dir(&custom).unwrap();
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_group_that_this_machine_s_version_does_not_have_is_refused() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let mut launch = rig.launch(&["true"]);
    let other =
        |controller: Option<&str>| Elsewhere { controller: controller.map(str::to_owned), path: "custom".into() };
    launch.elsewhere = vec![if is_v2() { other(Some("pids")) } else { other(None) }];
    let why = rig.tasks().start(launch.clone()).await.unwrap_err().to_string();
    assert!(
        why.starts_with("unable to configure cgroups: custom of ") && why.contains("this machine has version"),
        "{why}"
    );
    if !is_v2() {
        launch.elsewhere = vec![other(Some("no_such"))];
        let why = rig.tasks().start(launch).await.unwrap_err().to_string();
        assert!(why.contains("custom of no_such"), "{why}");
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
            let more = task.more();
            assert!(more.io.is_some() && more.pids_peak.is_none_or(|peak| peak >= 2), "{more:?}");
            let counts_pressure = is_v2() && fs::read("/proc/pressure/cpu").is_ok();
            let of_each = [&more.pressure.cpu, &more.pressure.memory, &more.pressure.io];
            assert!(of_each.iter().all(|waits| waits.is_some() == counts_pressure), "{more:?}");
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
            mounts: vec![yurt_task::Mount {
                source: "/dev/kmsg".into(),
                target: "/dev/kernel-log".into(),
                read_only: false,
                propagation: yurt_task::Propagation::Private,
            }],
            devices: vec![device("/dev/zero", "/dev/given")],
            ..RootDirectory::of(root.clone(), NAMESPACES)
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
    launch.isolation = Isolation::Chroot(Box::new(RootDirectory::of(root, NAMESPACES)));
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
            launch.isolation = Isolation::Chroot(Box::new(RootDirectory::of(root.clone(), NAMESPACES)));
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

//! Roots, namespaces and control groups of a task's own. All of it takes root.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, unsafe_code)]

#[allow(dead_code)]
mod rig;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use yurt_keeper::{Carried, Device, Exec, File, Mount, Start, Step};

use rig::{Rig, is_root, words};

/// A root that is all but empty: this machine's programs are bound into it.
struct Root {
    dir: tempfile::TempDir,
    fd: OwnedFd,
}

impl Root {
    fn new() -> Root {
        let dir = tempfile::tempdir().unwrap();
        let fd = open(dir.path(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        Root { dir, fd }
    }

    fn start(&self, rig: &Rig, argv: &[&str]) -> Start {
        let mounts = ["/usr", "/bin", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).exists());
        let mounts =
            mounts.map(|path| Mount { source: path.into(), target: path.into(), read_only: true, propagation: 0 });
        Start {
            isolation: 1,
            private_pid: true,
            private_ipc: true,
            private_uts: true,
            init: true,
            mounts: mounts.collect(),
            argv: words(argv),
            ..rig.plain()
        }
    }

    /// What a script says in there.
    fn says(&self, rig: &Rig, script: &str, change: impl FnOnce(&mut Start)) -> String {
        let mut start = self.start(rig, &["/bin/sh", "-c", script]);
        change(&mut start);
        let mut task = rig.start_with(start, &[(Carried::Root, &self.fd)]).unwrap();
        let exit = task.exit();
        let output = rig.output();
        assert_eq!(exit.code, 0, "{output}");
        assert!(task.forget());
        output
    }
}

#[test]
fn a_root_of_its_own_shows_what_is_in_it_and_its_own_proc_and_dev() {
    if !is_root() {
        return;
    }
    let (rig, root) = (Rig::new(), Root::new());
    fs::write(root.dir.path().join("mine"), "x").unwrap();
    let said =
        root.says(&rig, "ls /; echo --; ls /dev; echo --; ls /proc | grep -c '^[0-9]'; cat /proc/1/comm", |_| {});
    let parts: Vec<&str> = said.split("--\n").collect();
    assert!(parts[0].contains("mine\n") && !parts[0].contains("root\n") && !parts[0].contains("home\n"), "{said}");
    assert_eq!(
        parts[1].split_whitespace().collect::<Vec<_>>().join(" "),
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    );
    // init, the shell, and ls and grep.
    assert!(
        parts[2].starts_with(|digit: char| ('2'..='4').contains(&digit)) && parts[2].ends_with("yurt-keeper\n"),
        "{said}"
    );
}

#[test]
fn what_the_task_must_not_change_is_read_only_or_hidden() {
    if !is_root() {
        return;
    }
    let (rig, root) = (Rig::new(), Root::new());
    let script = "for f in /proc/sys/kernel/hostname /usr/x; do (echo x > $f) 2>&1 | grep -o 'Read-only file system'; done; for f in /proc/kcore /proc/keys /proc/timer_list; do [ ! -e $f ] || wc -c < $f; done; echo --; grep -c ' / ' /proc/self/mounts";
    let said = root.says(&rig, script, |_| {});
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    let hidden = said
        .rsplit_once("--")
        .map(|(before, _)| before.lines().filter(|line| line.parse().is_ok_and(|size: u64| size > 0)).count());
    assert!(hidden == Some(0) && said.ends_with("--\n1\n"), "{said}");
}

#[test]
fn without_init_the_task_is_process_one_and_with_it_orphans_are_reaped_and_all_ends_together() {
    if !is_root() {
        return;
    }
    let (rig, root) = (Rig::new(), Root::new());
    assert_eq!(root.says(&rig, "echo $$", |start| start.init = false), "1\n");
    let said = root.says(&rig, "echo $$; (sleep 6161 &) ; (true &); sleep 0.3; ls /proc | grep -c '^[0-9]'", |_| {});
    // init, the shell, the sleeper, ls and grep: no zombie.
    assert!(said.starts_with("2\n") && said.trim_end().ends_with(['3', '4', '5']), "{said}");
    assert!(rig::eventually(|| rig::count_of("6161") == 0), "the sleeper outlived the task");
}

#[test]
fn a_task_under_init_gets_signals_and_its_end_by_one_is_told() {
    if !is_root() {
        return;
    }
    let (rig, root) = (Rig::new(), Root::new());
    let start = root.start(&rig, &["/bin/sleep", "30"]);
    let mut task = rig.start_with(start, &[(Carried::Root, &root.fd)]).unwrap();
    task.signal(rustix::process::Signal::TERM);
    let exit = task.exit();
    assert_eq!((exit.code, exit.signal), (143, 15));
}

#[test]
fn mounts_devices_and_files_are_there_and_the_root_itself_stays_as_it_is() {
    if !is_root() {
        return;
    }
    let (rig, root) = (Rig::new(), Root::new());
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("in"), "volume\n").unwrap();
    fs::create_dir_all(root.dir.path().join("etc")).unwrap();
    std::os::unix::fs::symlink("../run/resolvconf/resolv.conf", root.dir.path().join("etc/resolv.conf")).unwrap();
    let mount = |target: &str, read_only| Mount {
        source: volume.path().to_string_lossy().into_owned(),
        target: target.into(),
        read_only,
        propagation: 0,
    };
    let (rw, ro) = (mount("/data/rw", false), mount("/data/ro", true));
    let device =
        Device { path: "/dev/yurt/full".into(), block: false, major: 1, minor: 7, mode: 0o640, uid: 5, gid: 6 };
    let file = File { target: "/etc/resolv.conf".into(), content: b"nameserver 1.1.1.1\n".to_vec() };
    let script = "cat /data/rw/in; echo out > /data/rw/out; (echo x > /data/ro/x) 2>&1 | grep -o 'Read-only file system'; stat -c '%t:%T %a %u %g' /dev/yurt/full; cat /etc/resolv.conf";
    let said = root.says(&rig, script, |start| {
        start.mounts.extend([rw, ro]);
        start.devices.push(device);
        start.files.push(file);
    });
    assert_eq!(said, "volume\nRead-only file system\n1:7 640 5 6\nnameserver 1.1.1.1\n");
    assert_eq!(fs::read_to_string(volume.path().join("out")).unwrap(), "out\n");
    assert_eq!(fs::read(root.dir.path().join("run/resolvconf/resolv.conf")).unwrap(), b"");
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(&*root.dir.path().to_string_lossy()));
}

#[test]
fn a_mount_that_is_not_there_is_named_and_nothing_is_left() {
    if !is_root() {
        return;
    }
    let (rig, root) = (Rig::new(), Root::new());
    let mut start = root.start(&rig, &["/bin/true"]);
    start.mounts.push(Mount { source: "/nowhere/volume".into(), target: "/v".into(), ..Mount::default() });
    let failed = rig.start_with(start, &[(Carried::Root, &root.fd)]).err().unwrap();
    assert_eq!((Step::from_number(failed.step), failed.errno), (Step::Mount, libc::ENOENT));
    assert_eq!(failed.detail, "/nowhere/volume at /v");
}

#[test]
fn a_command_is_in_the_task_s_namespaces_and_has_its_terminal_there() {
    if !is_root() {
        return;
    }
    let (rig, root) = (Rig::new(), Root::new());
    fs::write(root.dir.path().join("mine"), "x").unwrap();
    let start = root.start(&rig, &["/bin/sleep", "30"]);
    let _task = rig.start_with(start, &[(Carried::Root, &root.fd)]).unwrap();
    let exec = |script: &str, tty| Exec { argv: words(&["sh", "-c", script]), tty, ..Exec::default() };
    let (out, _, exit) = rig.exec(exec("cat /mine; cat /proc/1/comm /proc/2/comm", false)).unwrap().finish(b"");
    assert_eq!((out.as_str(), exit.code), ("xyurt-keeper\nsleep\n", 0));
    let (out, _) = rig.exec(exec("tty", true)).unwrap().finish_terminal();
    assert_eq!(out, "/dev/pts/0\r\n");
}

/// A group in each hierarchy of version 1, or one of version 2; removed at the end.
struct Group {
    dirs: Vec<(String, PathBuf, OwnedFd)>,
    v2: bool,
}

impl Group {
    fn new(memory: u64) -> Option<Group> {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("yurt-keeper-test-{}-{memory}", std::process::id());
        let v2 = root.join("cgroup.controllers").exists();
        let places: Vec<(String, PathBuf)> = if v2 {
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory +pids");
            vec![(String::new(), root.join(&name))]
        } else {
            ["freezer", "memory"].map(|controller| (controller.to_owned(), root.join(controller).join(&name))).to_vec()
        };
        let mut dirs = Vec::new();
        for (controller, path) in places {
            fs::create_dir(&path).ok()?;
            let fd = open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            let file = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
            if path.join(file).exists() {
                fs::write(path.join(file), memory.to_string()).unwrap();
            }
            dirs.push((controller, path, fd));
        }
        Some(Group { dirs, v2 })
    }

    fn carried(&self) -> Vec<(Carried, &OwnedFd)> {
        let kind = if self.v2 { Carried::CgroupV2 } else { Carried::CgroupV1 };
        self.dirs.iter().map(|(_, _, fd)| (kind, fd)).collect()
    }

    fn named(&self, start: &mut Start) {
        start.cgroups = self.dirs.iter().map(|(_, path, _)| path.to_string_lossy().into_owned()).collect();
        if !self.v2 {
            start.controllers = self.dirs.iter().map(|(controller, _, _)| controller.clone()).collect();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for (_, path, _) in &self.dirs {
            rig::eventually(|| fs::remove_dir(path).is_ok() || !path.exists());
        }
    }
}

#[test]
fn a_task_that_uses_up_its_memory_is_told_so_each_time_and_one_that_is_killed_otherwise_is_not() {
    if !is_root() {
        return;
    }
    let group = Group::new(16 << 20).expect("a control group");
    let rig = Rig::new();
    for _ in 0..20 {
        let mut start = Start { argv: words(&["/bin/sh", "-c", "tail /dev/zero"]), ..rig.plain() };
        group.named(&mut start);
        let mut task = rig.start_with(start, &group.carried()).unwrap();
        let exit = task.exit();
        assert!(exit.oom_killed && exit.code != 0, "{exit:?}");
        assert!(task.forget());
    }
    let mut start = Start { argv: words(&["/bin/sleep", "30"]), ..rig.plain() };
    group.named(&mut start);
    let mut task = rig.start_with(start, &group.carried()).unwrap();
    task.signal(rustix::process::Signal::KILL);
    let exit = task.exit();
    assert_eq!((exit.signal, exit.oom_killed), (9, false));
    assert!(task.forget());
}

#[test]
fn a_command_has_a_group_of_its_own_below_the_task_s_and_it_goes_with_the_command() {
    if !is_root() {
        return;
    }
    let group = Group::new(64 << 20).expect("a control group");
    let rig = Rig::new();
    let mut start = Start { argv: words(&["/bin/sleep", "30"]), ..rig.plain() };
    group.named(&mut start);
    let task = rig.start_with(start, &group.carried()).unwrap();
    let exec = |script: &str| Exec { argv: words(&["sh", "-c", script]), ..Exec::default() };
    let (out, _, _) = rig.exec(exec("cat /proc/self/cgroup")).unwrap().finish(b"");
    let name = group.dirs[0].1.file_name().unwrap().to_string_lossy().into_owned();
    assert!(out.contains(&format!("/{name}/exec-1.scope\n")), "{out}");
    let hanging = rig.exec(exec("setsid sleep 5151 & sleep 5151")).unwrap();
    assert!(rig::eventually(|| rig::count_of("5151") == 2));
    drop(hanging);
    assert!(rig::eventually(|| rig::count_of("5151") == 0));
    let empty = || fs::read_dir(&group.dirs[0].1).unwrap().flatten().all(|entry| !entry.path().is_dir());
    assert!(rig::eventually(empty), "a command's group is left");
    drop(task);
}

#[test]
fn a_keeper_that_is_asked_to_end_tells_how_a_task_below_an_init_did() {
    if !is_root() {
        return;
    }
    let group = Group::new(65 << 20).expect("a control group");
    let (rig, root) = (Rig::new(), Root::new());
    let mut start = root.start(&rig, &["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]);
    group.named(&mut start);
    let mut carried = group.carried();
    carried.push((Carried::Root, &root.fd));
    let mut task = rig.start_with(start, &carried).unwrap();
    let mut said = String::new();
    while said != "up\n" {
        said.push_str(&rig.output());
    }
    task.signal_keeper(rustix::process::Signal::TERM);
    let exit = task.exit();
    assert_eq!((exit.code, exit.signal, exit.unknown.as_str()), (137, 9, ""));
    // Only who waits for it hears of that.
    assert!(exit.max_rss_kib > 0, "{exit:?}");
}

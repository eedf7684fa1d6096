//! StartTask: what a task finds in its root: devices, volumes, programs.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use yurt_conformance::driver::{
    Flavour, Hierarchy, Isolation, Program, Request, Task, in_a_root, of_yurt, quoted, refused,
};
use yurt_nomad::driver::{DeviceNode, Env, Mount};

use crate::said::{nothing_came_of_it, said_with};

#[tokio::test]
async fn s07_devices_and_mounts_are_in_the_task() {
    in_a_root("S07", async |node| {
        let volume = node.dir().join("volume");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("file"), "from the host\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&volume, mode).unwrap();
        let mount = |at: &str, read_only| Mount {
            task_path: at.into(),
            host_path: volume.display().to_string(),
            read_only,
            ..Mount::default()
        };
        let script = "stat -c '%F %t:%T' /dev/task-random; head -c 4 /dev/task-random | wc -c; cat /tmp/ro/file
            touch /tmp/ro/no 2>&1; echo from the task > /tmp/rw/answer; ls /tmp/ro";
        let said = said_with(node, Program::shell(script), |config| {
            config.mounts = vec![mount("/tmp/ro", true), mount("/tmp/rw", false)];
            config.devices = vec![DeviceNode {
                task_path: "/dev/task-random".into(),
                host_path: "/dev/random".into(),
                permissions: "rw".into(),
            }];
        })
        .await;
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..3], ["character special file 1:8", "4", "from the host"], "{said}");
        assert!(lines[3].contains("Read-only file system"), "{said}");
        assert_eq!(lines[4..], ["answer", "file"], "{said}");
        assert_eq!(fs::read_to_string(volume.join("answer")).unwrap(), "from the task\n");
    })
    .await;
}

#[tokio::test]
async fn s08_a_device_is_allowed_and_others_are_not() {
    in_a_root("S08", async |node| {
        // The rules hold for a root user, too: /dev/kmsg is 1:11.
        let script = "head -c 1 /dev/task-random > /dev/null && echo reads
            (echo x > /dev/task-random) 2>/dev/null || echo does not write
            mknod /dev/kmsg c 1 11 && (head -c 1 /dev/kmsg > /dev/null) 2>&1; echo end; echo ready; exec sleep 600";
        let site = node.site(false);
        let request = Request::of(Program::shell(script)).user("root");
        let mut config = node.task_config(&site, &request);
        config.devices = vec![DeviceNode {
            task_path: "/dev/task-random".into(),
            host_path: "/dev/random".into(),
            permissions: "r".into(),
        }];
        let task = node.start_at(&site, config).await.unwrap();
        task.ready().await;
        if Hierarchy::here() == Hierarchy::V1 {
            let rules = task.site.cgroups.read("devices", "devices.list");
            assert!(rules.lines().any(|rule| rule.starts_with("c 1:8 r")), "{rules}");
            assert!(!rules.lines().any(|rule| rule.starts_with('a') || rule.starts_with("c 1:11 r")), "{rules}");
        }
        let said = task.stdout().text();
        assert!(said.starts_with("reads\n"), "{said}");
        assert!(said.contains("Operation not permitted"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn s09_later_mounts_of_the_host_are_seen_as_the_volume_says() {
    in_a_root("S09", async |node| {
        for (propagation, seen, shared) in [
            ("", false, false),
            ("private", false, false),
            ("host-to-task", true, false),
            ("bidirectional", true, true),
        ] {
            let volume = node.dir().join(format!("volume-{propagation}"));
            fs::create_dir(&volume).unwrap();
            let _tmpfs = Mounted::tmpfs(&volume);
            rustix::mount::mount_change(&volume, MountPropagationFlags::SHARED).unwrap();
            fs::create_dir(volume.join("later")).unwrap();
            let site = node.site(false);
            let mut config = node.task_config(&site, &Request::of(Program::idle()));
            config.mounts = vec![Mount {
                task_path: "/volume".into(),
                host_path: volume.display().to_string(),
                propagation: propagation.into(),
                ..Mount::default()
            }];
            let task = node.start_at(&site, config).await.unwrap();
            task.ready().await;
            let later = Mounted::tmpfs(&volume.join("later"));
            fs::write(volume.join("later/file"), "").unwrap();
            let listed = task.sh("ls /volume/later").await;
            assert_eq!(listed == "file", seen, "{propagation:?}: {listed:?}");
            let table = task.sh("grep ' /volume ' /proc/self/mountinfo").await;
            assert_eq!(table.contains(" shared:"), shared, "{propagation:?}: {table}");
            task.destroy(true).await.unwrap();
            drop(later);
        }
    })
    .await;
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(at: &Path) -> Mounted {
        rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), None).unwrap();
        Mounted(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn s18_a_program_that_is_not_in_the_tasks_root_is_not_taken_from_the_host() {
    in_a_root("S18", async |node| {
        let on_host = node.dir().join("tool");
        fs::copy("/usr/bin/env", &on_host).unwrap();
        let mut paths = vec![on_host.to_str().unwrap(), "/nowhere/tool", "no-such-tool"];
        if node.is_yurt() {
            paths.push("../../../../usr/bin/mount");
        }
        for path in paths {
            let config = match node.subject.flavour {
                Flavour::Python => format!("interpreter = {}\ncode = \"1\"", quoted(path)),
                _ => format!("command = {}", quoted(path)),
            };
            let (_, why, recoverable) = refused(node.try_run(Program::config(config)).await);
            assert!(why.contains(path) && !recoverable, "{why}");
            if node.subject.flavour == Flavour::Exec {
                assert!(why.contains(&format!("file {path} not found under path")), "{why}");
            }
        }
        nothing_came_of_it(node).await;
    })
    .await;
}

/// What Yurt's device plugin mounts into a task, with one node of this number.
struct Follower<'a> {
    directory: &'a Path,
}

impl Follower<'_> {
    /// Experimental numbers: whoever may open one is told that there is no driver, and who may not, that it is not permitted.
    fn is(&self, minor: u32) {
        let node = self.directory.join("tty");
        let _ = fs::remove_file(&node);
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, &node, FileType::CharacterDevice, mode, makedev(240, minor)).unwrap();
        fs::set_permissions(&node, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        let manifest = serde_json::json!({"version": 1, "id": "sn-1", "devices": [{
            "port": "1-1", "vendor_id": "0x10c4", "product_id": "0xea60", "serial": "1", "present": true, "generation": minor,
            "nodes": [{"name": "tty", "subsystem": "tty", "interface": 0, "position": 0,
                "node": {"path": format!("/dev/ttyUSB{minor}"), "block": false, "major": 240, "minor": minor, "links": []}}],
        }]});
        fs::write(self.directory.join("draft"), manifest.to_string()).unwrap();
        fs::rename(self.directory.join("draft"), self.directory.join("manifest.json")).unwrap();
    }
}

#[tokio::test]
async fn s08_devices_of_a_directory_are_allowed_by_the_numbers_that_they_have_now() {
    of_yurt("S08", "it follows nothing", async |node| {
        if node.subject.isolation == Isolation::None {
            return;
        }
        let directory = node.dir().join("sn-1");
        fs::create_dir(&directory).unwrap();
        let follower = Follower { directory: &directory };
        follower.is(7);
        let site = node.site(false);
        let request = Request::of(Program::shell("echo ready; exec sleep 600")).user("root");
        let mut config = node.task_config(&site, &request);
        let path = directory.display().to_string();
        config.mounts =
            vec![Mount { task_path: path.clone(), host_path: path.clone(), read_only: true, ..Mount::default() }];
        // Handed out as a device, too, with another access than the directory gives.
        config.devices = vec![DeviceNode {
            task_path: "/dev/tty-of-the-start".into(),
            host_path: format!("{path}/tty"),
            permissions: "rwm".into(),
        }];
        config.device_env = Env([("YURT_USB_SN_1_DIR".to_owned(), path.clone())].into());
        let task = node.start_at(&site, config).await.unwrap();
        task.ready().await;
        let opened = format!("(: < {path}/tty) 2>&1; mknod /tmp/$1 c 240 $1 2>/dev/null; (: < /tmp/$1) 2>&1; true");
        let opens = async |task: &Task, other: u32| {
            task.sh(&opened.replace("$1", &other.to_string()))
                .await
                .lines()
                .map(|line| line.contains("No such device"))
                .collect::<Vec<_>>()
        };
        // By then the directory has been looked at once more.
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        assert_eq!(opens(&task, 8).await, [true, false], "it is 7, and not 8");

        follower.is(8);
        let renewed = async |task: &Task, now: [bool; 2], other| {
            for _ in 0..100 {
                if opens(task, other).await == now {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            panic!("{:?}, not {now:?}", opens(task, other).await);
        };
        renewed(&task, [true, false], 7).await;

        // Also by a plugin that finds the task again, with what happened meanwhile.
        node.kill_plugin().await;
        follower.is(9);
        node.relaunch().await;
        let task = node.recover(&task).await.unwrap();
        renewed(&task, [true, false], 8).await;
        task.destroy(true).await.unwrap();
    })
    .await;
}

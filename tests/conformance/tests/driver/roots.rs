//! StartTask: what a task finds in its root: devices, volumes, programs.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use yurt_conformance::driver::{
    Flavour, Hierarchy, Isolation, Program, Request, Task, in_a_root, of_yurt, quoted, refused, soon, with,
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
        // What shows the host's /usr has that one.
        if node.is_yurt() && node.subject.isolation == Isolation::Chroot {
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
        if !node.subject.isolation.has_a_root() {
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

/// What a task lists in a directory, in order.
async fn listed(task: &Task, path: &str) -> Vec<String> {
    task.sh(&format!("ls -a {path}"))
        .await
        .lines()
        .filter(|name| ![".", ".."].contains(name))
        .map(str::to_owned)
        .collect()
}

fn names_in(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test]
async fn s35_the_root_is_what_the_agent_filled() {
    with(Isolation::Chroot, "S35", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        for path in ["", "usr", "etc", "local"] {
            let seen = sorted(listed(&task, &format!("/{path}")).await);
            assert_eq!(seen, names_in(&task.site.task_dir().join(path)), "{path}");
        }
        assert!(listed(&task, "/").await.iter().any(|name| name == "usr"));
    })
    .await;
}

#[tokio::test]
async fn s35_the_root_has_the_host_s_directories_and_what_is_written_is_the_task_s_own() {
    with(Isolation::Overlay, "S35", async |node| {
        let site = node.site(false);
        site.put("etc/of-the-template", "template\n");
        site.put("secrets/token", "token\n");
        site.put("private/token", "for the agent\n");
        let request = Request::of(Program::idle()).user("root");
        let config = node.task_config(&site, &request);
        let task = node.start_at(&site, config).await.unwrap();
        task.ready().await;

        // As a chroot_env of Nomad's default ones would have it.
        let there = ["bin", "etc", "lib", "lib32", "lib64", "sbin", "usr"].into_iter();
        let mut root: Vec<String> =
            there.filter(|name| Path::new("/").join(name).exists()).map(str::to_owned).collect();
        root.extend(["alloc", "dev", "local", "private", "proc", "secrets", "sys", "tmp"].map(str::to_owned));
        let seen = sorted(listed(&task, "/").await);
        let more: Vec<&String> = seen.iter().filter(|name| !root.contains(name)).collect();
        assert!(root.iter().all(|name| seen.contains(name)) && more.iter().all(|name| *name == "run"), "{seen:?}");
        assert_eq!(sorted(listed(&task, "/usr/bin").await), names_in(Path::new("/usr/bin")));
        assert_eq!(task.sh("cat /etc/of-the-template /secrets/token; ls /private; cat /etc/hostname").await.lines().count(), 3);

        // Nothing that root does reaches the host, and all of it the task's directory.
        let mark = format!("yurt-{}", &site.alloc_id[..13]);
        let script = format!(
            "echo x > /etc/{mark}; echo x > /usr/bin/{mark}; echo x >> /etc/hostname; rm /etc/passwd; echo x > /{mark}; echo x > /alloc/data/{mark}"
        );
        let before = fs::read_to_string("/etc/hostname").unwrap();
        task.sh(&script).await;
        assert_eq!(fs::read_to_string("/etc/hostname").unwrap(), before);
        assert!(Path::new("/etc/passwd").exists());
        for path in ["/etc", "/usr/bin", "/"] {
            assert!(!Path::new(path).join(&mark).exists(), "{path}");
            let own = site.task_dir().join(path.trim_start_matches('/')).join(&mark);
            assert_eq!(fs::read_to_string(&own).unwrap(), "x\n", "{}", own.display());
        }
        assert!(site.alloc_dir.join("alloc/data").join(&mark).exists());
        // And the other way: what an agent renders later.
        site.put("local/later", "later\n");
        site.put("at-the-root", "later\n");
        assert_eq!(task.sh("cat /local/later /at-the-root").await, "later\nlater");
        // The next run finds what the first one left, as it does in a directory that the agent filled.
        task.destroy(true).await.unwrap();
        let config = node.task_config(&site, &request);
        let again = node.start_at(&site, config).await.unwrap();
        again.ready().await;
        assert_eq!(again.sh(&format!("cat /etc/{mark}; ls /etc/passwd 2>&1 | grep -c 'No such'")).await, "x\n1");
    })
    .await;
}

#[tokio::test]
async fn s35_an_artifact_runs_from_where_it_is_and_from_where_it_is_mounted() {
    in_a_root("S35", async |node| {
        let site = node.site(false);
        fs::create_dir_all(site.task_dir().join("local/tree")).unwrap();
        yurt_conformance::driver::put_program(
            &site.task_dir().join("local/tree/run"),
            "#!/bin/sh\necho runs from $0\n",
        );
        let mut config = node.task_config(
            &site,
            &Request::of(Program::shell("/local/tree/run; /opt/tree/run; cd /local/tree && ./run")),
        );
        config.mounts = vec![Mount {
            task_path: "/opt/tree".into(),
            host_path: site.task_dir().join("local/tree").display().to_string(),
            read_only: true,
            ..Mount::default()
        }];
        let task = node.start_at(&site, config).await.unwrap();
        assert_eq!(task.exit().await.code, 0);
        task.stdout().says("runs from /local/tree/run\nruns from /opt/tree/run\nruns from ./run\n").await;
    })
    .await;
}

#[tokio::test]
async fn s35_where_no_layer_can_be_the_host_s_directories_are_read_only_and_that_is_told() {
    with(Isolation::Overlay, "S35", async |node| {
        // Allocations on an overlay: no upper layer for another one.
        let site = node.site(false);
        let below = node.dir().join("layers");
        for name in ["lower", "upper", "work"] {
            fs::create_dir_all(below.join(name)).unwrap();
        }
        let at = |name: &str| below.join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        let options = std::ffi::CString::new(options).unwrap();
        let place = site.alloc_dir.join("merged");
        fs::create_dir(&place).unwrap();
        rustix::mount::mount("overlay", &place, "overlay", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        let _merged = Mounted(place.clone());
        for dir in ["alloc/data", "web/local", "web/secrets", "web/tmp"] {
            fs::create_dir_all(place.join(dir)).unwrap();
        }
        let mut events = soon(node.driver.events()).await.unwrap();
        let mut config = node.task_config(&site, &Request::of(Program::idle()).user("root"));
        config.alloc_dir = place.display().to_string();
        let task = node.start_at(&site, config).await.unwrap();
        task.ready().await;
        let said = task.sh("(echo x > /etc/x) 2>&1; echo y > /y; echo y > /alloc/data/y; cat /y").await;
        assert!(said.contains("Read-only file system") && said.ends_with('y'), "{said}");
        let told = soon(async {
            loop {
                let event = events.next().await.unwrap();
                if event.message.contains("read-only in the task") {
                    return event.message;
                }
            }
        })
        .await;
        assert!(
            told.contains("Invalid argument") && told.contains("laying the root directory over the host's"),
            "{told}"
        );
        task.destroy(true).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn s35_a_directory_in_which_allocations_lie_is_not_shown_to_tasks() {
    with(Isolation::Overlay, "S35", async |node| {
        let first = node.dir().components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
        if first == "tmp" {
            // Not to be had as one of the host's in any case.
            let why = node.configure("yurt {\nisolation = \"overlay\"\nhost_paths = [\"/tmp\"]\n}").await.unwrap_err();
            assert!(why.to_string().contains("yurt.host_paths"), "{why}");
            return;
        }
        node.configure(&format!("yurt {{\nisolation = \"overlay\"\nhost_paths = [\"/{first}\"]\n}}")).await.unwrap();
        let (_, why, _) = refused(node.try_run(Program::idle()).await);
        assert!(why.contains("yurt.host_paths") && why.contains("allocations lie there"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn s43_a_read_only_root_can_be_written_where_the_task_s_own_directories_are() {
    of_yurt("S43", "its roots can be written", async |node| {
        let script = "for d in / /etc /usr /private /alloc/data /local /secrets /tmp /dev/shm /volume; do
            (echo x > $d/file) 2>/dev/null && echo $d; done; true";
        let config = |node: &yurt_conformance::driver::Node| {
            format!("{}read_only_root = true\n", node.subject.job_config(&Program::shell(script)))
        };
        if !node.subject.isolation.has_a_root() {
            let (_, why, _) = refused(node.try_run(Program::config(config(node))).await);
            assert!(why.contains("wishes.read-only-root"), "{why}");
            return;
        }
        let volume = node.dir().join("volume");
        fs::create_dir(&volume).unwrap();
        let site = node.site(false);
        let mut request = node.task_config(&site, &Request::of(Program::config(config(node))).user("root"));
        request.mounts =
            vec![Mount { task_path: "/volume".into(), host_path: volume.display().to_string(), ..Mount::default() }];
        let task = node.start_at(&site, request).await.unwrap();
        assert_eq!(task.exit().await.code, 0);
        task.stdout().says("/alloc/data\n/local\n/secrets\n/tmp\n/dev/shm\n/volume\n").await;
        assert!(!site.task_dir().join("file").exists() && site.task_dir().join("tmp/file").exists());
    })
    .await;
}

#[tokio::test]
async fn s06_a_task_starts_where_its_root_cannot_be_pivoted_to() {
    of_yurt("S06", "it is told to, by no_pivot_root", async |node| {
        if !node.subject.isolation.has_a_root() {
            return;
        }
        // pivot_root(2) takes none whose parent is shared; of an initial ramdisk it says the same.
        let root = node.dir().join("shared");
        fs::create_dir(&root).unwrap();
        let root = root.display();
        let setup = format!("mount --make-shared /; mount --rbind / {root}; exec chroot {root} \"$0\" \"$@\"");
        node.end_plugin().await;
        node.hide(&setup);
        node.relaunch().await;
        let task =
            node.run(Program::shell("ls -d /home /root 2>&1 | grep -c 'No such'; echo ready; exec sleep 600")).await;
        task.ready().await;
        assert!(task.stdout().text().starts_with("2\n"), "{}", task.stdout().text());
        assert_eq!(task.sh("ls -d /usr /local; ls /../../home 2>&1 | grep -c 'No such'").await, "/local\n/usr\n1");
        task.destroy(true).await.unwrap();
    })
    .await;
}

//! StartTask.

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use yurt_conformance::driver::{
    Flavour, Hierarchy, Isolation, Node, Program, Request, Task, children, each, exists, in_a_root, in_the_hosts_files,
    namespace, of_yurt, quoted, refused, soon, status_field, until,
};
use yurt_nomad::driver::{
    DeviceNode, Dns, ExitResult, HostsEntry, MemoryMax, Mount, NetworkIsolation, NetworkMode, TaskConfig,
};

/// Runs a shell text to its good end; what it printed.
async fn said(node: &mut Node, request: impl Into<Request>) -> String {
    let task = node.run(request).await;
    assert_eq!(task.exit().await, ExitResult::code(0), "{}{}", task.stdout().text(), task.stderr().text());
    task.destroy(true).await.unwrap();
    task.stdout().whole().await
}

/// The same with something else in the task than what a request can say.
async fn said_with(node: &mut Node, program: Program, change: impl FnOnce(&mut TaskConfig)) -> String {
    let site = node.site(false);
    let mut config = node.task_config(&site, &Request::of(program));
    change(&mut config);
    let task = node.start_at(&site, config).await.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(task.exit().await, ExitResult::code(0), "{}{}", task.stdout().text(), task.stderr().text());
    task.destroy(true).await.unwrap();
    task.stdout().whole().await
}

/// Nothing runs that belongs to the plugin, and nothing of the task is there.
async fn nothing_came_of_it(node: &Node) {
    until("no children of the plugin", || children(node.plugin_pid()).is_empty()).await;
    node.nothing_is_left().await;
}

#[tokio::test]
async fn s01_a_program_that_ends_well_is_told_as_such() {
    each("S01", async |node| {
        let task = node.run(Program::shell("echo hello")).await;
        assert_eq!(task.exit().await, ExitResult::code(0));
        task.stdout().says("hello\n").await;
        assert!(task.stderr().is_empty(), "{}", task.stderr().text());
    })
    .await;
}

#[tokio::test]
async fn s02_what_a_task_writes_to_the_shared_directory_is_there() {
    each("S02", async |node| {
        let task = node
            .run(Program::shell("echo shared > $NOMAD_ALLOC_DIR/data/file && echo own > $NOMAD_TASK_DIR/file"))
            .await;
        assert_eq!(task.exit().await, ExitResult::code(0), "{}", task.stderr().text());
        assert_eq!(fs::read_to_string(task.site.alloc_dir.join("alloc/data/file")).unwrap(), "shared\n");
        assert_eq!(fs::read_to_string(task.site.task_dir().join("local/file")).unwrap(), "own\n");
    })
    .await;
}

#[tokio::test]
async fn s03_a_task_works_where_it_is_told_to() {
    each("S03", async |node| {
        let site = node.site(false);
        let dir = site.alloc_path("data");
        let program = node.subject.job_config(&Program::shell("pwd"));
        let program = Program::config(format!("{program}work_dir = {}\n", quoted(&dir)));
        let config = node.task_config(&site, &Request::of(program));
        let task = node.start_at(&site, config).await.unwrap();
        task.stdout().says(&format!("{dir}\n")).await;
        assert_eq!(task.exit().await, ExitResult::code(0));
    })
    .await;
}

#[tokio::test]
async fn s03_without_a_word_a_task_works_in_its_own_directory() {
    each("S03", async |node| {
        let task = node.run(Program::shell("pwd -P")).await;
        let dir = match node.subject.isolation {
            Isolation::Chroot => "/".to_owned(),
            Isolation::None => task.site.task_dir().display().to_string(),
        };
        task.stdout().says(&format!("{dir}\n")).await;
    })
    .await;
}

#[tokio::test]
async fn s03_a_relative_script_is_found_in_the_work_dir() {
    of_yurt("S03", "a job of it says the whole command", async |node| {
        let site = node.site(false);
        site.put("local/app/hello.py", "print('hello from', __file__)");
        let dir = site.local_path("app");
        let program = Program::config(format!("script = \"hello.py\"\nwork_dir = {}", quoted(&dir)));
        let config = node.task_config(&site, &Request::of(program));
        let task = node.start_at(&site, config).await.unwrap();
        task.stdout().says("hello from").await;
        assert_eq!(task.exit().await, ExitResult::code(0));
    })
    .await;
}

#[tokio::test]
async fn s04_an_unknown_user_is_refused() {
    each("S04", async |node| {
        let (_, why, recoverable) = refused(node.try_run(Request::of(Program::idle()).user("alice")).await);
        assert!(why.contains("user") && why.contains("alice"), "{why}");
        assert!(!recoverable);
        nothing_came_of_it(node).await;
    })
    .await;
}

#[tokio::test]
async fn s05_a_start_that_fails_leaves_no_process_and_no_member_of_a_control_group() {
    each("S05", async |node| {
        let missing = match node.subject.flavour {
            Flavour::Python => "interpreter = \"/no/such/program\"\ncode = \"1\"",
            _ => "command = \"/no/such/program\"",
        };
        for _ in 0..3 {
            refused(node.try_run(Program::config(missing)).await);
            refused(node.try_run(Request::of(Program::idle()).user("alice")).await);
        }
        nothing_came_of_it(node).await;
    })
    .await;
}

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
    fn tmpfs(at: &std::path::Path) -> Mounted {
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
async fn s10_name_servers_are_those_of_the_job_else_the_systems() {
    in_a_root("S10", async |node| {
        let resolv = || Program::shell("cat /etc/resolv.conf");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(said(node, resolv()).await, fs::read_to_string("/etc/resolv.conf").unwrap());
        let basic = Dns { servers: words(&["1.1.1.1", "1.0.0.1"]), ..Dns::default() };
        let text = said_with(node, resolv(), |config| config.dns = Some(basic)).await;
        assert!(text.contains("nameserver 1.1.1.1\nnameserver 1.0.0.1\n"), "{text}");
        let full = Dns {
            servers: words(&["1.1.1.1"]),
            searches: words(&["local.test", "node.consul"]),
            options: words(&["ndots:2", "edns0"]),
        };
        let text = said_with(node, resolv(), |config| config.dns = Some(full)).await;
        for line in ["nameserver 1.1.1.1", "search local.test node.consul", "options ndots:2 edns0"] {
            assert!(text.lines().any(|have| have == line), "{line}: {text}");
        }
        // What lies in the root stays as it is, for all tasks have it in common.
        assert_eq!(said(node, resolv()).await, fs::read_to_string("/etc/resolv.conf").unwrap());
    })
    .await;
}

/// A network namespace, held by a process.
struct Network(std::process::Child);

impl Network {
    fn new() -> Network {
        let mut command = std::process::Command::new("unshare");
        Network(command.args(["--net", "sleep", "600"]).stdin(std::process::Stdio::null()).spawn().unwrap())
    }

    async fn isolation(&self) -> NetworkIsolation {
        let (pid, own) = (self.0.id(), namespace(std::process::id(), "net"));
        until("a network namespace", || exists(pid) && namespace(pid, "net") != own).await;
        NetworkIsolation {
            mode: NetworkMode::Group,
            path: format!("/proc/{pid}/ns/net"),
            ..NetworkIsolation::default()
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn s11_a_group_with_a_network_of_its_own_has_its_line_in_the_hosts_file() {
    in_a_root("S11", async |node| {
        let network = Network::new();
        let mut isolation = network.isolation().await;
        isolation.hosts = Some(HostsEntry { hostname: "web-1".into(), address: "172.26.64.5".into() });
        let text = said_with(node, Program::shell("cat /etc/hosts"), |config| config.network = Some(isolation)).await;
        let has = |address: &str, name: &str| {
            text.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == [address, name])
        };
        assert!(has("172.26.64.5", "web-1"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("127.0.0.1")), "{text}");
    })
    .await;
}

#[tokio::test]
async fn s14_a_task_has_the_usual_capabilities_and_no_others() {
    in_a_root("S14", async |node| {
        let masks = async |node: &mut Node, user: &str| {
            let request = Request::of(Program::shell("grep ^Cap /proc/self/status")).user(user);
            let text = said(node, request).await;
            let mask = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
            };
            ["CapPrm", "CapEff", "CapBnd"].map(mask)
        };
        const USUAL: u64 = 0xa804_05fb;
        // Nomad's own drivers leave a user like nobody all of them; here who is not root has none.
        let of_nobody = if node.is_yurt() { [0, 0, USUAL] } else { [USUAL; 3] };
        assert_eq!(masks(node, "nobody").await, of_nobody);
        // As root there is no more to be had.
        let [permitted, effective, bounding] = masks(node, "root").await;
        assert_eq!((permitted, effective), (bounding, bounding));
        assert_eq!(bounding & !USUAL, 0, "{bounding:x}");
    })
    .await;
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

#[tokio::test]
async fn s21_a_task_in_its_own_root_has_namespaces_of_its_own() {
    in_a_root("S21", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let (own, pid) = (std::process::id(), task.process("sleep").await);
        for kind in ["pid", "mnt", "ipc"] {
            assert_ne!(namespace(pid, kind), namespace(own, kind), "{kind}");
        }
        for kind in ["net", "user"] {
            assert_eq!(namespace(pid, kind), namespace(own, kind), "{kind}");
        }
        let seen = task.sh("ls -d /proc/[0-9]* | wc -l").await;
        assert!(seen.parse::<u32>().unwrap() <= 8, "the task sees {seen} processes");
    })
    .await;
}

#[tokio::test]
async fn s21_without_isolation_a_task_has_the_hosts_namespaces() {
    in_the_hosts_files("S21", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let (own, pid) = (std::process::id(), task.process("sleep").await);
        for kind in ["pid", "mnt", "ipc", "net", "uts", "user"] {
            assert_eq!(namespace(pid, kind), namespace(own, kind), "{kind}");
        }
        assert_eq!(task.pid().await, pid);
    })
    .await;
}

/// Memory limit, reservation and weight, as the kernel has them.
fn limits(task: &Task) -> (String, String, u64) {
    let read = |controller, file| task.site.cgroups.read(controller, file);
    match Hierarchy::here() {
        Hierarchy::V1 => (
            read("memory", "memory.limit_in_bytes"),
            read("memory", "memory.soft_limit_in_bytes"),
            read("cpu", "cpu.shares").parse().unwrap(),
        ),
        Hierarchy::V2 => {
            (read("memory", "memory.max"), read("memory", "memory.low"), read("cpu", "cpu.weight").parse().unwrap())
        }
    }
}

/// A weight as the kernel has it, from one in terms of version 1.
fn weight(shares: u64) -> u64 {
    match Hierarchy::here() {
        Hierarchy::V1 => shares,
        Hierarchy::V2 => 1 + (shares - 2) * 9999 / 262_142,
    }
}

#[tokio::test]
async fn s22_memory_and_processor_are_limited_as_the_job_says() {
    each("S22", async |node| {
        let unlimited = match Hierarchy::here() {
            Hierarchy::V1 => "9223372036854771712",
            Hierarchy::V2 => "max",
        };
        let bytes = |mb: u64| (mb << 20).to_string();
        for (memory_max, hard, reserved) in [
            (MemoryMax::Reserved, bytes(96), None),
            (MemoryMax::Mb(160), bytes(160), Some(bytes(96))),
            (MemoryMax::Unlimited, unlimited.to_owned(), Some(bytes(96))),
        ] {
            let mut request = Request::of(Program::idle()).memory(96);
            (request.memory_max, request.cpu) = (memory_max, 1500);
            let task = node.run(request).await;
            task.ready().await;
            let (limit, reservation, shares) = limits(&task);
            assert_eq!(limit, hard, "{memory_max:?}");
            if let Some(reserved) = reserved {
                assert_eq!(reservation, reserved, "{memory_max:?}");
            }
            // The newest kernels reckon a weight from shares in another way.
            let close = weight(1500).abs_diff(shares) <= weight(1500) / 2 || Hierarchy::here() == Hierarchy::V2;
            assert!(close && shares > 1, "{shares}");
        }
    })
    .await;
}

#[tokio::test]
async fn s22_whole_cores_are_the_tasks_own() {
    each("S22", async |node| {
        let mut request = Request::of(Program::idle());
        request.cores = Some("1".into());
        let task = node.run(request).await;
        task.ready().await;
        let pid = task.process("sleep").await;
        assert_eq!(status_field(pid, "Cpus_allowed_list").as_deref(), Some("1"));
    })
    .await;
}

#[tokio::test]
async fn s23_a_task_is_in_the_agents_control_groups() {
    each("S23", async |node| {
        let task = node.run(Program::shell("cat /proc/self/cgroup; echo ready; exec sleep 600")).await;
        task.ready().await;
        let pid = task.process("sleep").await;
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let scope = format!("{}.web", task.config.alloc_id);
        match Hierarchy::here() {
            Hierarchy::V1 => {
                for controller in ["freezer", "cpu", "memory"] {
                    let line = groups.lines().find(|line| line.split(':').nth(1) == Some(controller)).unwrap();
                    assert!(line.ends_with(&format!("/nomad/{scope}")), "{line}");
                }
                assert!(groups.lines().any(|line| line.ends_with("cpuset:/nomad/share")), "{groups}");
            }
            Hierarchy::V2 => {
                let line = groups.lines().find(|line| line.starts_with("0::")).unwrap();
                assert!(
                    line.contains("/nomad.slice/share.slice/") && line.ends_with(&format!("{scope}.scope")),
                    "{line}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn s24_shares_are_what_the_kernel_takes() {
    each("S24", async |node| {
        for (cpu, shares) in [(0, 2), (1, 2), (2, 2), (1000, 1000)] {
            let mut request = Request::of(Program::idle());
            request.cpu = cpu;
            let task = node.run(request).await;
            task.ready().await;
            let (_, _, have) = limits(&task);
            assert!(have == weight(shares) || Hierarchy::here() == Hierarchy::V2 && have >= 1, "{cpu}: {have}");
        }
    })
    .await;
}

#[tokio::test]
async fn s24_on_a_node_with_more_than_the_kernels_largest_weight_shares_are_a_part_of_it() {
    each("S24", async |node| {
        if Hierarchy::here() == Hierarchy::V2 || node.subject.flavour == Flavour::RawExec {
            return;
        }
        let cores = std::thread::available_parallelism().unwrap().get() as u64;
        node.configure_with_mhz(262_144 * 2 / cores).await;
        let mut request = Request::of(Program::idle());
        request.cpu = 1024;
        let task = node.run(request).await;
        task.ready().await;
        assert_eq!(limits(&task).2, 512);
    })
    .await;
}

#[tokio::test]
async fn s26_a_task_does_not_inherit_the_plugins_oom_score() {
    each("S26", async |node| {
        let file = format!("/proc/{}/oom_score_adj", node.plugin_pid());
        // Not every root may lower it.
        fs::write(&file, "-100").or_else(|_| fs::write(&file, "300")).unwrap();
        assert_eq!(said(node, Program::shell("cat /proc/self/oom_score_adj")).await, "0\n");
    })
    .await;
}

#[tokio::test]
async fn s27_nothing_but_the_task_is_in_its_control_groups() {
    each("S27", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let pid = task.process("sleep").await;
        // An init of the task's own pid namespace is part of it.
        let is_own = |other: u32| {
            other == pid || status_field(other, "NSpid").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("1"))
        };
        assert!(task.processes().into_iter().all(is_own), "{:?}", task.processes());
        if Hierarchy::here() == Hierarchy::V1 {
            for controller in ["cpu", "memory"] {
                let members = task.site.cgroups.read(controller, "cgroup.procs");
                assert!(members.lines().all(|pid| is_own(pid.parse().unwrap())), "{controller}: {members}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn s28_the_environment_names_the_user() {
    each("S28", async |node| {
        let nobody = fs::read_to_string("/etc/passwd").unwrap();
        let home =
            nobody.lines().find(|line| line.starts_with("nobody:")).unwrap().split(':').nth(5).unwrap().to_owned();
        let program = Program::shell("echo $USER $LOGNAME $HOME; id -u; id -g; id -G");
        let said = said(node, Request::of(program).user("nobody").env("HOME", "/root").env("USER", "root")).await;
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], format!("nobody nobody {home}"));
        assert_eq!(lines[1], "65534");
        if node.subject.flavour != Flavour::Exec {
            assert_eq!(lines[2..], ["65534", "65534"]);
        }
    })
    .await;
}

#[tokio::test]
async fn s28_without_a_user_in_the_job_it_is_nobody() {
    each("S28", async |node| {
        let user = if node.subject.flavour == Flavour::RawExec { "root" } else { "nobody" };
        assert_eq!(said(node, Program::shell("id -un")).await.trim(), user);
    })
    .await;
}

#[tokio::test]
async fn s29_what_an_earlier_task_left_in_the_control_group_is_gone_before_the_start() {
    each("S29", async |node| {
        let site = node.site(false);
        let mut old = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let controllers: &[&str] =
            if Hierarchy::here() == Hierarchy::V1 { &["freezer", "cpu", "memory"] } else { &["all"] };
        for controller in controllers {
            fs::write(site.cgroups.dir(controller).join("cgroup.procs"), old.id().to_string()).unwrap();
        }
        // Somebody has to take its end, as a supervisor of its own would.
        let end = std::thread::spawn(move || old.wait().unwrap());
        let config = node.task_config(&site, &Request::of(Program::idle()));
        let task = node.start_at(&site, config).await.unwrap();
        task.ready().await;
        until("the end of the old process", || end.is_finished()).await;
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn s30_the_handle_is_small_and_holds_no_secret() {
    of_yurt("S30", "its state holds the whole task, environment included", async |node| {
        let task = node.run(Request::of(Program::idle()).env("TOKEN", "s.ecret-9f1c")).await;
        assert!(task.handle.version >= 1);
        let state = &task.handle.driver_state.0;
        assert!((32..=400).contains(&state.len()), "{} bytes", state.len());
        assert!(!state.windows(8).any(|part| part == b"s.ecret-"), "{state:?}");
        let on_disk = files_below(node.dir()).into_iter().filter(|path| !path.starts_with(&task.site.alloc_dir));
        for path in on_disk {
            let bytes = fs::read(&path).unwrap_or_default();
            assert!(!bytes.windows(12).any(|part| part == b"s.ecret-9f1c"), "{}", path.display());
        }
    })
    .await;
}

#[tokio::test]
async fn s30_a_handle_is_given_for_a_task_that_runs() {
    each("S30", async |node| {
        let task = node.run(Program::idle()).await;
        assert!(!node.is_yurt() || task.handle.state == yurt_nomad::driver::TaskState::Running);
        assert_eq!(task.handle.config.id, task.id());
        assert!(!task.handle.driver_state.0.is_empty());
    })
    .await;
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

#[tokio::test]
async fn s31_the_same_id_twice_is_refused() {
    each("S31", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let (_, message, _) = refused(soon(node.driver.start(&task.config)).await);
        assert!(message.contains(&format!("task with ID {:?} already started", task.id())), "{message}");
        assert!(task.runs().await);
    })
    .await;
}

#[tokio::test]
async fn s32_what_another_try_cannot_mend_is_not_called_recoverable() {
    each("S32", async |node| {
        let requests = [Request::of(Program::idle()).user("alice"), {
            let name = if node.is_yurt() { "interpreter" } else { "command" };
            let code = if node.is_yurt() { "\ncode = \"1\"" } else { "" };
            Request::of(Program::config(format!("{name} = \"/no/such/program\"{code}")))
        }];
        for request in requests {
            let (_, why, recoverable) = refused(node.try_run(request).await);
            assert!(!recoverable, "{why}");
        }
    })
    .await;
}

#[tokio::test]
async fn s36_the_network_of_the_group_is_joined() {
    each("S36", async |node| {
        let network = Network::new();
        let isolation = network.isolation().await;
        let site = node.site(false);
        let mut config = node.task_config(&site, &Request::of(Program::idle()));
        config.network = Some(isolation);
        let task = node.start_at(&site, config).await.unwrap();
        task.ready().await;
        let pid = task.process("sleep").await;
        assert_eq!(namespace(pid, "net"), namespace(network.0.id(), "net"));
        assert_eq!(
            task.sh("ls /proc/self/ns/net > /dev/null; readlink /proc/self/ns/net").await,
            namespace(pid, "net").display().to_string()
        );
        task.destroy(true).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn s37_a_tasks_variables_are_those_of_the_job_alone() {
    each("S37", async |node| {
        node.kill_plugin().await;
        node.agent().env.extend([("FRUIT".into(), "of the host".into()), ("ONLY_HOST".into(), "x".into())]);
        node.relaunch().await;
        let program =
            Program::shell("echo \"$FRUIT\"; echo \"<$ONLY_HOST$NOMAD_PLUGIN_MAGIC_COOKIE$PLUGIN_MIN_PORT>\"");
        let said = said(node, Request::of(program).env("FRUIT", "of the task")).await;
        assert_eq!(said, "of the task\n<>\n");
    })
    .await;
}

#[tokio::test]
async fn s38_a_venv_stays_a_venv() {
    of_yurt("S38", "it knows no interpreters", async |node| {
        let site = node.site(false);
        site.put("local/venv/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n");
        fs::create_dir(site.task_dir().join("local/venv/bin")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/python3", site.task_dir().join("local/venv/bin/python")).unwrap();
        let venv = site.local_path("venv");
        let code = "import os, sys; print(sys.prefix, os.environ.get('VIRTUAL_ENV'), sys.base_prefix, sep='\\n')";
        let program = Program::config(format!("venv = {}\ncode = {}", quoted(&venv), quoted(code)));
        let config = node.task_config(&site, &Request::of(program));
        let task = node.start_at(&site, config).await.unwrap();
        assert_eq!(task.exit().await, ExitResult::code(0), "{}", task.stderr().text());
        task.stdout().says(&format!("{venv}\n{venv}\n/usr\n")).await;
    })
    .await;
}

#[tokio::test]
async fn s39_a_line_is_in_the_log_as_soon_as_it_is_printed() {
    of_yurt("S39", "it knows nothing of Python's buffers", async |node| {
        let code = "import time\nprint(time.time())\ntime.sleep(600)";
        let task = node.run(Program::python(code)).await;
        task.stdout().says("\n").await;
        let age = task.stdout().first_at().unwrap().elapsed();
        let arrived = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - age;
        let printed = Duration::from_secs_f64(task.stdout().text().trim().parse().unwrap());
        let took = arrived.saturating_sub(printed);
        assert!(took < Duration::from_millis(200), "{took:?}");
    })
    .await;
}

#[tokio::test]
async fn s40_something_else_in_the_place_of_a_log_pipe_is_refused() {
    of_yurt("S40", "it follows the link", async |node| {
        let target = node.dir().join("secret");
        fs::write(&target, "untouched").unwrap();
        type Put = fn(&std::path::Path, &std::path::Path);
        let link: Put = |at, target| std::os::unix::fs::symlink(target, at).unwrap();
        let file: Put = |at, _| fs::write(at, "").unwrap();
        let dangling: Put = |at, target| std::os::unix::fs::symlink(target.with_extension("not"), at).unwrap();
        for (put, both) in [(link, true), (file, false), (dangling, false)] {
            let site = node.site(false);
            let config = node.task_config(&site, &Request::of(Program::shell("echo written")));
            let path = std::path::Path::new(if both { &config.stdout_path } else { &config.stderr_path });
            fs::remove_file(path).unwrap();
            put(path, &target);
            let (_, why, _) = refused(node.start_at(&site, config.clone()).await);
            assert!(why.contains(path.to_str().unwrap()), "{why}");
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
        nothing_came_of_it(node).await;
    })
    .await;
}

#[tokio::test]
async fn s40_logs_may_be_thrown_away() {
    each("S40", async |node| {
        let site = node.site(false);
        let mut config = node.task_config(&site, &Request::of(Program::shell("echo lost; echo lost >&2; exit 5")));
        (config.stdout_path, config.stderr_path) = ("/dev/null".into(), "/dev/null".into());
        let task = node.start_at(&site, config).await.unwrap();
        assert_eq!(task.exit().await, ExitResult::code(5));
    })
    .await;
}

//! Namespaces of users, control groups and time: what a task and its commands see in them, and what of the host's they cannot change.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use yurt_task::{
    Access, Capabilities, Identity, Isolation, Launch, Mount, Namespaces, Propagation, ResourceLimit, RootDirectory,
    Task, Unveil, Unveiled, landlock,
};

use crate::commands::{all, shell};
use crate::rig::{Rig, end, eventually, is_root, patience};

/// Those that every task has, and a host name.
const USUAL: Namespaces =
    Namespaces { pid: true, init: false, ipc: true, uts: true, user: false, cgroup: false, time: false };
const OWN: Namespaces = Namespaces { user: true, cgroup: true, time: true, ..USUAL };
const KINDS: [&str; 3] = ["user", "cgroup", "time"];

fn somebody(uid: u32, bounding: u64) -> Option<Identity> {
    let capabilities = Capabilities { bounding, ambient: 0 };
    Some(Identity { uid, gid: uid, groups: vec![uid], capabilities, no_new_privileges: true })
}

/// A root in which this machine's programs are.
fn root(rig: &Rig, namespaces: Namespaces) -> Isolation {
    let path = rig.dir.path().join("root");
    fs::create_dir_all(&path).unwrap();
    let programs = ["/bin", "/lib", "/lib64", "/usr"].into_iter().filter(|path| Path::new(path).exists());
    let mount = |path: &str| Mount {
        source: path.to_owned(),
        target: path.to_owned(),
        read_only: true,
        propagation: Propagation::Private,
    };
    Isolation::Chroot(Box::new(RootDirectory {
        mounts: programs.map(mount).collect(),
        ..RootDirectory::of(path, namespaces)
    }))
}

/// The same beside the host's files; none where the kernel cannot.
fn unveiled(namespaces: Namespaces) -> Option<Isolation> {
    landlock::available().ok()?;
    let access = Access { read: true, write: true, execute: true, ..Access::default() };
    let paths = ["/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/usr"].map(|path| Unveil {
        path: path.to_owned(),
        below: String::new(),
        access,
        needed: false,
    });
    let paths = paths.to_vec();
    Some(Isolation::Landlock(Box::new(Unveiled { namespaces, paths, hidden: Vec::new() })))
}

async fn begun(rig: &Rig, launch: Launch) -> Task {
    rig.tasks().start(launch).await.unwrap_or_else(|why| panic!("{why}"))
}

async fn over(rig: &Rig, task: Task) {
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    end(&task).await;
    rig.nothing_is_left();
}

/// What a task says that ends well.
async fn said(rig: &Rig, launch: Launch) -> String {
    let task = begun(rig, launch).await;
    let code = end(&task).await.code;
    let log = rig.log();
    assert_eq!(code, 0, "{log}");
    rig.nothing_is_left();
    log
}

async fn answer(task: &Task, script: &str) -> String {
    let (out, errors, exit) = all(task.exec(shell(script)).await.unwrap()).await;
    assert_eq!(exit.code, 0, "{script}: {out}{errors}");
    out
}

fn namespace(pid: u32, kind: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

#[tokio::test]
async fn a_task_its_init_and_its_commands_share_those_that_it_asked_for_and_have_the_host_s_else() {
    if !is_root() {
        return;
    }
    for rig in Rig::both() {
        for init in [false, true] {
            for (at, kind) in KINDS.into_iter().enumerate() {
                let own = Namespaces { init, user: at == 0, cgroup: at == 1, time: at == 2, ..USUAL };
                for isolation in [Some(root(&rig, own)), unveiled(own)].into_iter().flatten() {
                    let task = begun(
                        &rig,
                        Launch { isolation, identity: somebody(65534, 0), ..rig.launch(&["sleep", "1000"]) },
                    )
                    .await;
                    let in_a_command =
                        answer(&task, "for kind in user cgroup time; do readlink /proc/self/ns/$kind; done").await;
                    let in_a_command: Vec<PathBuf> = in_a_command.lines().map(PathBuf::from).collect();
                    let of = |pid| KINDS.map(|kind| namespace(pid, kind)).to_vec();
                    assert_eq!(in_a_command, of(task.pid()), "{kind}");
                    for pid in task.processes() {
                        assert_eq!(of(pid), of(task.pid()), "{kind}");
                    }
                    for (other, name) in KINDS.into_iter().enumerate() {
                        let is_the_host_s = namespace(task.pid(), name) == namespace(std::process::id(), name);
                        assert_eq!(is_the_host_s, other != at, "{name} with {kind}");
                    }
                    over(&rig, task).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn its_control_groups_are_roots_to_it() {
    if !is_root() {
        return;
    }
    for rig in Rig::both() {
        let launch = Launch {
            isolation: root(&rig, OWN),
            identity: somebody(65534, 0),
            ..rig.shell("cat /proc/self/cgroup; sleep 1000")
        };
        let task = begun(&rig, launch).await;
        let mut log = String::new();
        let whole = eventually(|| {
            log.push_str(&rig.log());
            log.contains("0::") && log.ends_with('\n')
        });
        assert!(whole.await, "{log}");
        assert!(log.lines().all(|line| line.ends_with(":/")), "{log}");
        let of_a_command = answer(&task, "cat /proc/self/cgroup").await;
        assert!(
            of_a_command.lines().all(|line| line.ends_with(":/") || line.ends_with(":/exec-1.scope")),
            "{of_a_command}"
        );
        assert!(!of_a_command.contains(&rig.name), "{of_a_command}");
        over(&rig, task).await;
    }
}

#[tokio::test]
async fn its_clocks_begin_with_it_and_no_process_of_it_began_before() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    // Both clocks, and when this process and process 1 began, in hundredths.
    let look = "import time; own = open('/proc/self/stat').read(), open('/proc/1/stat').read()\n\
                print(time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(time.CLOCK_BOOTTIME), \
                open('/proc/uptime').read().split()[0], *[int(stat.rsplit(')')[1].split()[19]) / 100 for stat in own])";
    let numbers = |said: &str| said.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<f64>>();
    for init in [false, true] {
        let isolation = root(&rig, Namespaces { init, ..OWN });
        let launch =
            |argv: &[&str]| Launch { isolation: isolation.clone(), identity: somebody(65534, 0), ..rig.launch(argv) };
        let told = numbers(&said(&rig, launch(&["python3", "-c", look])).await);
        let soon = patience(Duration::from_secs(10)).as_secs_f64();
        assert!(told.len() == 5 && told.iter().all(|seconds| (0.0..soon).contains(seconds)), "{told:?}");
        let task = begun(&rig, launch(&["sleep", "1000"])).await;
        let of_a_command = numbers(&answer(&task, &format!("python3 -c \"{look}\"")).await);
        assert!(of_a_command.iter().all(|seconds| (0.0..soon).contains(seconds)), "{of_a_command:?}");
        // From here it is as it ever was.
        assert!(task.started_at().elapsed().unwrap().as_secs_f64() < soon);
        assert!(task.stats().is_ok());
        over(&rig, task).await;
    }
}

/// What takes privileges, and an expression that does it or fails.
const TRIES: [(&str, &str); 8] = [
    ("mount", "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)"),
    ("remount", "libc.mount(b'none', b'/usr', None, 0x1020, None)"),
    ("umount", "libc.umount2(b'/dev/shm', 2)"),
    ("hostname", "socket.sethostname('yurt')"),
    ("node", "os.mknod('/dev/mem', 0o20600, os.makedev(1, 1))"),
    ("raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    ("network", "socket.if_nameindex() and fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH', b'lo', 0x49))"),
    ("clock", "time.clock_settime(time.CLOCK_REALTIME, time.time())"),
];

/// Tells each and how it went.
fn tries(which: &[(&str, &str)]) -> String {
    let begin = "import ctypes, errno, fcntl, os, socket, struct, time\n\
                 libc = ctypes.CDLL(None, use_errno=True)\n\
                 def tried(name, call):\n    \
                     try: number = ctypes.get_errno() if call() == -1 else 0\n    \
                     except OSError as why: number = why.errno\n    \
                     print(name, errno.errorcode.get(number, 'done'))\n";
    which.iter().fold(begin.to_owned(), |all, (name, call)| format!("{all}tried({name:?}, lambda: {call})\n"))
}

#[tokio::test]
async fn root_with_every_capability_changes_nothing_of_the_host_s_from_a_user_namespace() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    for init in [false, true] {
        let isolation = root(&rig, Namespaces { init, ..OWN });
        fs::create_dir_all(rig.dir.path().join("root/tmp")).unwrap();
        let whole = tries(&TRIES);
        let launch = |argv: &[&str]| Launch {
            isolation: isolation.clone(),
            identity: somebody(0, u64::MAX),
            ..rig.launch(argv)
        };
        let told = said(&rig, launch(&["python3", "-c", &whole])).await;
        let refused =
            |told: &str| told.lines().count() == TRIES.len() && told.lines().all(|line| line.ends_with(" EPERM"));
        assert!(refused(&told), "{told}");
        let task = begun(&rig, launch(&["sleep", "1000"])).await;
        let told = answer(&task, &format!("cat > /tmp/tries <<'end'\n{whole}end\npython3 /tmp/tries")).await;
        assert!(refused(&told), "{told}");
        over(&rig, task).await;
    }
    // What is refused is refused by the namespace: without it the same root does some of it in its own mounts, host name and nodes.
    let alone = Namespaces { user: false, ..OWN };
    let launch = Launch {
        isolation: root(&rig, alone),
        identity: somebody(0, u64::MAX),
        ..rig.launch(&["python3", "-c", &tries(&TRIES[..5])])
    };
    let told = said(&rig, launch).await;
    assert!(told.lines().all(|line| line.ends_with(" done")), "{told}");
}

#[tokio::test]
async fn ids_are_what_they_are_outside_and_capabilities_are_no_more_than_granted() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let usual: u64 = 0xa804_05fb;
    for init in [false, true] {
        let isolation = root(&rig, Namespaces { init, ..OWN });
        let theirs = rig.dir.path().join("root/theirs");
        fs::write(&theirs, "theirs\n").unwrap();
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&theirs, Some(1234), Some(1235)).unwrap();
        let limits = yurt_task::Limits {
            resources: vec![ResourceLimit { resource: 7, soft: 77, hard: 77 }],
            ..yurt_task::Limits::default()
        };
        let look = "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; id -G; stat -c '%u %g' /theirs; ulimit -n; \
                    cat /theirs || echo no; grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status /proc/1/status | cut -f2";
        let own = |file| fs::read_to_string(file).unwrap();
        for (uid, may) in [(0, true), (65534, false)] {
            let launch = |argv: &[&str]| Launch {
                isolation: isolation.clone(),
                identity: somebody(uid, usual),
                limits: limits.clone(),
                ..rig.launch(argv)
            };
            let told = said(&rig, launch(&["sh", "-c", look])).await;
            let task = begun(&rig, launch(&["sleep", "1000"])).await;
            for told in [told, answer(&task, look).await] {
                let lines: Vec<&str> = told.lines().collect();
                assert_eq!(
                    format!("{}\n{}\n", lines[0], lines[1]),
                    own("/proc/self/uid_map") + &own("/proc/self/gid_map")
                );
                let id = uid.to_string();
                assert_eq!(lines[2..7], [&id, &id, &id, "1234 1235", "77"]);
                assert_eq!(lines.contains(&"theirs"), may, "{told}");
                let sets: Vec<u64> =
                    lines.iter().rev().take(6).map(|set| u64::from_str_radix(set, 16).unwrap()).collect();
                let held = if uid == 0 { usual } else { 0 };
                assert_eq!(sets, [usual, held, held, usual, held, held], "{told}");
            }
            over(&rig, task).await;
        }
    }
}

#[tokio::test]
async fn signals_and_the_end_reach_a_task_in_there_and_a_user_has_to_be_named() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    for init in [false, true] {
        let isolation = root(&rig, Namespaces { init, ..OWN });
        let script = "trap 'echo heard; exit 7' TERM; echo up; while :; do sleep 0.05; done";
        let launch = Launch { isolation: isolation.clone(), identity: somebody(65534, 0), ..rig.shell(script) };
        let task = begun(&rig, launch).await;
        rig.logged("up").await;
        task.signal(15, yurt_task::Whom::Main).unwrap();
        assert_eq!(end(&task).await.code, 7);
        rig.logged("heard").await;
        let refused = rig.tasks().start(Launch { isolation, ..rig.shell("true") }).await.unwrap_err().to_string();
        assert!(refused.contains("a user namespace takes a user that is named"), "{refused}");
        rig.nothing_is_left();
    }
}

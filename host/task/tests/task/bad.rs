//! What cannot be started: one sentence, and nothing left.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use yurt_task::{Device, Isolation, Launch, Limits, Namespaces, RootDirectory, Tasks};

use crate::rig::{Rig, end, is_root, is_v2};

async fn refused(rig: &Rig, launch: Launch) -> (String, bool) {
    let tasks = rig.tasks();
    let why = tasks.start(launch).await.unwrap_err();
    rig.nothing_is_left();
    (why.to_string(), why.recoverable())
}

fn isolated(path: PathBuf) -> Isolation {
    let namespaces = Namespaces { pid: true, init: true, ipc: true, ..Namespaces::default() };
    Isolation::Chroot(Box::new(RootDirectory::of(path, namespaces)))
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    for rig in Rig::both() {
        let (why, again) = refused(&rig, rig.launch(&["/no/such/program"])).await;
        assert_eq!(
            (why.as_str(), again),
            ("executing: /no/such/program: No such file or directory (os error 2)", false)
        );
        let (why, _) = refused(&rig, rig.launch(&["no-such-program"])).await;
        assert!(why.starts_with("looking for the program: no-such-program in /usr/local/sbin:"), "{why}");
        let (why, _) = refused(&rig, rig.launch(&[])).await;
        assert_eq!(why, "reading what is to be started: there is no program");
        let mut launch = rig.launch(&["true"]);
        launch.work_dir = "/no/such/place".into();
        assert_eq!(
            refused(&rig, launch).await.0,
            "changing to the working directory: /no/such/place: No such file or directory (os error 2)"
        );
    }
}

#[tokio::test]
async fn a_log_that_is_no_pipe_is_refused_and_not_touched() {
    let rig = Rig::new();
    let link = rig.dir.path().join("link");
    symlink(rig.log_path(), &link).unwrap();
    let mut launch = rig.shell("echo no");
    launch.stderr = link.clone();
    let why = refused(&rig, launch).await.0;
    assert_eq!(why, format!("opening standard error: {}: it is a symbolic link, not a named pipe", link.display()));
    let file = rig.dir.path().join("file");
    fs::write(&file, "kept").unwrap();
    let mut launch = rig.shell("echo no");
    launch.stdout = file.clone();
    assert!(refused(&rig, launch).await.0.ends_with("it is neither a named pipe nor /dev/null"));
    assert_eq!(fs::read(&file).unwrap(), b"kept");
    let mut launch = rig.shell("echo no");
    launch.stdout = rig.dir.path().join("none");
    assert!(refused(&rig, launch).await.0.ends_with("none: No such file or directory (os error 2)"));
    assert_eq!(rig.log(), "");
    let mut launch = rig.shell("echo nothing; exit 6");
    (launch.stdout, launch.stderr) = ("/dev/null".into(), "/dev/null".into());
    assert_eq!(end(&rig.tasks().start(launch).await.unwrap()).await.code, 6);
}

#[tokio::test]
async fn a_limit_that_the_kernel_refuses_is_named_with_its_file() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let mut launch = rig.launch(&["true"]);
    launch.limits = Limits { cpuset: None, pids_max: Some(1 << 40), ..Limits::default() };
    let why = refused(&rig, launch).await.0;
    let name = &rig.name;
    let group = if is_v2() {
        format!("/sys/fs/cgroup/nomad.slice/share.slice/{name}.scope")
    } else {
        format!("/sys/fs/cgroup/pids/nomad/{name}")
    };
    assert_eq!(why, format!("setting a limit: {group}/pids.max to {}: Invalid argument (os error 22)", 1u64 << 40));

    let mut launch = rig.launch(&["true"]);
    launch.limits.resources = vec![yurt_task::ResourceLimit { resource: 7, soft: 2, hard: 1 }];
    assert_eq!(refused(&rig, launch).await.0, "setting a resource limit: 7 to 2:1: Invalid argument (os error 22)");
}

#[tokio::test]
async fn a_root_directory_a_network_and_a_device_have_to_be_there() {
    if !is_root() {
        return;
    }
    let rig = Rig::new();
    let none = rig.dir.path().join("none");
    let mut launch = rig.launch(&["true"]);
    launch.isolation = isolated(none.clone());
    let why = refused(&rig, launch).await.0;
    assert_eq!(why, format!("opening the root directory: {}: No such file or directory (os error 2)", none.display()));

    let mut launch = rig.launch(&["true"]);
    launch.network = Some(rig.log_path());
    assert_eq!(
        refused(&rig, launch).await.0,
        "entering the network namespace: its file: Invalid argument (os error 22)"
    );

    let device = |source: &str, access: &str| {
        let Isolation::Chroot(mut root) = isolated(rig.dir.path().to_owned()) else { panic!("a root") };
        root.devices.push(Device { source: source.into(), target: "/dev/it".into(), access: access.into() });
        let mut launch = rig.launch(&["true"]);
        launch.isolation = Isolation::Chroot(root);
        launch
    };
    assert_eq!(refused(&rig, device("/etc/passwd", "rw")).await.0, "looking at a device: /etc/passwd: it is no device");
    assert!(refused(&rig, device("/dev/none", "rw")).await.0.contains("/dev/none: No such file"));
    assert!(refused(&rig, device("/dev/zero", "rx")).await.0.contains("its permissions are \"rx\""));
    // Nothing of the host's is to be executed in an empty root.
    let mut launch = rig.launch(&["/bin/sh", "-c", "exit 0"]);
    launch.isolation = isolated(rig.dir.path().join("empty"));
    fs::create_dir(rig.dir.path().join("empty")).unwrap();
    assert_eq!(refused(&rig, launch).await.0, "executing: /bin/sh: No such file or directory (os error 2)");
}

#[tokio::test]
async fn a_runtime_directory_that_others_may_enter_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("a/b");
    Tasks::open(run.clone()).unwrap();
    assert_eq!(fs::metadata(&run).unwrap().permissions().mode() & 0o7777, 0o700);
    Tasks::open(run.clone()).expect("its own");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o750)).unwrap();
    let why = Tasks::open(run.clone()).unwrap_err().to_string();
    assert!(why.contains("has mode 0750; it has to belong to user"), "{why}");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&run, Some(65534), None).unwrap();
        assert!(Tasks::open(run).unwrap_err().to_string().contains("belongs to user 65534"));
    }
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Tasks::open(file).is_err());
}

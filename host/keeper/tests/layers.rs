//! A root directory that shows the host's directories without a copy, and one that cannot be written. All of it takes root.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, unsafe_code)]

#[allow(dead_code)]
mod rig;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use yurt_keeper::{Carried, Mount, Start, State, Step, names};

use rig::{Rig, is_root, words};

/// The host's directories in a root, and one that the test may change.
struct Layers {
    dir: tempfile::TempDir,
    root: OwnedFd,
    work: OwnedFd,
}

fn opened(path: &Path) -> OwnedFd {
    fs::create_dir_all(path).unwrap();
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Where a layer can be, whatever temporary files are on: those of a test machine may be on an overlay.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/run").unwrap()
}

impl Layers {
    fn new() -> Layers {
        Layers::below(in_memory())
    }

    /// On the file system of this directory.
    fn below(dir: tempfile::TempDir) -> Layers {
        let (root, work) = (opened(&dir.path().join("task")), opened(&dir.path().join("work")));
        fs::create_dir(dir.path().join("host")).unwrap();
        fs::write(dir.path().join("host/file"), "host\n").unwrap();
        fs::set_permissions(dir.path().join("host"), fs::Permissions::from_mode(0o751)).unwrap();
        Layers { dir, root, work }
    }

    /// A path of the host that this test may change.
    fn host(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    /// Where the task finds it, from outside.
    fn upper(&self) -> PathBuf {
        let host = self.host();
        self.task(host.strip_prefix("/").unwrap())
    }

    fn task(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("task").join(path)
    }

    /// What a script says in there, run in the directory of the host's that this test may change.
    fn says(&self, rig: &Rig, script: &str, change: impl FnOnce(&mut Start)) -> String {
        let host = self.host().to_string_lossy().into_owned();
        let usual = ["/bin", "/etc", "/lib", "/lib64", "/nowhere", "/sbin", "/usr", &host];
        let mut start = Start {
            isolation: 1,
            private_pid: true,
            init: true,
            argv: words(&["/bin/sh", "-c", script]),
            work_dir: host.clone().into_bytes(),
            host_paths: usual.map(str::to_owned).to_vec(),
            ..rig.plain()
        };
        change(&mut start);
        let carried = [(Carried::Root, &self.root), (Carried::Work, &self.work)];
        let mut task = rig.start_with(start, &carried).unwrap_or_else(|why| panic!("{why:?}"));
        let exit = task.exit();
        let output = rig.output();
        assert_eq!(exit.code, 0, "{output}");
        let state: State = rig.file(names::STATE);
        assert_eq!(state.read_only, None);
        assert!(task.forget());
        output
    }
}

#[test]
fn the_host_s_directories_are_at_their_paths_and_what_the_task_writes_is_its_own() {
    if !is_root() {
        return;
    }
    let (rig, layers) = (Rig::new(), Layers::new());
    let script = "cat file; echo task > file; echo new > made; cat file; stat -c %a .; echo x > /etc/made; ls -d /nowhere /root /home 2>/dev/null; true";
    assert_eq!(layers.says(&rig, script, |_| {}), "host\ntask\n751\n");
    assert_eq!(fs::read_to_string(layers.host().join("file")).unwrap(), "host\n");
    assert!(!layers.host().join("made").exists() && !Path::new("/etc/made").exists());
    // For the agent it is where it looks for a task's files.
    assert_eq!(fs::read_to_string(layers.upper().join("made")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(layers.task("etc/made")).unwrap(), "x\n");

    // And there when the task is started again, with what is new on the host.
    fs::write(layers.host().join("later"), "later\n").unwrap();
    assert_eq!(layers.says(&rig, "cat file made later; rm file later; ls", |_| {}), "task\nnew\nlater\nmade\n");
    assert!(layers.host().join("file").exists());
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(&*layers.dir.path().to_string_lossy()));
}

#[test]
fn what_stands_in_the_root_already_lies_over_the_host_s() {
    if !is_root() {
        return;
    }
    let (rig, layers) = (Rig::new(), Layers::new());
    fs::create_dir_all(layers.upper()).unwrap();
    fs::create_dir_all(layers.task("local")).unwrap();
    for (path, text) in [(layers.upper().join("file"), "template\n"), (layers.task("local/app"), "app\n")] {
        fs::write(path, text).unwrap();
    }
    assert_eq!(
        layers.says(&rig, "cat file /local/app; ls /usr | grep -c bin", |_| {}).replace('2', "1"),
        "template\napp\n1\n"
    );
}

#[test]
fn a_link_of_the_host_s_is_one_in_the_root_which_leads_nowhere_else_from_outside() {
    if !is_root() {
        return;
    }
    let (rig, layers) = (Rig::new(), Layers::new());
    let host = layers.host().to_string_lossy().into_owned();
    symlink(&host, layers.dir.path().join("absolute")).unwrap();
    let link = layers.dir.path().join("absolute").to_string_lossy().into_owned();
    let read = format!("cat {link}/file");
    for _ in 0..2 {
        assert_eq!(layers.says(&rig, &read, |start| start.host_paths.push(link.clone())), "host\n");
    }
    let made = layers.task(link.strip_prefix('/').unwrap());
    assert!(fs::read_link(&made).unwrap().is_relative());
    assert_eq!(fs::canonicalize(&made).unwrap(), fs::canonicalize(layers.upper()).unwrap());

    // A directory of the task's stands in its place.
    let other = Layers::new();
    symlink(other.host(), other.dir.path().join("link")).unwrap();
    let link = other.dir.path().join("link").to_string_lossy().into_owned();
    fs::create_dir_all(other.task(link.strip_prefix('/').unwrap())).unwrap();
    let said = other.says(&rig, &format!("cat {link}/file; echo x > {link}/made; ls"), |start| {
        start.host_paths.push(link.clone());
    });
    assert_eq!(said, "host\nfile\n");
}

#[test]
fn where_a_layer_cannot_be_the_host_s_directories_are_read_only_and_the_state_says_why() {
    if !is_root() {
        return;
    }
    // An overlay cannot be the upper layer of another.
    let below = in_memory();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(below.path().join(name)).unwrap();
    }
    let at = |name: &str| below.path().join(name);
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower").display(),
        at("upper").display(),
        at("work").display()
    );
    let options = std::ffi::CString::new(options).unwrap();
    mount("overlay", at("merged"), "overlay", MountFlags::empty(), Some(options.as_c_str())).unwrap();
    let (rig, layers) = (Rig::new(), Layers::below(tempfile::tempdir_in(at("merged")).unwrap()));
    let host = layers.host().to_string_lossy().into_owned();
    let start = Start {
        isolation: 1,
        argv: words(&[
            "/bin/sh",
            "-c",
            "cat file; (echo x > file) 2>&1 | grep -o 'Read-only file system'; echo y > /y; cat /y",
        ]),
        work_dir: host.clone().into_bytes(),
        host_paths: ["/bin", "/lib", "/lib64", "/usr", &host].map(str::to_owned).to_vec(),
        ..rig.plain()
    };
    let mut task = rig.start_with(start, &[(Carried::Root, &layers.root), (Carried::Work, &layers.work)]).unwrap();
    assert_eq!(task.exit().code, 0);
    assert_eq!(rig.output(), "host\nRead-only file system\ny\n");
    let why = rig.file::<State>(names::STATE).read_only.unwrap();
    assert_eq!((Step::from_number(why.step), why.errno), (Step::Overlay, libc::EINVAL), "{}", why.detail);
    assert!(task.forget());
    drop((rig, layers));
    unmount(at("merged"), UnmountFlags::DETACH).unwrap();
}

#[test]
fn a_read_only_root_can_be_written_where_it_is_said_and_where_something_is_mounted() {
    if !is_root() {
        return;
    }
    for with_host in [true, false] {
        let (rig, layers) = (Rig::new(), Layers::new());
        for name in ["local", "tmp", "data"] {
            fs::create_dir(layers.task(name)).unwrap();
        }
        let script = "for d in / /etc /data /local /tmp /dev/shm /volume; do (echo x > $d/file) 2>/dev/null && echo $d; done; ls /data; true";
        let said = layers.says(&rig, script, |start| {
            let mount = |path: &str, target: &str, read_only| Mount {
                source: path.into(),
                target: target.into(),
                read_only,
                propagation: 0,
            };
            if !with_host {
                let there = start.host_paths.iter().filter(|path| Path::new(path).exists());
                start.mounts = there.map(|path| mount(path, path, true)).collect();
                start.host_paths.clear();
            }
            start.mounts.push(mount(&layers.host().to_string_lossy(), "/volume", false));
            (start.read_only, start.writable) = (true, ["/local", "/tmp", "/not-there"].map(str::to_owned).to_vec());
        });
        assert_eq!(said, "/local\n/tmp\n/dev/shm\n/volume\n");
        assert!(layers.task("local/file").exists() && layers.host().join("file").metadata().unwrap().size() == 2);
    }
}

#[test]
fn in_a_directory_that_is_hidden_there_is_nothing() {
    if !is_root() {
        return;
    }
    let (rig, layers) = (Rig::new(), Layers::new());
    fs::create_dir(layers.task("private")).unwrap();
    fs::write(layers.task("private/token"), "s3cret").unwrap();
    let said =
        layers.says(&rig, "ls -a /private | wc -l; (: > /private/x) 2>&1 | grep -o 'Read-only file system'", |start| {
            start.hidden = ["/private", "/nothing"].map(str::to_owned).to_vec();
        });
    assert_eq!(said, "2\nRead-only file system\n");
    assert!(layers.task("private/token").exists());
}

//! What a task sees of the host's files where it has no root of its own, or one that shows them without a copy.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};
use yurt_task::{Access, HostPaths, Isolation, Namespaces, RootDirectory, Unveil, Unveiled, landlock};

use crate::commands::{all, shell};
use crate::rig::{Rig, end, eventually, is_root, patience};

const NAMESPACES: Namespaces =
    Namespaces { pid: true, init: true, ipc: true, uts: false, user: false, cgroup: false, time: false };

#[tokio::test]
async fn a_root_that_shows_the_host_has_what_is_mounted_there_and_leaves_all_of_it_as_it_is() {
    if !is_root() {
        return;
    }
    for mut rig in Rig::both() {
        // Where a layer can be, whatever temporary files are on.
        let memory = tempfile::tempdir_in("/run").unwrap();
        let at = |path: &str| memory.path().join(path);
        for dir in ["task", "host/mounted"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::write(at("host/file"), "host\n").unwrap();
        rustix::mount::mount("tmpfs", at("host/mounted"), "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write(at("host/mounted/file"), "mounted\n").unwrap();
        let shown = at("host").display().to_string();
        let usual = ["/bin", "/lib", "/lib64", "/usr", &shown].map(str::to_owned).to_vec();
        let mut launch =
            rig.shell("cat file mounted/file; echo x > file; echo x > mounted/file; cat file mounted/file");
        launch.work_dir = shown.clone();
        launch.isolation = Isolation::Chroot(Box::new(RootDirectory {
            host: Some(HostPaths { paths: usual, work: at("work") }),
            ..RootDirectory::of(at("task"), NAMESPACES)
        }));
        let task = rig.tasks().start(launch).await.unwrap();
        assert!(task.read_only().is_none(), "{:?}", task.read_only());
        assert_eq!(end(&task).await.code, 0);
        assert_eq!(rig.log(), "host\nmounted\nx\nx\n");
        for (path, text) in [("host/file", "host\n"), ("host/mounted/file", "mounted\n")] {
            assert_eq!(fs::read_to_string(at(path)).unwrap(), text);
        }
        rustix::mount::unmount(at("host/mounted"), UnmountFlags::DETACH).unwrap();
        rig.nothing_is_left();
        rig.remove_groups().await;
    }
}

fn unveil(path: &Path, access: Access) -> Unveil {
    Unveil { path: path.display().to_string(), below: String::new(), access, needed: true }
}

#[tokio::test]
async fn a_task_and_its_commands_use_what_is_unveiled_and_nothing_else() {
    if !is_root() || landlock::available().is_err() {
        return;
    }
    for rig in Rig::both() {
        let at = |path: &str| rig.dir.path().join(path);
        for dir in ["own", "own/private", "other"] {
            fs::create_dir_all(at(dir)).unwrap();
            fs::write(at(dir).join("file"), "here\n").unwrap();
        }
        let run = Access { read: true, execute: true, ..Access::default() };
        let mut paths: Vec<Unveil> = ["/bin", "/lib", "/lib64", "/usr", "/proc", "/nowhere"]
            .map(|path| Unveil { needed: false, ..unveil(Path::new(path), run) })
            .to_vec();
        paths.push(unveil(&at("own"), Access::ALL));
        let (own, other) = (at("own").display().to_string(), at("other").display().to_string());
        let script = format!(
            "cat {own}/file; cat {other}/file || echo no; ls {own}/private; ls /proc | grep -c '^[0-9]'; echo up; sleep 1000"
        );
        let mut launch = rig.shell(&script);
        let hidden = vec![at("own/private").display().to_string()];
        launch.isolation =
            Isolation::Landlock(Box::new(Unveiled { namespaces: NAMESPACES, paths: paths.clone(), hidden }));
        let tasks = rig.tasks();
        let task = tasks.start(launch).await.unwrap();
        let mut log = String::new();
        let up = eventually(|| {
            log.push_str(&rig.log());
            log.ends_with("up\n")
        });
        assert!(up.await, "{log}");
        let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with("cat: ")).collect();
        assert!(lines[..2] == ["here", "no"] && lines[2].parse::<u32>().unwrap() < 6, "{log}");

        let script = format!("cat {own}/file; cat {other}/file 2>&1 | grep -o denied; cat /proc/1/comm");
        let (said, _, exit) = all(task.exec(shell(&script)).await.unwrap()).await;
        assert_eq!((said.as_str(), exit.code), ("here\ndenied\nyurt-keeper\n", 0));
        task.kill(patience(Duration::from_secs(10))).await.unwrap();
        end(&task).await;

        // What a job asked for must be there, and below a grant no link is followed.
        std::os::unix::fs::symlink("/etc", at("own/link")).unwrap();
        for (below, why) in [("nothing", "No such file"), ("link", "symbolic links")] {
            let mut launch = rig.shell("true");
            let asked = Unveil { below: below.to_owned(), ..unveil(&at("own"), run) };
            let paths = vec![asked];
            launch.isolation =
                Isolation::Landlock(Box::new(Unveiled { namespaces: NAMESPACES, paths, hidden: vec![] }));
            let refused = tasks.start(launch).await.unwrap_err().to_string();
            assert!(refused.contains(why) && refused.contains(&format!("{own}/{below}")), "{refused}");
        }
        rig.nothing_is_left();
    }
}

//! What goes before a task, and tasks that nobody knows.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use yurt_task::{Capabilities, Identity, Launch, Make, StepOutcome};

use crate::rig::{Rig, end, eventually, is_alive, is_root, keeper_of, patience};

const LONG: Duration = Duration::from_secs(60);

fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|word| (*word).to_owned()).collect()
}

fn sh(script: &str) -> Vec<String> {
    words(&["/bin/sh", "-c", script])
}

/// Never turns true.
fn wanted() -> watch::Receiver<bool> {
    watch::channel(false).1
}

#[tokio::test]
async fn a_step_runs_as_the_task_would_and_its_last_words_are_kept() {
    for rig in Rig::both() {
        let (tasks, launch) = (rig.tasks(), rig.shell("exit 7"));
        let script = "head -c 9000 /dev/zero | tr '\\0' x; echo; echo the end >&2; echo $WHO; cat /proc/self/cgroup | grep -c $GROUP; exit 3";
        let script = script.replace("$GROUP", &rig.name);
        let step = tasks.step(&launch, sh(&script), LONG, wanted()).await.unwrap();
        let StepOutcome::Ended(exit) = &step.how else { panic!("{step:?}") };
        assert_eq!((exit.code, step.output.len()), (3, 4096));
        let said = String::from_utf8(step.output).unwrap();
        assert!(said.starts_with("xxx") && said.contains("\nthe end\ntask\n"), "{said:?}");
        assert_ne!(said.trim_end().rsplit('\n').next(), Some("0"), "it is in the task's control group");
        rig.nothing_is_left();
        // The task itself comes after it, in the same group.
        assert_eq!(end(&tasks.start(launch).await.unwrap()).await.code, 7);
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn a_step_that_is_late_or_given_up_is_killed_with_all_it_started() {
    for rig in Rig::both() {
        let (tasks, launch) = (rig.tasks(), rig.shell("exit 0"));
        let tree = sh("setsid sleep 611 & echo begun; sleep 611");
        let began = Instant::now();
        let step = tasks.step(&launch, tree.clone(), Duration::from_millis(700), wanted()).await.unwrap();
        assert_eq!((step.how, step.output.as_slice()), (StepOutcome::Late, &b"begun\n"[..]));
        assert!(began.elapsed() < patience(Duration::from_secs(10)), "{:?}", began.elapsed());
        rig.nothing_is_left();

        let (give_up, given_up) = watch::channel(false);
        let step = tasks.step(&launch, tree.clone(), LONG, given_up);
        let giving_up = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            give_up.send_replace(true);
        };
        assert_eq!(tokio::join!(step, giving_up).0.unwrap().how, StepOutcome::GivenUp);
        rig.nothing_is_left();

        // Dropped, it is not waited for, and goes all the same.
        let dropped = tokio::time::timeout(Duration::from_millis(500), tasks.step(&launch, tree, LONG, wanted())).await;
        assert!(dropped.is_err());
        let gone = || rig.entries().is_empty();
        assert!(eventually(gone).await);
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn what_a_step_leaves_in_the_background_does_not_see_the_task() {
    let rig = Rig::new();
    let (tasks, launch) = (rig.tasks(), rig.shell("exit 0"));
    let step = tasks.step(&launch, sh("setsid sleep 612 & echo $!"), LONG, wanted()).await.unwrap();
    let pid = String::from_utf8(step.output).unwrap().trim().parse().unwrap();
    assert!(!is_alive(pid));
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let rig = Rig::new();
    let why = rig.tasks().step(&rig.shell("exit 0"), words(&["/no/such"]), LONG, wanted()).await.unwrap_err();
    assert!(why.to_string().contains("/no/such") && !why.recoverable(), "{why}");
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_step_of_a_plugin_that_died_is_ended_by_the_next_and_so_is_one_that_nobody_goes_on_with() {
    for sweeps in [false, true] {
        let rig = Rig::new();
        let launch = rig.shell("exit 0");
        // As `step` starts it, in a process that dies.
        let id = format!("{}/prepare", launch.id);
        let left = rig.tasks().start(Launch { id: id.clone(), ..rig.shell("sleep 613") }).await.unwrap();
        let pid = left.pid();
        drop(left);
        let tasks = rig.tasks();
        if sweeps {
            let swept = tasks.sweep(|known| known == launch.id).await;
            assert!(swept.forgotten.is_empty() && is_alive(pid), "somebody is at it");
            assert_eq!(tasks.sweep(|_| false).await.forgotten, [id]);
        } else {
            let step = tasks.step(&launch, sh("echo again"), LONG, wanted()).await.unwrap();
            assert_eq!(step.output, b"again\n");
        }
        assert!(!is_alive(pid));
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn files_and_directories_are_made_by_the_task_as_its_own_user() {
    let rig = Rig::new();
    let dir = rig.dir.path().join("own");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(rig.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let identity = is_root().then(|| Identity {
        uid: 65534,
        gid: 65534,
        groups: Vec::new(),
        capabilities: Capabilities::default(),
        no_new_privileges: true,
    });
    let launch = |makes| Launch { makes, identity: identity.clone(), ..rig.shell("exit 0") };
    let file = |path: String, text: &str| Make::File { path, content: text.into(), mode: 0o640 };
    let makes = vec![
        Make::Directory { path: path("a/b") },
        file(path("a/b/c"), "first, and longer"),
        file(path("a/b/c"), "second"),
        Make::Directory { path: path("a") },
    ];
    assert_eq!(end(&rig.tasks().start(launch(makes)).await.unwrap()).await.code, 0);
    let made = dir.join("a/b/c");
    let (text, meta) = (fs::read_to_string(&made).unwrap(), fs::metadata(&made).unwrap());
    assert_eq!((text.as_str(), meta.mode() & 0o7777), ("second", 0o640));
    if is_root() {
        assert_eq!((meta.uid(), fs::metadata(dir.join("a")).unwrap().uid()), (65534, 65534));
        let theirs = rig.dir.path().join("theirs");
        fs::write(&theirs, "kept").unwrap();
        std::os::unix::fs::symlink(&theirs, dir.join("link")).unwrap();
        for (make, words) in [
            (file(theirs.display().to_string(), "x"), "Permission denied"),
            (file(path("link"), "x"), "symbolic link"),
            (file(path("a"), "x"), "directory"),
            (Make::Directory { path: "/proc/1/x".to_owned() }, "/proc/1/x"),
        ] {
            let why = rig.tasks().start(launch(vec![make])).await.unwrap_err().to_string();
            assert!(why.starts_with("making what the task is to find: ") && why.contains(words), "{why}");
        }
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "kept");
    }
    rig.nothing_is_left();
}

#[tokio::test]
async fn tasks_that_nobody_knows_are_listed_with_what_was_noted_of_them() {
    let rig = Rig::new();
    let running = rig.tasks().start(rig.shell("sleep 614")).await.unwrap();
    let later = rig.tasks();
    let left = later.sweep(|_| false).await.left;
    let one = left.iter().find(|one| one.id == running.id()).unwrap();
    assert_eq!((one.pid, one.memo.as_slice()), (Some(running.pid()), &b"memo"[..]));
    assert_eq!(one.started_at, running.started_at());
    assert!(later.sweep(|id| id == running.id()).await.left.iter().all(|one| one.id != running.id()));
    running.kill(patience(Duration::from_secs(10))).await.unwrap();
    running.wait().await;
    // Its control group is there still: its agent may ask.
    let left = later.sweep(|_| false).await.left;
    assert_eq!((left.len(), left[0].pid), (1, None));
    end(&running).await;
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_keeper_that_is_killed_is_told_once_and_one_that_is_let_go_is_not() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.shell("sleep 615")).await.unwrap();
    let lost = tokio::time::timeout(Duration::from_millis(200), task.lost_its_keeper()).await;
    assert!(lost.is_err());
    let keeper = rustix::process::Pid::from_raw(keeper_of(&rig).cast_signed()).unwrap();
    rustix::process::kill_process(keeper, rustix::process::Signal::KILL).unwrap();
    tokio::time::timeout(patience(Duration::from_secs(10)), task.lost_its_keeper()).await.unwrap();
    assert!(task.exit().is_none() && is_alive(task.pid()));
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    end(&task).await;

    let task = rig.tasks().start(rig.shell("exit 0")).await.unwrap();
    end(&task).await;
    let lost = tokio::time::timeout(Duration::from_millis(200), task.lost_its_keeper()).await;
    assert!(lost.is_err(), "it had nothing to do any more");
    rig.nothing_is_left();
}

//! Start, wait, signal, kill, forget.

use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use yurt_task::{ForgetError, Program, SignalError, StartError, StatsError, Whom};

use crate::rig::{Rig, end, eventually, is_alive, is_root, keeper_of, patience};

#[tokio::test]
async fn a_task_s_code_and_output_arrive_and_nothing_is_left() {
    for rig in Rig::both() {
        let before = SystemTime::now();
        let task = rig.tasks().start(rig.shell("echo hello from $WHO; exit 7")).await.unwrap();
        assert!(task.started_at() >= before - Duration::from_millis(10) && task.started_at() <= SystemTime::now());
        assert_eq!((task.request(), task.memo()), (&b"request"[..], &b"memo"[..]));
        let exit = end(&task).await;
        assert_eq!((exit.code, exit.signal, exit.oom_killed, exit.unknown.clone()), (7, 0, false, None));
        assert!(exit.at >= task.started_at() && exit.max_rss > 0);
        assert_eq!(task.exit(), Some(exit));
        assert_eq!(rig.log(), "hello from task\n");
        rig.nothing_is_left();
        task.forget().await.expect("a second time it does nothing");
    }
}

#[tokio::test]
async fn a_program_comes_open_with_what_it_finds_open_and_needs_no_path() {
    for rig in Rig::both() {
        let dir = tempfile::tempdir().unwrap();
        let gone = |text: &str| {
            let path = dir.path().join("file");
            fs::write(&path, text).unwrap();
            let file = fs::File::open(&path).unwrap();
            fs::remove_file(&path).unwrap();
            Arc::new(OwnedFd::from(file))
        };
        let mut launch =
            rig.launch(&["whatever", "-c", "cat <&3; cat <&4; [ -e /proc/$$/fd/5 ] && echo more; echo $0", "x"]);
        let file = Arc::new(OwnedFd::from(fs::File::open("/bin/sh").unwrap()));
        launch.program = Some(Program { file, open: vec![gone("first "), gone("second ")] });
        let task = rig.tasks().start(launch).await.unwrap();
        assert_eq!(end(&task).await.code, 0);
        assert_eq!(rig.log(), "first second x\n");
        rig.nothing_is_left();

        let mut launch = rig.launch(&["whatever"]);
        launch.program = Some(Program { file: gone("no program"), open: Vec::new() });
        let why = rig.tasks().start(launch).await.unwrap_err().to_string();
        assert!(why.starts_with("executing: a program that came open: Permission denied"), "{why}");
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn a_signal_reaches_the_main_process_and_says_so_in_the_exit() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.launch(&["sleep", "1000"])).await.unwrap();
    assert!(is_alive(task.pid()) && task.exit().is_none());
    assert!(matches!(task.signal(65, Whom::Main), Err(SignalError::Unknown(65))));
    assert!(matches!(task.signal(0, Whom::All), Err(SignalError::Unknown(0))));
    assert!(matches!(task.forget().await, Err(ForgetError::Running)));
    task.signal(15, Whom::Main).unwrap();
    let exit = end(&task).await;
    assert_eq!((exit.code, exit.signal), (143, 15));
    assert!(matches!(task.signal(15, Whom::Main), Err(SignalError::Ended)));
    assert!(matches!(task.stats(), Err(StatsError::Ended)));
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_signal_for_all_reaches_children_and_one_for_the_main_process_does_not() {
    for rig in Rig::both() {
        // The child is in a session of its own.
        let script =
            "trap 'echo main' USR1; setsid sh -c 'trap \"echo child\" USR1; echo up; while :; do sleep 0.05; done' &
            while :; do sleep 0.05; done";
        let task = rig.tasks().start(rig.shell(script)).await.unwrap();
        rig.logged("up").await;
        task.signal(10, Whom::Main).unwrap();
        rig.logged("main").await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(rig.log(), "", "the child has got nothing");
        // `sleep` dies of it, the shells say so.
        task.signal(10, Whom::All).unwrap();
        rig.logged("child").await;
        task.kill(patience(Duration::from_secs(10))).await.unwrap();
        assert_eq!(end(&task).await.signal, 9);
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn killing_a_task_leaves_nobody_who_forks_or_hides() {
    for rig in Rig::both() {
        let script = "for i in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 0.01 & sleep 0.01; done' & done; echo up; wait";
        let task = rig.tasks().start(rig.shell(script)).await.unwrap();
        rig.logged("up").await;
        assert!(eventually(|| task.processes().len() > 4).await);
        task.kill(patience(Duration::from_secs(10))).await.unwrap();
        assert_eq!(task.processes(), Vec::<u32>::new());
        assert_eq!(end(&task).await.signal, 9);
        task.kill(Duration::from_secs(1)).await.expect("nothing to kill is no failure");
        rig.nothing_is_left();
        // An agent's restart of the task comes into the same groups.
        let again = rig.tasks().start(rig.shell("exit 4")).await.unwrap();
        assert_eq!(end(&again).await.code, 4);
    }
}

#[tokio::test]
async fn children_that_outlive_the_main_process_do_not_delay_its_exit_and_die_when_it_is_forgotten() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.shell("setsid sleep 1000 & echo $!; exit 3")).await.unwrap();
    let begun = Instant::now();
    assert_eq!(task.wait().await.code, 3);
    assert!(begun.elapsed() < patience(Duration::from_secs(5)));
    let child: u32 = rig.log().trim().parse().unwrap();
    assert!(is_alive(child));
    task.forget().await.unwrap();
    assert!(!is_alive(child));
    rig.nothing_is_left();
}

#[tokio::test]
async fn many_wait_and_all_hear_the_same() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.shell("sleep 0.2; exit 5")).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(10), task.wait()).await;
    assert!(given_up.is_err() && task.exit().is_none());
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            tokio::spawn({
                let task = task.clone();
                async move { task.wait().await }
            })
        })
        .collect();
    for one in waiting {
        assert_eq!(one.await.unwrap().code, 5);
    }
    end(&task).await;
}

#[tokio::test]
async fn a_hundred_tasks_twenty_at_a_time_keep_their_codes() {
    let rig = Rig::new();
    let tasks = rig.tasks();
    let places = Arc::new(tokio::sync::Semaphore::new(20));
    let mut running = Vec::new();
    for number in 0..100 {
        // All in the same groups, as those of an agent's restarts; each would kill the one before.
        let mut launch = rig.shell(&format!("exit {number}"));
        launch.cgroup = yurt_task::Cgroup::None;
        let (tasks, places) = (tasks.clone(), places.clone());
        running.push(tokio::spawn(async move {
            let _place = places.acquire().await.unwrap();
            let task = tasks.start(launch).await.unwrap();
            (number, end(&task).await)
        }));
    }
    for one in running {
        let (number, exit) = one.await.unwrap();
        assert_eq!((exit.code, exit.unknown), (number, None));
    }
    rig.nothing_is_left();
}

#[tokio::test]
async fn an_id_is_started_once_whoever_tries() {
    let rig = Rig::new();
    let launch = rig.shell("echo up; sleep 1000");
    let (one, other) = (rig.tasks(), rig.tasks());
    let (first, second) = tokio::join!(one.start(launch.clone()), other.start(launch.clone()));
    let (task, refused) = match (first, second) {
        (Ok(task), Err(refused)) | (Err(refused), Ok(task)) => (task, refused),
        both => panic!("{both:?}"),
    };
    assert!(matches!(refused, StartError::AlreadyRunning { .. }) && !refused.recoverable());

    let again = one.start(launch.clone()).await.unwrap_err();
    assert!(matches!(again, StartError::AlreadyRunning { same_request: true, .. }));
    let mut changed = launch.clone();
    changed.request = b"another".to_vec();
    let again = one.start(changed).await.unwrap_err();
    assert_eq!(
        again.to_string(),
        format!("a task with id {:?} was started already, and by another request", launch.id)
    );

    let adopted = other.adopt(&launch.id).await.unwrap().expect("it lives");
    assert_eq!((adopted.pid(), adopted.request()), (task.pid(), &b"request"[..]));
    assert!(other.adopt("another").await.unwrap().is_none());
    rig.logged("up").await;
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    assert_eq!(adopted.wait().await.signal, 9);
    assert_eq!(rig.log(), "", "it ran once");
    end(&task).await;
    rig.nothing_is_left();
    // Forgotten, the id is free.
    let task = one.start(rig.shell("exit 0")).await.unwrap();
    end(&task).await;
}

#[tokio::test]
async fn a_task_whose_starter_goes_away_is_ended() {
    let rig = Rig::new();
    let tasks = rig.tasks();
    let start = tasks.start(rig.launch(&["sleep", "1000"]));
    assert!(tokio::time::timeout(Duration::from_micros(1), start).await.is_err());
    // It may not even have begun.
    assert!(eventually(|| rig.entries().is_empty() && rig.processes().is_empty()).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(eventually(|| rig.entries().is_empty()).await);
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_keeper_holds_nothing_of_the_plugin_and_is_in_no_group_of_its_task() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.launch(&["sleep", "1000"])).await.unwrap();
    let keeper = keeper_of(&rig);
    assert_eq!(fs::read_to_string(format!("/proc/{keeper}/comm")).unwrap(), "yurt-keeper\n");
    assert_eq!(fs::read(format!("/proc/{keeper}/cmdline")).unwrap(), b"yurt-keeper\0");
    // Others than root may not look further: it is not dumpable.
    if is_root() {
        assert_eq!(fs::read(format!("/proc/{keeper}/environ")).unwrap(), b"");
        for fd in 0..3 {
            assert_eq!(fs::read_link(format!("/proc/{keeper}/fd/{fd}")).unwrap().to_str(), Some("/dev/null"));
        }
    }
    assert!(!task.processes().contains(&keeper));
    if is_root() {
        assert!(task.processes().contains(&task.pid()));
        let groups = fs::read_to_string(format!("/proc/{keeper}/cgroup")).unwrap();
        let apart = |line: &str| line.ends_with("/nomad-yurt-keepers") || line.ends_with("/yurt-keepers.scope");
        assert!(groups.lines().all(apart), "{groups}");
    }
    let streams = |fd: u32| fs::read_link(format!("/proc/{}/fd/{fd}", task.pid())).unwrap();
    assert_eq!((streams(0).to_str(), streams(1)), (Some("/dev/null"), rig.log_path()));
    assert_eq!(fs::read_dir(format!("/proc/{}/fd", task.pid())).unwrap().count(), 3);
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    end(&task).await;
}

#[tokio::test]
async fn an_environment_larger_than_a_record_arrives() {
    let rig = Rig::new();
    let mut launch = rig.shell("echo ${#LONG_7} $WHO");
    launch.env.0.extend((0..10).map(|number| (format!("LONG_{number}"), "x".repeat(100_000))));
    let task = rig.tasks().start(launch).await.unwrap();
    assert_eq!(end(&task).await.code, 0);
    assert_eq!(rig.log(), "100000 task\n");
    rig.nothing_is_left();
}

/// Longer than the time from one look at a task's log pipes to the next.
#[tokio::test]
async fn the_keeper_of_a_task_that_is_silent_sleeps() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.shell("echo one; exec sleep 1000")).await.unwrap();
    rig.logged("one").await;
    let keeper = keeper_of(&rig);
    let woken = || {
        let status = fs::read_to_string(format!("/proc/{keeper}/status")).unwrap();
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches.unwrap().trim().parse::<u64>().unwrap()
    };
    tokio::time::sleep(Duration::from_secs(6)).await;
    let before = woken();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(woken(), before);
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    end(&task).await;
    rig.nothing_is_left();
}

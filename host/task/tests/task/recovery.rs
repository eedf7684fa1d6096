//! Finding tasks again: after a plugin's death, a keeper's, both.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, flock, utimensat};
use rustix::process::{Pid, Signal, kill_process};
use yurt_keeper::State;
use yurt_task::{ExecError, ExecOptions, Handle, Launch, RecoverError, Task, Whom};

use crate::rig::{Rig, end, eventually, is_alive, is_root, keeper_of, patience};

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

fn stop(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::STOP).unwrap();
}

fn entry(rig: &Rig) -> PathBuf {
    rig.entries().pop().unwrap()
}

fn change_state(rig: &Rig, change: impl FnOnce(&mut State)) {
    let file = entry(rig).join("state");
    let mut state = State::decode(fs::read(&file).unwrap().as_slice()).unwrap();
    change(&mut state);
    fs::write(&file, state.encode_to_vec()).unwrap();
}

/// Forgets it as a plugin that dies does.
fn lose(task: Task) -> Handle {
    Handle::from_bytes(&task.handle().to_bytes()).unwrap()
}

/// `PIDFD_GET_INFO` says how a process ended: from Linux 6.15 on.
fn kernel_tells_of_others() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 15)
}

#[tokio::test]
async fn a_later_plugin_finds_a_task_by_its_handle_and_hears_its_exit() {
    for rig in Rig::both() {
        let task =
            rig.tasks().start(rig.shell("trap 'exit 42' TERM; echo up; while :; do sleep 0.02; done")).await.unwrap();
        rig.logged("up").await;
        let (id, pid, at) = (task.id().to_owned(), task.pid(), task.started_at());
        let handle = lose(task);
        let task = rig.tasks().recover(&handle).await.unwrap();
        assert_eq!((task.id(), task.pid(), task.started_at()), (id.as_str(), pid, at));
        assert_eq!((task.request(), task.memo()), (&b"request"[..], &b"memo"[..]));
        assert_eq!((task.exit(), task.handle()), (None, handle));
        task.signal(15, Whom::Main).unwrap();
        assert_eq!(end(&task).await.code, 42);
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn a_task_that_ended_while_no_plugin_was_there_still_says_how() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.shell("sleep 0.1; kill -7 $$")).await.unwrap();
    let pid = task.pid();
    let handle = lose(task);
    assert!(eventually(|| entry(&rig).join("exit").exists()).await);
    assert!(!is_alive(pid));
    let task = rig.tasks().recover(&handle).await.unwrap();
    let exit = task.exit().expect("known at once");
    assert_eq!((exit.code, exit.signal), (135, 7));
    assert_eq!(rig.tasks().adopt(task.id()).await.unwrap().expect("its exit is known").exit(), Some(exit));
    end(&task).await;
    rig.nothing_is_left();
}

#[tokio::test]
async fn the_code_of_a_task_whose_keeper_was_killed_is_true() {
    for rig in Rig::both() {
        let task =
            rig.tasks().start(rig.shell("trap 'exit 42' TERM; echo up; while :; do sleep 0.02; done")).await.unwrap();
        rig.logged("up").await;
        let keeper = keeper_of(&rig);
        kill(keeper);
        assert!(eventually(|| !is_alive(keeper)).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(is_alive(task.pid()) && task.exit().is_none(), "the task goes on");
        let refused = task.exec(ExecOptions { argv: vec!["true".into()], ..ExecOptions::default() }).await;
        assert!(matches!(refused, Err(ExecError::NoKeeper)));
        // A later plugin finds it, too, and the first one hears its exit all the same.
        let later = rig.tasks().recover(&task.handle()).await.unwrap();
        later.signal(15, Whom::Main).unwrap();
        let code = if kernel_tells_of_others() { 42 } else { -1 };
        for task in [&task, &later] {
            let exit = task.wait().await;
            assert_eq!((exit.code, exit.signal, exit.unknown.is_some()), (code, 0, code < 0), "{exit:?}");
        }
        let at_last = rig.tasks().recover(&task.handle()).await.unwrap();
        assert_eq!(at_last.exit().expect("it was written down").code, code);
        end(&task).await;
        rig.nothing_is_left();
    }
}

#[tokio::test]
async fn nobody_knows_the_code_of_a_task_that_ended_with_neither_keeper_nor_plugin() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.launch(&["sleep", "1000"])).await.unwrap();
    let pid = task.pid();
    let keeper = keeper_of(&rig);
    let handle = lose(task);
    let is_reaped = |pid: u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    kill(keeper);
    assert!(eventually(|| is_reaped(keeper)).await);
    kill(pid);
    assert!(eventually(|| is_reaped(pid)).await);
    assert!(rig.tasks().adopt("another").await.unwrap().is_none());
    let task = rig.tasks().recover(&handle).await.unwrap();
    let exit = task.exit().expect("it has ended");
    assert_eq!((exit.code, exit.signal), (-1, 0));
    assert_eq!(exit.unknown.as_deref(), Some("its keeper and it had both ended when nobody watched"));
    end(&task).await;
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_task_started_before_the_machine_is_refused_and_its_entry_removed() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.launch(&["sleep", "1000"])).await.unwrap();
    let (pid, keeper) = (task.pid(), keeper_of(&rig));
    let mut bytes = task.handle();
    let handle = bytes.clone();
    // A handle of another boot beside an entry of this one: the entry is somebody else's.
    let mut raw = bytes.to_bytes();
    raw[4..20].fill(7);
    bytes = Handle::from_bytes(&raw).unwrap();
    assert!(matches!(rig.tasks().recover(&bytes).await, Err(RecoverError::OtherBoot)));
    assert!(entry(&rig).join("state").exists() && is_alive(pid));
    // An entry on a disk that the reboot did not clear.
    let id = task.id().to_owned();
    change_state(&rig, |state| state.boot_id = vec![7; 16]);
    assert!(rig.tasks().adopt(&id).await.unwrap().is_none());
    assert!(matches!(rig.tasks().recover(&handle).await, Err(RecoverError::OtherBoot)));
    assert_eq!(rig.entries(), Vec::<PathBuf>::new());
    assert!(is_alive(pid) && is_alive(keeper), "nothing was signalled");
    kill(keeper);
    kill(pid);
}

#[tokio::test]
async fn a_stranger_with_the_number_of_a_task_is_left_alone() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.launch(&["sleep", "1000"])).await.unwrap();
    let (pid, keeper) = (task.pid(), keeper_of(&rig));
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    // As if task and keeper had ended long ago, and their numbers had gone round.
    drop(task);
    kill(keeper);
    kill(pid);
    assert!(eventually(|| !is_alive(keeper) && !is_alive(pid)).await);
    change_state(&rig, |state| {
        state.task.as_mut().unwrap().pid = stranger.id();
        state.keeper.as_mut().unwrap().pid = stranger.id();
    });
    let id = State::decode(fs::read(entry(&rig).join("state")).unwrap().as_slice()).unwrap().id;
    assert!(rig.tasks().adopt(&id).await.unwrap().is_none(), "nobody of it lives");
    let state = State::decode(fs::read(entry(&rig).join("state")).unwrap().as_slice()).unwrap();
    let handle = forged(&state);
    let task = rig.tasks().recover(&handle).await.unwrap();
    assert_eq!(task.exit().expect("it has ended").code, -1);
    assert!(task.signal(9, Whom::Main).is_err());
    task.kill(Duration::from_secs(5)).await.unwrap();
    task.forget().await.unwrap();
    assert!(is_alive(stranger.id()), "the stranger lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    rig.nothing_is_left();
}

/// The handle that a task of this state would have.
fn forged(state: &State) -> Handle {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Record {
        #[prost(uint32, tag = "1")]
        version: u32,
        #[prost(bytes = "vec", tag = "2")]
        boot_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        entry: Vec<u8>,
        #[prost(message, optional, tag = "4")]
        task: Option<yurt_keeper::Identity>,
    }
    use sha2::Digest as _;
    let entry = sha2::Sha256::digest(state.id.as_bytes())[..16].to_vec();
    let record = Record { version: 1, boot_id: state.boot_id.clone(), entry, task: state.task };
    Handle::from_bytes(&record.encode_to_vec()).unwrap()
}

#[tokio::test]
async fn garbage_in_an_entry_is_an_error_and_is_left_as_it_is() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.launch(&["sleep", "1000"])).await.unwrap();
    let file = entry(&rig).join("state");
    let whole = fs::read(&file).unwrap();
    let handle = task.handle();
    for garbage in [&b""[..], b"garbage", &whole[..whole.len() / 2], &[0xff; 300]] {
        fs::write(&file, garbage).unwrap();
        let refused = rig.tasks().recover(&handle).await.unwrap_err();
        assert!(matches!(refused, RecoverError::Garbage { .. }), "{refused}");
        assert!(rig.tasks().adopt(task.id()).await.is_err());
        assert_eq!(fs::read(&file).unwrap(), garbage);
    }
    assert!(is_alive(task.pid()));
    // Another start of the same id.
    let mut other = State::decode(whole.as_slice()).unwrap();
    other.task.as_mut().unwrap().start_time += 1;
    fs::write(&file, other.encode_to_vec()).unwrap();
    assert!(matches!(rig.tasks().recover(&handle).await, Err(RecoverError::OtherStart { .. })));
    // No entry at all.
    fs::write(&file, &whole).unwrap();
    let elsewhere = yurt_task::Tasks::open(rig.dir.path().join("elsewhere")).unwrap();
    assert!(matches!(elsewhere.recover(&handle).await, Err(RecoverError::NoEntry { .. })));
    assert!(is_alive(task.pid()));
    task.kill(patience(Duration::from_secs(10))).await.unwrap();
    end(&task).await;
    rig.nothing_is_left();
}

#[tokio::test]
async fn an_entry_that_a_start_left_half_made_gives_way() {
    let rig = Rig::new();
    let tasks = rig.tasks();
    let task = tasks.start(rig.shell("exit 0")).await.unwrap();
    let id = task.id().to_owned();
    let place = entry(&rig);
    end(&task).await;
    // A plugin that died before its keeper wrote anything.
    fs::create_dir(&place).unwrap();
    fs::write(place.join("socket"), "").unwrap();
    let mut launch = rig.shell("exit 4");
    launch.id = id;
    let task = tasks.start(launch).await.unwrap();
    assert_eq!(end(&task).await.code, 4);
    rig.nothing_is_left();
}

/// The keeper of a start whose plugin died is about to end the task, and does.
#[tokio::test]
async fn a_start_that_is_taken_back_is_not_adopted() {
    let rig = Rig::new();
    let tasks = rig.tasks();
    let task = tasks.start(rig.shell("sleep 1000")).await.unwrap();
    let (id, pid, keeper, place) = (task.id().to_owned(), task.pid(), keeper_of(&rig), entry(&rig));
    lose(task);
    assert!(rig.tasks().adopt(&id).await.unwrap().is_some());
    stop(keeper);
    let adopting = tokio::spawn(async move { tasks.adopt(&id).await.map(|found| found.is_some()) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!adopting.is_finished(), "nobody has asked the keeper");
    fs::remove_file(place.join("state")).unwrap();
    kill(pid);
    kill(keeper);
    assert!(!adopting.await.unwrap().unwrap());
}

/// An agent that dies after it has had a task forgotten, and before it has noted so, asks for it once more.
#[tokio::test]
async fn how_a_task_ended_that_is_forgotten_is_remembered() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.shell("exit 42")).await.unwrap();
    let handle = task.handle();
    assert_eq!(task.wait().await.code, 42);
    task.forget().await.unwrap();
    rig.nothing_is_left();
    for _ in 0..2 {
        let tasks = rig.tasks();
        let again = tasks.recover(&handle).await.unwrap();
        assert_eq!((again.id(), again.wait().await.code), (task.id(), 42));
        // It stands in nobody's way.
        assert!(tasks.adopt(task.id()).await.unwrap().is_none());
        again.kill(Duration::from_secs(1)).await.unwrap();
        again.forget().await.unwrap();
        rig.nothing_is_left();
    }
    let launch = Launch { id: task.id().to_owned(), ..rig.shell("exit 43") };
    let next = rig.tasks().start(launch).await.unwrap();
    assert!(matches!(rig.tasks().recover(&handle).await, Err(RecoverError::OtherStart { .. })));
    assert_eq!(next.wait().await.code, 43);
    next.forget().await.unwrap();
    assert_eq!(rig.tasks().recover(&handle).await.unwrap().wait().await.code, 42);
}

/// A plugin that died while it made the groups of a task that its agent then gave up.
#[tokio::test]
async fn control_groups_of_a_start_that_was_never_finished_are_swept() {
    if !is_root() {
        return;
    }
    let mut rig = Rig::new();
    let tasks = rig.tasks();
    let task = tasks.start(rig.shell("exit 0")).await.unwrap();
    let place = entry(&rig);
    let noted = fs::read(place.join("groups")).unwrap_or_default();
    let made = rig.groups_beside_the_agents();
    end(&task).await;
    assert!(made.iter().all(|group| !group.exists()));
    for group in &made {
        fs::create_dir_all(group).unwrap();
    }
    fs::create_dir(&place).unwrap();
    fs::write(place.join("groups"), noted).unwrap();
    let old = |seconds: u64| {
        let then = SystemTime::now() - Duration::from_secs(seconds);
        let time = Timespec::try_from(then.duration_since(SystemTime::UNIX_EPOCH).unwrap()).unwrap();
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &place, &times, AtFlags::empty()).unwrap();
    };
    // Somebody may be about to go on with it; somebody does; somebody is in it.
    old(2);
    tasks.sweep(|_| false).await;
    assert!(place.exists());
    old(20);
    let held = File::open(&place).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    tasks.sweep(|_| false).await;
    assert!(place.exists());
    drop(held);
    if let Some(group) = made.first() {
        let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(group.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
        tasks.sweep(|_| false).await;
        assert!(place.exists() && group.exists());
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
    tasks.sweep(|_| false).await;
    assert!(made.iter().all(|group| !group.exists()), "{made:?}");
    rig.nothing_is_left();
    rig.remove_groups().await;
}

#[tokio::test]
async fn a_handle_is_small() {
    let rig = Rig::new();
    let task = rig.tasks().start(rig.shell("exit 0")).await.unwrap();
    let bytes = task.handle().to_bytes();
    assert!(bytes.len() <= 200, "{} bytes", bytes.len());
    assert!(!String::from_utf8_lossy(&bytes).contains("task"), "no environment");
    end(&task).await;
}

#[tokio::test]
async fn a_task_that_has_ended_is_swept_once_its_agent_has_removed_its_control_group() {
    if !is_root() {
        return;
    }
    let mut rig = Rig::new();
    let task = rig.tasks().start(rig.shell("exit 3")).await.unwrap();
    let (id, keeper) = (task.id().to_owned(), keeper_of(&rig));
    assert_eq!(task.wait().await.code, 3);
    lose(task);
    let nobody = |_: &str| false;
    // The agent may still ask how it ended.
    assert_eq!(rig.tasks().sweep(nobody).await.forgotten, Vec::<String>::new());
    rig.remove_groups().await;
    assert_eq!(rig.tasks().sweep(|known| known == id).await.forgotten, Vec::<String>::new());
    assert_eq!(rig.tasks().sweep(nobody).await.forgotten, [id]);
    assert!(!is_alive(keeper));
    rig.nothing_is_left();
}

#[tokio::test]
async fn a_task_that_runs_or_whose_agent_made_it_no_control_group_is_not_swept() {
    for rig in Rig::both() {
        let task = rig.tasks().start(rig.shell("sleep 1000")).await.unwrap();
        assert_eq!(rig.tasks().sweep(|_| false).await.forgotten, Vec::<String>::new());
        task.kill(patience(Duration::from_secs(10))).await.unwrap();
        assert_eq!(task.wait().await.signal, 9);
        assert_eq!(rig.tasks().sweep(|_| false).await.forgotten, Vec::<String>::new());
        end(&task).await;
        rig.nothing_is_left();
    }
}

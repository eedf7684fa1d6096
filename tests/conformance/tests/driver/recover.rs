//! RecoverTask: tasks that outlive their plugin, and what is not taken for one of them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tonic::Code;
use yurt_conformance::driver::{
    Flavour, Node, Program, Request, Task, each, exists, of_yurt, put_program, quoted, refused, soon, until,
};
use yurt_nomad::driver::{ExitResult, Opaque, TaskState, TaskStatus};
use yurt_nomad::proto::driver as proto;
use yurt_nomad::proto::driver::driver_client::DriverClient;

/// Ends with 42 when it is told to, by a file.
const ON_DEMAND: &str = "echo ready; while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.02; done; exit 42";

fn go(task: &Task) {
    std::fs::write(task.site.alloc_dir.join("alloc/data/go"), "").unwrap();
}

async fn started(node: &mut Node, request: impl Into<Request>) -> Task {
    let task = node.run(request).await;
    task.ready().await;
    task
}

/// Without the figures of the moment.
fn lasting(mut status: TaskStatus) -> TaskStatus {
    status.attributes.retain(|name, _| !name.contains('.'));
    status
}

async fn plugin_dies_and_comes_back(node: &mut Node) {
    node.kill_plugin().await;
    node.relaunch().await;
}

#[tokio::test]
async fn r01_a_task_is_found_again_and_is_as_before() {
    each("R01", async |node| {
        let task = started(node, Program::idle()).await;
        let before = task.inspect().await;
        plugin_dies_and_comes_back(node).await;
        let task = node.recover(&task).await.unwrap();
        // I02: the same status.
        let mut after = task.inspect().await;
        if !node.is_yurt() {
            after.exit = before.exit;
        }
        assert_eq!(lasting(after), lasting(before));
        assert_eq!(task.exec(&["/bin/sh", "-c", "echo again"]).await.stdout, b"again\n");
        assert_eq!(task.stopped(Duration::from_secs(5), "SIGKILL").await.1, ExitResult::signal(9));
        task.destroy(false).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn i02_the_status_is_the_same_before_and_after() {
    each("I02", async |node| {
        let task = started(node, Program::shell(ON_DEMAND)).await;
        let before = task.inspect().await;
        plugin_dies_and_comes_back(node).await;
        let task = node.recover(&task).await.unwrap();
        let (before, after) = (lasting(before), lasting(task.inspect().await));
        assert_eq!(
            (after.state, after.started_at, &after.attributes),
            (before.state, before.started_at, &before.attributes)
        );
        go(&task);
        assert_eq!(task.exit().await, ExitResult::code(42));
    })
    .await;
}

#[tokio::test]
async fn r02_a_wait_begun_anew_gets_the_result() {
    each("R02", async |node| {
        let task = started(node, Program::idle()).await;
        let waiting = {
            let (mut driver, id) = (task.driver.clone(), task.id().to_owned());
            tokio::spawn(async move { driver.wait(&id).await })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        plugin_dies_and_comes_back(node).await;
        assert!(soon(waiting).await.unwrap().is_err());
        let task = node.recover(&task).await.unwrap();
        assert_eq!(task.stopped(Duration::from_secs(5), "SIGKILL").await.1, ExitResult::signal(9));
        task.destroy(false).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn r03_a_handle_of_a_later_version_is_refused_with_a_reason() {
    of_yurt("R03", "it does not look at the version", async |node| {
        let task = started(node, Program::idle()).await;
        plugin_dies_and_comes_back(node).await;
        let mut strange = task.clone();
        strange.handle.version = 42;
        let (_, why, _) = refused(node.recover(&strange).await);
        assert!(why.contains("42"), "{why}");
        assert!(exists(task.process("sleep").await));
        node.recover(&task).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn r04_a_plugin_that_is_killed_loses_neither_the_task_nor_its_exit_code() {
    each("R04", async |node| {
        let task = started(node, Program::shell(ON_DEMAND)).await;
        let pid = task.pid().await;
        plugin_dies_and_comes_back(node).await;
        assert!(exists(pid));
        let task = node.recover(&task).await.unwrap();
        assert_eq!(task.pid().await, pid);
        go(&task);
        assert_eq!(task.exit().await, ExitResult::code(42));
    })
    .await;
}

#[tokio::test]
async fn r05_how_a_task_ended_while_the_plugin_was_away_is_known_afterwards() {
    each("R05", async |node| {
        let coded = started(node, Program::shell(ON_DEMAND)).await;
        let killed = started(node, Program::idle()).await;
        let victim = killed.process("sleep").await;
        let hungry = "echo ready; while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.02; done; exec tail /dev/zero";
        let hungry = started(node, Request::of(Program::shell(hungry)).memory(48)).await;
        let eater = hungry.process("sh").await;
        node.kill_plugin().await;
        go(&coded);
        go(&hungry);
        let pid = Pid::from_raw(i32::try_from(victim).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        for pid in [victim, eater] {
            node.gone(pid).await;
        }
        until("the end of the third", || coded.process_called("sh").is_none()).await;
        node.relaunch().await;
        let coded = node.recover(&coded).await.unwrap();
        assert_eq!(coded.exit().await, ExitResult::code(42));
        let killed = node.recover(&killed).await.unwrap();
        assert_eq!(killed.exit().await, ExitResult::signal(9));
        let hungry = node.recover(&hungry).await.unwrap();
        let exit = hungry.exit().await;
        assert_eq!((exit.signal, exit.oom_killed), (9, node.subject.flavour.name() != "raw_exec"), "{exit:?}");
        if node.is_yurt() {
            let status = coded.inspect().await;
            assert!(status.completed_at.unwrap() > status.started_at.unwrap());
        }
    })
    .await;
}

/// An agent has a task destroyed before it has noted that it is over. One that dies in between asks for it once more.
#[tokio::test]
async fn r05_how_a_task_ended_that_was_destroyed_is_remembered() {
    of_yurt("R05", "it starts the task a second time", async |node| {
        let task = node.run(Program::shell("exit 42")).await;
        assert_eq!(task.exit().await, ExitResult::code(42));
        task.destroy(false).await.unwrap();
        refused(node.driver.wait(task.id()).await);
        for _ in 0..2 {
            plugin_dies_and_comes_back(node).await;
            let task = node.recover(&task).await.unwrap();
            assert_eq!(task.inspect().await.state, TaskState::Exited);
            assert_eq!(task.exit().await, ExitResult::code(42));
            task.destroy(false).await.unwrap();
        }
        node.nothing_is_left().await;
    })
    .await;
}

#[tokio::test]
async fn r07_a_handle_of_before_a_reboot_is_refused_and_nothing_touched() {
    of_yurt("R07", "its handles name no boot", async |node| {
        let task = started(node, Program::idle()).await;
        let pid = task.process("sleep").await;
        node.kill_plugin().await;
        let id = node.dir().join("boot_id");
        std::fs::write(&id, "01234567-89ab-4cde-8f01-23456789abcd\n").unwrap();
        node.hide(&format!("mount --bind {} /proc/sys/kernel/random/boot_id", id.display()));
        node.relaunch().await;
        let (_, why, _) = refused(node.recover(&task).await);
        assert!(why.contains("boot"), "{why}");
        assert!(exists(pid));
        // What a boot does.
        for pid in [vec![task.supervisor()], task.processes()].concat() {
            let _ = rustix::process::kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
        }
        let groups = task.site.cgroups.strange();
        until("the end of the control groups", || {
            groups.iter().all(|group| std::fs::remove_dir(group).is_ok() || !group.exists())
        })
        .await;
    })
    .await;
}

/// A process with this very id, which was another's before; `None` where this kernel gives no say in it.
fn stranger(pid: u32) -> Option<Child> {
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    if !std::path::Path::new(LAST).exists() {
        return None;
    }
    // Others start processes, too.
    for _ in 0..500 {
        std::fs::write(LAST, (pid - 1).to_string()).unwrap();
        let mut child = Command::new("sleep").arg("615").stdin(Stdio::null()).spawn().unwrap();
        if child.id() == pid {
            return Some(child);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    panic!("nobody got the process id {pid}");
}

#[tokio::test]
async fn r08_a_process_id_that_went_to_a_stranger_is_not_taken_for_the_task() {
    of_yurt("R08", "its executor's address decides", async |node| {
        let task = started(node, Program::idle()).await;
        let (pid, keeper) = (task.pid().await, task.supervisor());
        node.kill_plugin().await;
        for pid in [keeper, pid] {
            rustix::process::kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
        }
        until("the end of both", || !exists(pid) && !exists(keeper) && task.processes().is_empty()).await;
        until("nobody has the id", || !std::path::Path::new(&format!("/proc/{pid}")).exists()).await;
        let Some(mut stranger) = stranger(pid) else { return };
        node.relaunch().await;
        if let Ok(task) = node.recover(&task).await {
            let result = task.wait().await;
            assert!(result.exit.code == -1 && result.unknown.is_some(), "{result:?}");
            refused(task.signal("SIGTERM").await);
            task.stop(Duration::from_secs(1), "SIGTERM").await.unwrap();
        }
        soon(node.driver.destroy(task.id(), true)).await.unwrap();
        assert_eq!(stranger.try_wait().unwrap(), None, "the stranger was hit");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    })
    .await;
}

#[tokio::test]
async fn r09_a_task_that_is_known_is_recovered_by_doing_nothing() {
    each("R09", async |node| {
        let task = started(node, Program::shell(ON_DEMAND)).await;
        for _ in 0..3 {
            node.recover(&task).await.unwrap();
        }
        go(&task);
        assert_eq!(task.exit().await, ExitResult::code(42));
    })
    .await;
}

#[tokio::test]
async fn r09_a_handle_without_its_config_is_refused() {
    of_yurt("R09", "it goes down", async |node| {
        let mut raw = DriverClient::new(node.channel());
        let stateful = proto::TaskHandle { driver_state: vec![1; 40], ..Default::default() };
        for handle in [None, Some(proto::TaskHandle::default()), Some(stateful)] {
            let request = proto::RecoverTaskRequest { task_id: String::new(), handle };
            let why = soon(raw.recover_task(request)).await.unwrap_err();
            assert!(!matches!(why.code(), Code::Unavailable | Code::Cancelled | Code::Unknown), "{why}");
        }
    })
    .await;
}

#[tokio::test]
async fn r10_a_foreign_or_garbled_state_is_refused_and_nothing_touched() {
    each("R10", async |node| {
        let task = started(node, Program::idle()).await;
        let pid = task.process("sleep").await;
        plugin_dies_and_comes_back(node).await;
        let good = task.handle.driver_state.0.clone();
        let mut states = vec![Vec::new(), b"garbage".to_vec(), vec![0xff; 300], good[..good.len() / 2].to_vec()];
        if node.is_yurt() {
            for at in (0..good.len()).step_by(7) {
                let mut flipped = good.clone();
                flipped[at] ^= 0x55;
                states.push(flipped);
            }
        }
        for state in states {
            let mut strange = task.clone();
            strange.handle.driver_state = Opaque(state.clone());
            // A bit that does not matter may be as it likes.
            if let Ok(same) = node.recover(&strange).await {
                assert!(node.is_yurt(), "{state:?}");
                assert_eq!(same.process("sleep").await, pid, "{state:?}");
                plugin_dies_and_comes_back(node).await;
            }
            assert!(exists(pid), "{state:?}");
        }
        let task = node.recover(&task).await.unwrap();
        assert_eq!(task.inspect().await.state, TaskState::Running);
    })
    .await;
}

#[tokio::test]
async fn d05_a_task_that_was_recovered_is_destroyed_like_any_other() {
    each("D05", async |node| {
        let task = started(node, Program::idle()).await;
        let pid = task.process("sleep").await;
        plugin_dies_and_comes_back(node).await;
        let task = node.recover(&task).await.unwrap();
        task.destroy(true).await.unwrap();
        node.gone(pid).await;
    })
    .await;
}

/// Keeps a file from being opened, and so from being executed, until its input ends; says when somebody tries.
const HOLD: &str = "
import fcntl, signal, sys
signal.signal(signal.SIGIO, lambda *_: print('tried', flush=True))
file = open(sys.argv[1])
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
";

/// Once its program may go it may have done something: a second start would do it twice.
#[tokio::test]
async fn s31_a_task_that_was_about_to_run_at_the_plugins_death_is_started_once() {
    of_yurt("S31", "it starts a second one", async |node| {
        let site = node.site(false);
        let program = site.task_dir().join("local/program");
        put_program(&program, "#!/bin/sh\necho once >> $NOMAD_ALLOC_DIR/data/starts\nexec sleep 600\n");
        let python = node.subject.flavour == Flavour::Python;
        let (key, code) = if python { ("interpreter", "code = \"1\"") } else { ("command", "") };
        let job = format!("{key} = {}\n{code}\n", quoted(&site.local_path("program")));
        let config = node.task_config(&site, &Request::of(Program::config(job)));

        let mut holder = tokio::process::Command::new("python3");
        holder.args(["-c", HOLD]).arg(&program).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = holder.spawn().unwrap();
        let (held, said) = (holder.stdin.take(), holder.stdout.take().unwrap());
        let mut said = BufReader::new(said).lines();
        assert_eq!(soon(said.next_line()).await.unwrap().unwrap(), "held");
        let starting = {
            let (mut driver, config) = (node.driver.clone(), config.clone());
            tokio::spawn(async move { driver.start(&config).await })
        };
        assert_eq!(soon(said.next_line()).await.unwrap().unwrap(), "tried");
        let keeper = site.cgroups.supervisor().unwrap();
        plugin_dies_and_comes_back(node).await;
        assert!(soon(starting).await.unwrap().is_err());
        drop(held);
        soon(holder.wait()).await.unwrap();

        let task = node.start_at(&site, config).await.unwrap();
        assert_eq!(task.supervisor(), keeper);
        task.process("sleep").await;
        assert_eq!(std::fs::read_to_string(site.alloc_dir.join("alloc/data/starts")).unwrap(), "once\n");
    })
    .await;
}

#[tokio::test]
async fn s31_the_same_request_after_the_plugins_death_gets_the_same_task() {
    of_yurt("S31", "it starts a second one", async |node| {
        let task = started(node, Program::idle()).await;
        let pid = task.pid().await;
        plugin_dies_and_comes_back(node).await;
        // Another request with this id.
        let mut other = task.config.clone();
        other.user = Some("root".into());
        refused(soon(node.driver.start(&other)).await);
        assert!(exists(pid));
        let (handle, _) = soon(node.driver.start(&task.config)).await.unwrap();
        assert_eq!(handle.driver_state, task.handle.driver_state);
        let task = node.renewed(&task);
        assert_eq!(task.pid().await, pid);
        let (_, why, _) = refused(soon(node.driver.start(&task.config)).await);
        assert!(why.contains("already started"), "{why}");
    })
    .await;
}

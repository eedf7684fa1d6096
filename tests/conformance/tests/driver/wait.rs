//! WaitTask: how a task ended.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tonic::Code;
use yurt_conformance::driver::{Program, Request, each, exists, in_a_root, refused, soon, until};
use yurt_conformance::patience;
use yurt_nomad::driver::ExitResult;

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn w01_an_exit_code_is_told_as_it_is() {
    each("W01", async |node| {
        for code in [7, 1, 255] {
            let task = node.run(Program::shell(format!("exit {code}"))).await;
            assert_eq!(task.exit().await, ExitResult::code(code));
        }
    })
    .await;
}

#[tokio::test]
async fn w02_a_signal_is_told_beside_the_code() {
    each("W02", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        kill(task.process("sleep").await);
        assert_eq!(task.exit().await, ExitResult::signal(9));
        // By the task's own hand.
        if !node.subject.tasks_are_process_1() {
            let task = node.run(Program::python("import os\nos.abort()")).await;
            assert_eq!(task.exit().await, ExitResult::signal(6));
        }
    })
    .await;
}

#[tokio::test]
async fn w03_a_task_ends_with_its_main_process() {
    each("W03", async |node| {
        let task = node.run(Program::shell("sleep 600 & echo ready; sleep 0.2; exit 3")).await;
        task.ready().await;
        let began = Instant::now();
        assert_eq!(task.exit().await, ExitResult::code(3));
        assert!(began.elapsed() < patience(Duration::from_secs(7)), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test]
async fn w04_in_a_pid_namespace_all_end_with_the_main_process() {
    in_a_root("W04", async |node| {
        let text = "sleep 601 & setsid sleep 602 & sleep 0.3; echo ready
            while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.05; done";
        let task = node.run(Program::shell(text)).await;
        task.ready().await;
        let children: Vec<u32> = task.processes();
        assert!(children.len() >= 3, "{children:?}");
        std::fs::write(task.site.alloc_dir.join("alloc/data/go"), "").unwrap();
        task.exit().await;
        until("no process left", || !children.iter().any(|pid| exists(*pid))).await;
    })
    .await;
}

#[tokio::test]
async fn w05_a_wait_that_is_given_up_does_nothing_to_the_task() {
    each("W05", async |node| {
        let task =
            node.run(Program::shell("while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.05; done; exit 4")).await;
        for _ in 0..3 {
            let given_up = tokio::time::timeout(Duration::from_millis(50), task.driver.clone().wait(task.id())).await;
            assert!(given_up.is_err());
        }
        assert!(task.runs().await);
        std::fs::write(task.site.alloc_dir.join("alloc/data/go"), "").unwrap();
        assert_eq!(task.exit().await, ExitResult::code(4));
    })
    .await;
}

#[tokio::test]
async fn w06_waiting_for_a_task_that_nobody_knows_is_an_error_with_a_reason() {
    each("W06", async |node| {
        let (code, why, _) = refused(soon(node.driver.wait("no/such/task")).await);
        assert!(why.contains("task not found"), "{code:?} {why}");
        assert!(!matches!(code, Code::Unavailable | Code::Cancelled), "agents take {code:?} for the plugin's death");
    })
    .await;
}

#[tokio::test]
async fn w07_all_who_wait_get_the_same_answer_and_after_the_end_at_once() {
    each("W07", async |node| {
        let task = node.run(Program::shell("echo ready; sleep 0.3; exit 9")).await;
        let waits: Vec<_> = (0..8)
            .map(|_| {
                let (mut driver, id) = (task.driver.clone(), task.id().to_owned());
                tokio::spawn(async move { driver.wait(&id).await.unwrap() })
            })
            .collect();
        for wait in waits {
            assert_eq!(soon(wait).await.unwrap().exit, ExitResult::code(9));
        }
        let began = Instant::now();
        assert_eq!(task.exit().await, ExitResult::code(9));
        assert!(began.elapsed() < patience(Duration::from_secs(1)));
        task.destroy(true).await.unwrap();
        let (_, why, _) = refused(soon(node.driver.wait(task.id())).await);
        assert!(why.contains("task not found"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn w09_a_supervisor_that_is_killed_does_not_lose_the_exit_code() {
    each("W09", async |node| {
        let task = node
            .run(Program::shell("echo ready; while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.05; done; exit 42"))
            .await;
        task.ready().await;
        let pid = task.process("sh").await;
        kill(task.supervisor());
        if !node.is_yurt() {
            let result = task.wait().await;
            assert_eq!(result.exit.code, -1);
            assert!(result.unknown.is_some());
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(task.runs().await && exists(pid));
        std::fs::write(task.site.alloc_dir.join("alloc/data/go"), "").unwrap();
        let result = task.wait().await;
        match kernel() >= (6, 15) {
            true => assert_eq!((result.exit, result.unknown), (ExitResult::code(42), None)),
            false => assert!(result.exit.code == -1 && result.unknown.is_some(), "{result:?}"),
        }
    })
    .await;
}

fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[tokio::test]
async fn w08_a_kill_by_hand_is_not_told_as_a_want_of_memory() {
    each("W08", async |node| {
        let task = node.run(Request::of(Program::idle()).memory(64)).await;
        task.ready().await;
        kill(task.process("sleep").await);
        assert_eq!(task.exit().await, ExitResult::signal(9));
    })
    .await;
}

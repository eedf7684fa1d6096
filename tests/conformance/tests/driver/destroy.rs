//! DestroyTask and InspectTask.

use std::time::{Duration, SystemTime};

use tonic::Code;
use yurt_conformance::driver::{Program, each, exists, of_yurt, refused, soon, until};
use yurt_nomad::driver::{ExitResult, TaskState};

#[tokio::test]
async fn d01_what_a_main_process_left_behind_dies_with_the_destroy() {
    each("D01", async |node| {
        let task = node.run(Program::shell("sleep 603 & sleep 0.2; echo ready; exit 0")).await;
        task.ready().await;
        task.exit().await;
        let left = task.processes();
        task.destroy(true).await.unwrap();
        for pid in left {
            node.gone(pid).await;
        }
    })
    .await;
}

#[tokio::test]
async fn d02_a_task_that_runs_is_destroyed_by_force_only() {
    each("D02", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let pid = task.process("sleep").await;
        let (_, why, _) = refused(task.destroy(false).await);
        assert!(why.contains("cannot destroy running task"), "{why}");
        assert!(task.runs().await && exists(pid));
        task.destroy(true).await.unwrap();
        node.gone(pid).await;
        let (code, why, _) = refused(soon(node.driver.inspect(task.id())).await);
        assert!(why.contains("task not found"), "{code:?} {why}");
    })
    .await;
}

#[tokio::test]
async fn d03_destroying_is_done_once_and_asked_for_as_often_as_one_likes() {
    of_yurt("D03", "it does not know what it destroyed", async |node| {
        let task = node.run(Program::shell("exit 0")).await;
        task.exit().await;
        for force in [false, true, false] {
            task.destroy(force).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn d03_after_the_end_no_force_is_needed() {
    each("D03", async |node| {
        let task = node.run(Program::shell("exit 0")).await;
        task.exit().await;
        // Nomad's own drivers let a wait return a moment before they know it themselves.
        if !node.is_yurt() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        task.destroy(false).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn d04_a_task_that_is_destroyed_takes_all_of_itself_along() {
    each("D04", async |node| {
        let task = node.run(Program::shell("sleep 600 & sleep 600 & echo ready; wait")).await;
        task.ready().await;
        task.exec(&["/bin/true"]).await;
        let mut session = task.stream(&["/bin/sh", "-c", "echo up; sleep 606"], true).await;
        soon(session.next()).await.unwrap();
        drop(session);
        task.destroy(true).await.unwrap();
        node.nothing_is_left().await;
        assert!(task.stdout().whole().await.starts_with("ready"));
    })
    .await;
}

#[tokio::test]
async fn i01_a_task_that_runs_is_told_as_such_with_its_process() {
    each("I01", async |node| {
        let before = SystemTime::now();
        let task = node.run(Program::idle()).await;
        let status = task.inspect().await;
        assert_eq!((status.state, status.id.as_str(), status.name.as_str()), (TaskState::Running, task.id(), "web"));
        let started = status.started_at.unwrap();
        let slack = Duration::from_millis(50);
        assert!(started >= before - slack && started <= SystemTime::now() + slack, "{started:?}");
        assert!(exists(task.pid().await));
    })
    .await;
}

#[tokio::test]
async fn i03_the_end_is_told_when_there_was_one() {
    each("I03", async |node| {
        let task = node.run(Program::shell("echo ready; sleep 0.3; exit 6")).await;
        let status = task.inspect().await;
        if node.is_yurt() {
            assert_eq!((status.completed_at, status.exit), (None, None));
        }
        task.exit().await;
        until("the end is told", || true).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = task.inspect().await;
        assert_eq!((status.state, status.exit), (TaskState::Exited, Some(ExitResult::code(6))));
        let lived = status.completed_at.unwrap().duration_since(status.started_at.unwrap()).unwrap();
        assert!(lived >= Duration::from_millis(250), "{lived:?}");
        let (code, why, _) = refused(soon(node.driver.inspect("no/such/task")).await);
        assert!(why.contains("task not found"), "{code:?} {why}");
        assert!(!matches!(code, Code::Unavailable | Code::Cancelled));
    })
    .await;
}

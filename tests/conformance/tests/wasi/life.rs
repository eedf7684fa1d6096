//! A component's life: how it is bounded, stopped, found again, and what cannot be done to it.

use std::time::{Duration, Instant};

use yurt_conformance::driver::{Node, Task, refused, status_field};
use yurt_conformance::patience;
use yurt_nomad::driver::ExitResult;

use crate::stage::{asked, on_a_node, run};

const KILL_TIMEOUT: Duration = Duration::from_secs(20);

async fn ready(node: &mut Node, words: &[&str]) -> Task {
    let task = run(node, &asked(words)).await;
    task.ready().await;
    task
}

#[tokio::test]
async fn memory_beyond_the_task_s_is_refused_and_the_end_says_so() {
    on_a_node(async |node| {
        let task = run(node, &asked(&["grow", "20"]).memory(64)).await;
        assert_eq!(task.exit().await, ExitResult::code(0), "{}", task.stderr().text());
        task.stdout().says("20 MiB\n").await;
        let task = run(node, &asked(&["grow", "200"]).memory(64)).await;
        // Not the kernel: the component heard no.
        assert_eq!(task.exit().await, ExitResult::code(135), "{}", task.stderr().text());
        task.stderr().says("refused memory").await;
        let most: usize = task.stdout().text().lines().last().unwrap().parse().unwrap();
        assert!((24..60).contains(&most), "{most} MiB of 64");
    })
    .await;
}

#[tokio::test]
async fn a_component_that_does_not_look_at_its_input_ends_at_once_by_the_signal() {
    on_a_node(async |node| {
        for (words, signal, number) in [("sleep", "SIGINT", 2), ("sleep", "SIGTERM", 15), ("spin", "SIGTERM", 15)] {
            let task = ready(node, &[words]).await;
            let (took, exit) = task.stopped(KILL_TIMEOUT, signal).await;
            assert_eq!(exit, ExitResult::signal(number), "{words} {signal}");
            assert!(took < patience(Duration::from_secs(5)), "{words}: {took:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_component_that_looks_at_its_input_sees_its_end_and_ends_by_itself() {
    on_a_node(async |node| {
        for signal in ["SIGTERM", "SIGHUP"] {
            let task = ready(node, &["until-stdin-ends"]).await;
            assert!(task.runs().await);
            let (took, exit) = task.stopped(KILL_TIMEOUT, signal).await;
            assert_eq!(exit, ExitResult::code(0), "{signal}");
            task.stdout().says("ended: true\n").await;
            assert!(took < patience(Duration::from_secs(5)), "{took:?}");
        }
        // What is asked twice does not go on looking.
        let task = ready(node, &["until-stdin-ends"]).await;
        task.signal("SIGTERM").await.unwrap();
        assert_eq!(task.exit().await, ExitResult::code(0));
    })
    .await;
}

#[tokio::test]
async fn a_component_outlives_its_plugin_and_is_found_again() {
    on_a_node(async |node| {
        let task = ready(node, &["sleep"]).await;
        let pid = task.pid().await;
        node.kill_plugin().await;
        node.relaunch().await;
        let task = node.recover(&task).await.unwrap();
        assert_eq!((task.pid().await, task.runs().await), (pid, true));
        // What was planned holds without the guest that planned it.
        let (_, why, _) = refused(task.driver.clone().exec(task.id(), &["true"], Duration::from_secs(5)).await);
        assert!(why.contains("WebAssembly component"), "{why}");
        assert_eq!(task.stopped(KILL_TIMEOUT, "SIGTERM").await.1, ExitResult::signal(15));
    })
    .await;
}

#[tokio::test]
async fn what_a_component_uses_is_measured() {
    on_a_node(async |node| {
        let task = ready(node, &["spin"]).await;
        let mut figures = task.stats(Duration::from_millis(200)).await;
        let first = figures.next().await.unwrap().unwrap();
        let second = figures.next().await.unwrap().unwrap();
        assert!(first.total.memory.rss.unwrap_or_default() > 0, "{first:?}");
        assert!(second.total.cpu.percent.unwrap_or_default() > 1.0, "{second:?}");
        assert_eq!(second.by_pid.len(), 1, "{second:?}");
    })
    .await;
}

#[tokio::test]
async fn commands_and_signals_are_refused_with_the_reason() {
    on_a_node(async |node| {
        let capabilities = node.driver.capabilities().await.unwrap();
        assert!(!capabilities.exec && !capabilities.signals);
        let task = ready(node, &["sleep"]).await;
        let (_, why, _) = refused(task.driver.clone().exec(task.id(), &["/bin/sh"], Duration::from_secs(5)).await);
        assert!(why.contains("WebAssembly component") && why.contains("no program in it to run"), "{why}");
        let (_, why, _) = refused(task.signal("SIGHUP").await);
        assert!(why.contains("gets no signals") && why.contains("SIGHUP"), "{why}");
        assert!(task.runs().await);
        task.signal("SIGTERM").await.unwrap();
        assert_eq!(task.exit().await, ExitResult::signal(15));
    })
    .await;
}

#[tokio::test]
async fn the_process_of_a_component_can_do_little() {
    on_a_node(async |node| {
        let task = ready(node, &["sleep"]).await;
        let pid = task.pid().await;
        let field = |name: &str| status_field(pid, name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(field("Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(
            (field("NoNewPrivs"), field("Seccomp"), field("Seccomp_filters")),
            ("1".into(), "2".into(), "2".into())
        );
        assert_eq!((field("CapEff"), field("CapPrm")), ("0".repeat(16), "0".repeat(16)));
        assert_eq!(field("Name"), "yurt-component");
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), std::path::Path::new("/"));
        // Its own user cannot look into it.
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{pid}/mem")).unwrap()), 0);
        assert_eq!(task.processes(), [pid]);
    })
    .await;
}

#[tokio::test]
async fn a_component_is_compiled_once() {
    on_a_node(async |node| {
        let mut took = Vec::new();
        for _ in 0..3 {
            let began = Instant::now();
            let task = run(node, &asked(&["hello"])).await;
            took.push(began.elapsed());
            assert_eq!(task.exit().await, ExitResult::code(0));
            task.stdout().says("to stdout").await;
        }
        let task = ready(node, &["sleep"]).await;
        let resident = status_field(task.pid().await, "VmRSS").unwrap();
        let own = status_field(task.pid().await, "RssAnon").unwrap();
        println!("starts: {took:?}; resident {resident}, of it its own {own}");
    })
    .await;
}

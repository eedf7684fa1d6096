//! Tasks that no agent asks for any more: one that lost its memory, or never comes back.

use std::time::Duration;

use yurt_conformance::driver::{Node, Program, Task, exists, of_yurt, soon, until, within};
use yurt_conformance::patience;
use yurt_nomad::driver::ExitResult;

const OTHERS: &str = "it does not look for them";

async fn told_to(node: &mut Node, orphans: &str) {
    node.launch_again().await;
    let keys = format!("fingerprint_period = \"1s\"\n orphans = \"{orphans}\"\n orphans_after = \"1s\"");
    let config = node.subject.plugin_config_with(&keys);
    node.configure(&config).await.unwrap();
    // The first look begins with it.
    let mut looks = soon(node.driver.fingerprint()).await.unwrap();
    soon(looks.next()).await.unwrap();
}

async fn started(node: &mut Node) -> (Task, u32) {
    let task = node.run(Program::idle()).await;
    task.ready().await;
    let pid = task.process("sleep").await;
    (task, pid)
}

fn said(node: &Node, task: &Task, words: &str) -> usize {
    node.log().iter().filter(|line| line.contains(task.id()) && line.contains(words)).count()
}

#[tokio::test]
async fn l12_a_task_that_no_agent_asks_for_is_told_of_once_and_left_alone() {
    of_yurt("L12", OTHERS, async |node| {
        let (orphan, pid) = started(node).await;
        let (recovered, _) = started(node).await;
        node.kill_plugin().await;
        told_to(node, "report").await;
        let recovered = node.recover(&recovered).await.unwrap();
        let (own, _) = started(node).await;
        until("it is told of", || said(node, &orphan, "No agent has asked") > 0).await;
        tokio::time::sleep(patience(Duration::from_millis(2500))).await;
        assert!(exists(pid));
        // In the log as a warning and as an event.
        assert_eq!(said(node, &orphan, "left as it is"), 2);
        for known in [&recovered, &own] {
            assert_eq!(said(node, known, "No agent has asked"), 0);
        }
        // An agent may still come.
        let orphan = node.recover(&orphan).await.unwrap();
        assert!(orphan.runs().await);
    })
    .await;
}

#[tokio::test]
async fn l12_where_the_operator_says_so_it_is_ended_and_nothing_of_it_is_left() {
    of_yurt("L12", OTHERS, async |node| {
        let (orphan, pid) = started(node).await;
        let (recovered, kept) = started(node).await;
        node.kill_plugin().await;
        told_to(node, "reap").await;
        let recovered = node.recover(&recovered).await.unwrap();
        node.gone(pid).await;
        assert!(within(Duration::from_secs(20), || said(node, &orphan, "the orphan is gone") == 1).await);
        assert!(orphan.processes().is_empty());
        // An agent that comes too late hears how it ended.
        let orphan = node.recover(&orphan).await.unwrap();
        assert_eq!(orphan.exit().await, ExitResult::signal(9));
        orphan.destroy(false).await.unwrap();
        assert!(recovered.runs().await && exists(kept));
    })
    .await;
}

//! What is refused: in one sentence that says where it went wrong, with nothing left, and recoverable only if another try may help.

use std::time::{Duration, Instant};

use tonic::Code;
use yurt_conformance::driver::{
    Hierarchy, Node, Program, Request, children, of_python, of_yurt, quoted, refused, soon, until,
};
use yurt_conformance::patience;
use yurt_nomad::client::CallError;
use yurt_nomad::driver::{ExitResult, Mount};

use crate::make::Guest;

const OTHERS: &str = "it knows no guests";

/// One sentence with these words in it, not recoverable; nothing is left.
async fn refused_for<T: std::fmt::Debug>(node: &Node, result: Result<T, CallError>, words: &[&str]) {
    let (code, why, recoverable) = refused(result);
    assert!(!matches!(code, Code::Unavailable | Code::Cancelled), "agents take {code:?} for the plugin's death: {why}");
    for word in words {
        assert!(why.contains(word), "no {word:?} in: {why}");
    }
    assert!(!why.contains('\n') && why.len() < 1000, "{why}");
    assert!(!recoverable, "{why}");
    until("no children of the plugin", || children(node.plugin_pid()).is_empty()).await;
    node.nothing_is_left().await;
}

#[tokio::test]
async fn c04_a_script_that_is_missing_or_not_the_tasks_is_refused_by_its_path() {
    of_python("C04", "it knows no scripts", async |node| {
        std::fs::write(node.dir().join("outside.py"), "print('outside')").unwrap();
        let outside = node.dir().join("outside.py").display().to_string();
        for (script, words) in [
            ("server.py", vec!["server.py"]),
            ("local/missing/main.py", vec!["local/missing/main.py"]),
            ("../../outside.py", vec!["../../outside.py"]),
            (&outside, vec![outside.as_str()]),
            ("/etc/passwd/x.py", vec!["/etc/passwd/x.py"]),
        ] {
            let result = node.try_run(Program::config(format!("script = {}", quoted(script)))).await;
            refused_for(node, result, &words).await;
        }
        if !node.subject.isolation.has_a_root() {
            return;
        }
        // In a root of its own a link that leads out leads nowhere.
        let site = node.site(false);
        std::os::unix::fs::symlink(&outside, site.task_dir().join("link.py")).unwrap();
        let config = node.task_config(&site, &Request::of(Program::config("script = \"link.py\"")));
        let result = node.start_at(&site, config).await;
        refused_for(node, result, &["link.py"]).await;
    })
    .await;
}

#[tokio::test]
async fn s22_what_the_kernel_does_not_take_is_refused_with_its_file_and_error() {
    of_yurt("S22", "it does not look", async |node| {
        let mut request = Request::of(Program::idle());
        request.cores = Some("4000".into());
        let result = node.try_run(request).await;
        let file = if Hierarchy::here() == Hierarchy::V1 { "cpuset.cpus" } else { "cpuset" };
        refused_for(node, result, &[file, "4000"]).await;
    })
    .await;
}

#[tokio::test]
async fn s07_a_mount_of_what_is_not_there_is_refused_by_its_path() {
    of_yurt("S07", "it makes a directory of it", async |node| {
        if !node.subject.isolation.has_a_root() {
            // There are none, as the driver tells agents.
            return;
        }
        let site = node.site(false);
        let mut config = node.task_config(&site, &Request::of(Program::idle()));
        config.mounts =
            vec![Mount { task_path: "/volume".into(), host_path: "/no/such/volume".into(), ..Mount::default() }];
        let result = node.start_at(&site, config).await;
        refused_for(node, result, &["/no/such/volume", "No such file"]).await;
    })
    .await;
}

#[tokio::test]
async fn l04_a_plan_that_asks_for_more_than_is_granted_is_refused_by_the_grants_name() {
    of_yurt("L04", OTHERS, async |node| {
        let strict = node.subject.plugin_config_with("grants {\nusers = []\n}");
        node.configure(&strict).await.unwrap();
        let result = node.try_run(Program::idle()).await;
        refused_for(node, result, &["nobody", "yurt.grants.users"]).await;
        node.configure(node.subject.plugin_config()).await.unwrap();
        let task = node.run(Program::shell("exit 3")).await;
        assert_eq!(task.exit().await, ExitResult::code(3));
    })
    .await;
}

#[tokio::test]
async fn l04_a_guest_that_fails_fails_that_call_alone_and_in_bounded_time() {
    of_yurt("L04", OTHERS, async |node| {
        for (name, words) in [("trap-in-plan", vec!["trapped"]), ("spin-in-plan", vec!["deadline"])] {
            let mut other = with_guest(node, &Guest::hostile_driver(name).later_than_its_trial()).await;
            let site = other.site(false);
            let config = site.task_config(&Request::of(Program::idle()), vec![0x80]);
            for _ in 0..2 {
                let began = Instant::now();
                let result = other.start_at(&site, config.clone()).await;
                assert!(began.elapsed() < patience(Duration::from_secs(20)), "{name}: {:?}", began.elapsed());
                refused_for(&other, result, &words).await;
                soon(other.base.plugin_info()).await.unwrap();
                soon(other.driver.capabilities()).await.unwrap();
            }
            other.finish().await;
        }
    })
    .await;
}

/// The plugin with another guest, which asks nothing of jobs.
async fn with_guest(node: &Node, guest: &Guest) -> Node {
    let file = node.dir().join("trial.wasm");
    std::fs::write(&file, guest.component()).unwrap();
    let mut other = Node::with_args(node.subject, &["--guest", file.to_str().unwrap()]).await;
    other.configure("").await.unwrap();
    other
}

#[tokio::test]
async fn r12_a_task_is_recovered_whatever_became_of_its_guest() {
    of_yurt("R12", OTHERS, async |node| {
        let task = node
            .run(Program::shell("echo ready; while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.02; done; exit 42"))
            .await;
        task.ready().await;
        let pid = task.pid().await;
        node.kill_plugin().await;
        // Another guest, of the same plugin file.
        let file = node.dir().join("trial.wasm");
        std::fs::write(&file, Guest::driver("").component()).unwrap();
        node.agent().args = vec!["--guest".into(), file.into()];
        node.launch_again().await;
        node.configure("").await.unwrap();
        let task = node.recover(&task).await.unwrap();
        assert_eq!(task.pid().await, pid);
        assert_eq!(task.sh("echo still here").await, "still here");
        std::fs::write(task.site.alloc_dir.join("alloc/data/go"), "").unwrap();
        assert_eq!(task.exit().await, ExitResult::code(42));
    })
    .await;
}

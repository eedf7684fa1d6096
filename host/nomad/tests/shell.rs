//! A real driver process (`examples/shell.rs`) through the launches of an agent's start, and tasks in it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tonic::Code;
use yurt_nomad::client::{Agent, CallError, Launched, PluginKind};
use yurt_nomad::config::to_msgpack;
use yurt_nomad::driver::{Env, ExecInput, ExitResult, Health, Opaque, TaskConfig, TaskState};

const SOON: Duration = Duration::from_secs(60);

/// `examples/shell.rs`, which cargo builds with the tests of this package.
fn agent() -> Agent {
    let tests = std::env::current_exe().unwrap();
    let shell: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples/shell");
    assert!(shell.exists(), "run `cargo build -p yurt-nomad --examples` first: {} is missing", shell.display());
    Agent::new(shell)
}

async fn launched() -> Launched {
    agent().start(&json!(null)).await.unwrap()
}

fn task(directory: &TempDir, id: &str, command: &str) -> TaskConfig {
    let path = |name: &str| {
        let path = directory.path().join(name);
        std::fs::File::create(&path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    TaskConfig {
        id: id.to_owned(),
        name: "t".to_owned(),
        driver_config: Opaque(to_msgpack(&json!({ "command": command }))),
        env: Env(
            [("GREETING".to_owned(), "good day".to_owned()), ("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into()
        ),
        stdout_path: path("stdout"),
        stderr_path: path("stderr"),
        ..TaskConfig::default()
    }
}

#[tokio::test]
async fn a_driver_comes_up_as_an_agent_launches_it() {
    let asked = agent().interrogate().await.unwrap();
    assert_eq!((asked.info.name.as_str(), asked.info.kind), ("shell", Ok(PluginKind::Driver)));
    assert!(asked.schema.is_none());
    let mut launched = launched().await;
    launched.driver.init().await.unwrap();
    let mut looks = launched.driver.fingerprint().await.unwrap();
    let look = looks.next().await.unwrap();
    assert!(matches!(look.health, Health::Healthy { .. }) && look.attributes.contains_key("driver.shell.path"));
    let mut events = launched.driver.events().await.unwrap();
    launched.driver.shutdown().await.unwrap();
    // Both streams are open and are cut.
    let ended = launched.end().await;
    assert!(ended.graceful && ended.status.success(), "{ended:?}");
    assert!(looks.next().await.is_err() && events.next().await.is_err());
}

#[tokio::test]
async fn a_task_runs_writes_and_ends_with_its_own_code() {
    let directory = tempfile::tempdir().unwrap();
    let mut launched = launched().await;
    let wanted = task(&directory, "a/t/1", "echo $GREETING; echo trouble >&2; exit 43");
    let (handle, _) = launched.driver.start(&wanted).await.unwrap();
    let end = tokio::time::timeout(SOON, launched.driver.wait("a/t/1")).await.unwrap().unwrap();
    assert_eq!(end.exit, ExitResult::code(43));
    let written = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!((written("stdout").as_str(), written("stderr").as_str()), ("good day\n", "trouble\n"));
    let status = launched.driver.inspect("a/t/1").await.unwrap();
    assert_eq!((status.state, status.exit), (TaskState::Exited, Some(ExitResult::code(43))));
    assert_eq!(status.attributes["pid"].as_bytes(), handle.driver_state.0);
    launched.driver.recover(&handle).await.unwrap();
    launched.driver.destroy("a/t/1", false).await.unwrap();
    assert!(matches!(launched.driver.inspect("a/t/1").await, Err(CallError::Refused { code: Code::NotFound, .. })));
    launched.end().await;
}

#[tokio::test]
async fn a_running_task_is_measured_signalled_stopped_and_destroyed() {
    let directory = tempfile::tempdir().unwrap();
    let mut launched = launched().await;
    let driver = &mut launched.driver;
    driver.start(&task(&directory, "a/t/1", "exec sleep 1000")).await.unwrap();
    let mut figures = driver.stats("a/t/1", Duration::from_millis(100)).await.unwrap();
    // The first figures may be of a process that was made a moment ago and is nothing yet.
    let mut rss = 0;
    for _ in 0..20 {
        rss = figures.next().await.unwrap().unwrap().total.memory.rss.unwrap();
        if rss > 10_000 {
            break;
        }
    }
    assert!(rss > 10_000, "{rss}");
    let why = driver.signal("a/t/1", "SIGWHAT").await.unwrap_err();
    assert!(why.to_string().contains("there is no signal \"SIGWHAT\""), "{why}");
    let why = driver.destroy("a/t/1", false).await.unwrap_err();
    assert!(why.to_string().contains("cannot destroy running task"), "{why}");
    driver.signal("a/t/1", "sigusr1").await.unwrap();
    let end = tokio::time::timeout(SOON, driver.wait("a/t/1")).await.unwrap().unwrap();
    assert_eq!(end.exit, ExitResult::signal(10));
    while tokio::time::timeout(SOON, figures.next()).await.unwrap().unwrap().is_some() {}

    driver.start(&task(&directory, "a/t/2", "trap '' INT; echo deaf; while :; do sleep 0.1; done")).await.unwrap();
    let said = directory.path().join("stdout");
    tokio::time::timeout(SOON, async {
        while std::fs::read_to_string(&said).unwrap() != "deaf\n" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    driver.stop("a/t/2", Duration::from_millis(300), "SIGINT").await.unwrap();
    assert_eq!(driver.wait("a/t/2").await.unwrap().exit, ExitResult::signal(9));
    driver.start(&task(&directory, "a/t/3", "sleep 1000")).await.unwrap();
    driver.destroy("a/t/3", true).await.unwrap();
    launched.end().await;
}

#[tokio::test]
async fn commands_run_in_a_task_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut launched = launched().await;
    let driver = &mut launched.driver;
    driver.start(&task(&directory, "a/t/1", "sleep 1000")).await.unwrap();
    let result = driver.exec("a/t/1", &["sh", "-c", "echo $GREETING; exit 3"], SOON).await.unwrap();
    assert_eq!((result.stdout.as_slice(), result.exit), (b"good day\n".as_slice(), ExitResult::code(3)));
    let slow = driver.exec("a/t/1", &["sleep", "1000"], Duration::from_millis(50)).await;
    assert!(matches!(slow, Err(CallError::Refused { code: Code::DeadlineExceeded, .. })), "{slow:?}");

    let line = "cat; echo over >&2; exit 5";
    let mut session = driver.exec_stream("a/t/1", &["sh", "-c", line], false).await.unwrap();
    let sender = session.sender();
    let sent: Vec<u8> = (0..8 << 20).map(|n: u32| (n % 253) as u8).collect();
    let bytes = sent.clone();
    let feeding = tokio::spawn(async move {
        for chunk in bytes.chunks(30_000) {
            sender.send(ExecInput::Stdin(chunk.to_vec())).await;
        }
        sender.send(ExecInput::CloseStdin).await;
    });
    let result = tokio::time::timeout(SOON, session.finish()).await.unwrap().unwrap();
    feeding.await.unwrap();
    assert!(result.stdout == sent, "{} of {} bytes", result.stdout.len(), sent.len());
    assert_eq!((result.stderr.as_slice(), result.exit), (b"over\n".as_slice(), ExitResult::code(5)));
    driver.destroy("a/t/1", true).await.unwrap();
    launched.end().await;
}

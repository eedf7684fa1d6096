//! Bad drivers and callers that go away: each costs its own call only.

use std::time::Duration;

use serde_json::json;
use tonic::Code;
use yurt_nomad::client::{CallError, Driver};
use yurt_nomad::driver::{TaskConfig, TaskHandle};

use crate::fake::{task, to_do};
use crate::{WHILE, nothing, refusal, served, soon, until};

fn handle(id: &str) -> TaskHandle {
    let config = TaskConfig { id: id.to_owned(), ..TaskConfig::default() };
    TaskHandle { version: 1, config, ..TaskHandle::default() }
}

/// Every call with one answer that names a task, and a task that is told to do `what`.
async fn call(driver: &mut Driver, call: &str, what: &str) -> Result<(), CallError> {
    let id = format!("{what}:1");
    let second = Duration::from_secs(1);
    match call {
        "StartTask" => driver.start(&task("a/t/1", &to_do(what))).await.map(|_| ()),
        "RecoverTask" => driver.recover(&handle(&id)).await,
        "StopTask" => driver.stop(&id, second, "").await,
        "DestroyTask" => driver.destroy(&id, true).await,
        "InspectTask" => driver.inspect(&id).await.map(|_| ()),
        "SignalTask" => driver.signal(&id, "SIGHUP").await,
        "ExecTask" => driver.exec(&id, &["true"], second).await.map(|_| ()),
        "CreateNetwork" => driver.create_network(&id, "").await.map(|_| ()),
        "DestroyNetwork" => driver.destroy_network(&id, &Default::default()).await,
        "WaitTask" => driver.wait(&id).await.map(|_| ()),
        other => panic!("{other}"),
    }
}

const BOUNDED: [(&str, u64); 9] = [
    ("StartTask", 600),
    ("RecoverTask", 60),
    ("StopTask", 61),
    ("DestroyTask", 60),
    ("InspectTask", 60),
    ("SignalTask", 60),
    ("ExecTask", 61),
    ("CreateNetwork", 60),
    ("DestroyNetwork", 60),
];

#[tokio::test]
async fn a_panic_in_a_call_is_an_answer_to_that_call() {
    let mut served = served().await;
    for name in BOUNDED.map(|(name, _)| name).into_iter().chain(["WaitTask"]) {
        let (code, message) = refusal(soon(call(&mut served.driver, name, "panic")).await);
        assert_eq!(code, Code::Internal);
        assert!(message.contains(&format!("in {name},")) && message.ends_with("as told"), "{message}");
        served.driver.task_schema().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_ends_in_an_error_except_for_a_wait() {
    let mut served = served().await;
    for (name, limit) in BOUNDED {
        let began = tokio::time::Instant::now();
        let (code, message) = refusal(call(&mut served.driver, name, "hang").await);
        assert_eq!((code, began.elapsed().as_secs()), (Code::DeadlineExceeded, limit), "{name}");
        assert!(message.contains(&format!("did not answer {name} within")), "{message}");
    }
    let day = Duration::from_secs(24 * 3600);
    for id in ["hang:1", "runs:1"] {
        assert!(tokio::time::timeout(day, served.driver.wait(id)).await.is_err());
    }
    // So is a command without a timeout.
    assert!(tokio::time::timeout(day, served.driver.exec("hang:1", &["x"], Duration::ZERO)).await.is_err());
    served.driver.task_schema().await.unwrap();
}

#[tokio::test]
async fn a_task_whose_starter_went_away_is_destroyed() {
    let mut served = served().await;
    nothing(served.driver.start(&task("a/t/1", &to_do("slow")))).await;
    assert_eq!((served.fake.waits(), served.fake.started.lock().unwrap().len()), (1, 0));
    // Until the plugin has heard of it.
    tokio::time::sleep(WHILE).await;
    served.fake.go.notify_one();
    until(|| served.fake.called("destroyed a/t/1 true")).await;
    assert_eq!(served.fake.started.lock().unwrap().len(), 1);
    // One whose starter is there is not.
    served.driver.start(&task("a/t/2", &json!({}))).await.unwrap();
    assert!(!served.fake.called("destroyed a/t/2 true"));
}

#[tokio::test]
async fn what_was_begun_goes_on_when_its_caller_goes_away() {
    let mut served = served().await;
    nothing(served.driver.stop("slow:1", Duration::from_secs(1), "SIGINT")).await;
    nothing(served.driver.destroy("slow:2", true)).await;
    nothing(served.driver.recover(&handle("slow:3"))).await;
    nothing(served.driver.signal("slow:4", "SIGHUP")).await;
    until(|| served.fake.waits() == 4).await;
    for _ in 0..4 {
        served.fake.go.notify_one();
        let left = served.fake.waits();
        until(|| served.fake.waits() < left).await;
    }
    for call in ["stopped slow:1 1s Some(\"SIGINT\")", "destroyed slow:2 true", "signalled slow:4 SIGHUP"] {
        until(|| served.fake.called(call)).await;
    }
    until(|| served.fake.recovered.lock().unwrap().len() == 1).await;
}

//! Agents of other ages: fields that are missing, values that came later.

use tonic::Code;
use yurt_nomad::config::to_msgpack;
use yurt_nomad::driver::{Env, NetworkMode, Opaque, Resources, TaskConfig, TaskState};
use yurt_nomad::proto::driver as proto;
use yurt_nomad::proto::driver::driver_client::DriverClient;

use crate::fake::to_do;
use crate::served;

/// As Nomad 0.9 sent them: no resources in detail, no network, no DNS, no ids of job and node.
fn old_task(id: &str) -> proto::TaskConfig {
    proto::TaskConfig {
        id: id.to_owned(),
        name: "t".to_owned(),
        msgpack_driver_config: to_msgpack(&to_do("run")),
        env: [("A".to_owned(), "b".to_owned())].into(),
        alloc_dir: "/alloc".to_owned(),
        job_name: "j".to_owned(),
        alloc_id: "a".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_old_agents_task_starts_and_is_found_again() {
    let served = served().await;
    let mut raw = DriverClient::new(served.channel.clone());
    let request = proto::StartTaskRequest { task: Some(old_task("a/t/1")) };
    let response = raw.start_task(request).await.unwrap().into_inner();
    let handle = response.handle.unwrap();
    // Nothing is added to what came.
    assert_eq!(handle.config, Some(old_task("a/t/1")));
    let (task, _) = served.fake.started.lock().unwrap().pop().unwrap();
    let wanted = TaskConfig {
        id: "a/t/1".to_owned(),
        name: "t".to_owned(),
        driver_config: Opaque(to_msgpack(&to_do("run"))),
        env: Env([("A".to_owned(), "b".to_owned())].into()),
        alloc_dir: "/alloc".to_owned(),
        job_name: "j".to_owned(),
        alloc_id: "a".to_owned(),
        resources: Resources::default(),
        ..TaskConfig::default()
    };
    assert_eq!(task, wanted);

    // After the agent's restart the job's config is gone.
    let mut config = old_task("a/t/1");
    config.msgpack_driver_config.clear();
    let handle = proto::TaskHandle { config: Some(config), ..handle };
    let request = proto::RecoverTaskRequest { task_id: String::new(), handle: Some(handle) };
    raw.recover_task(request).await.unwrap();
    let recovered = served.fake.recovered.lock().unwrap().pop().unwrap();
    assert_eq!((recovered.version, recovered.driver_state), (3, Opaque(b"a/t/1".to_vec())));
}

#[tokio::test]
async fn requests_without_what_they_are_about_are_refused() {
    let served = served().await;
    let mut raw = DriverClient::new(served.channel.clone());
    let nameless = proto::TaskConfig::default();
    for task in [None, Some(nameless.clone())] {
        let why = raw.start_task(proto::StartTaskRequest { task }).await.unwrap_err();
        assert_eq!(why.code(), Code::InvalidArgument, "{why}");
    }
    let handle = |config| Some(proto::TaskHandle { version: 1, config, ..Default::default() });
    for handle in [None, handle(None), handle(Some(nameless.clone()))] {
        let request = proto::RecoverTaskRequest { task_id: String::new(), handle };
        let why = raw.recover_task(request).await.unwrap_err();
        assert_eq!(why.code(), Code::InvalidArgument, "{why}");
    }
    assert!(served.fake.calls.lock().unwrap().is_empty());
    // Agents leave the id of the request empty; harnesses do not.
    let request = proto::RecoverTaskRequest { task_id: "a/t/9".to_owned(), handle: handle(Some(nameless)) };
    raw.recover_task(request).await.unwrap();
    assert_eq!(served.fake.recovered.lock().unwrap()[0].config.id, "a/t/9");
}

#[tokio::test]
async fn a_task_with_isolation_of_the_future_is_not_started_without_it() {
    let served = served().await;
    let mut raw = DriverClient::new(served.channel.clone());
    let spec = proto::NetworkIsolationSpec { mode: 9, ..Default::default() };
    let task = proto::TaskConfig { network_isolation_spec: Some(spec), ..old_task("a/t/1") };
    let why = raw.start_task(proto::StartTaskRequest { task: Some(task.clone()) }).await.unwrap_err();
    assert_eq!(why.code(), Code::FailedPrecondition);
    assert!(why.message().contains("network isolation mode 9"), "{why}");
    assert!(served.fake.calls.lock().unwrap().is_empty());

    // One that runs already is found again, whatever it was started with.
    let handle = proto::TaskHandle { version: 1, config: Some(task), state: 77, driver_state: vec![] };
    let request = proto::RecoverTaskRequest { task_id: String::new(), handle: Some(handle) };
    raw.recover_task(request).await.unwrap();
    let recovered = served.fake.recovered.lock().unwrap().pop().unwrap();
    assert_eq!(recovered.state, TaskState::Unknown);
    assert_eq!(recovered.config.network.unwrap().mode, NetworkMode::Other(9));
}

#[tokio::test]
async fn odd_spans_are_none() {
    let served = served().await;
    let mut raw = DriverClient::new(served.channel.clone());
    let negative = Some(prost_types::Duration { seconds: -5, nanos: 0 });
    for timeout in [None, negative] {
        let request = proto::StopTaskRequest { task_id: "a".to_owned(), timeout, signal: String::new() };
        raw.stop_task(request).await.unwrap();
    }
    let stops = served.fake.calls.lock().unwrap().iter().filter(|call| *call == "stopped a 0ns None").count();
    assert_eq!(stops, 2);
}

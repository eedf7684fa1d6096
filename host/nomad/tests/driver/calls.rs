//! What each call brings when all is well, and what becomes of mistakes.

use std::time::Duration;

use serde_json::json;
use tonic::Code;
use yurt_nomad::client::{Base, CallError, Driver, PluginKind};
use yurt_nomad::driver::{
    DeviceNode, Dns, Env, ExitResult, FsIsolation, MemoryMax, Mount, NetworkIsolation, NetworkMode, Opaque, Resources,
    TaskConfig, TaskHandle, TaskState, WaitResult,
};
use yurt_nomad::proto::driver as proto;
use yurt_nomad::proto::driver::driver_client::DriverClient;
use yurt_nomad::schema::Spec;

use crate::fake::{TASK_SPEC, task, to_do};
use crate::{nothing, refusal, served, soon, until};

#[tokio::test]
async fn the_plugin_says_that_it_is_a_driver_and_what_it_can() {
    let mut served = served().await;
    let info = Base::new(served.channel.clone()).plugin_info().await.unwrap();
    assert_eq!((info.kind, info.name.as_str()), (Ok(PluginKind::Driver), "fake"));
    assert_eq!(served.driver.task_schema().await.unwrap(), Spec::parse(TASK_SPEC).unwrap());
    let capabilities = served.driver.capabilities().await.unwrap();
    assert!(capabilities.signals && capabilities.exec && capabilities.dynamic_users);
    assert_eq!(capabilities.isolation, FsIsolation::Unveil);
    assert_eq!(capabilities.networks, [NetworkMode::Host, NetworkMode::Group]);
    // Two facts that Go's own server leaves out.
    let mut raw = DriverClient::new(served.channel.clone());
    let raw = raw.capabilities(proto::CapabilitiesRequest {}).await.unwrap().into_inner().capabilities.unwrap();
    assert_eq!((raw.mount_configs, raw.disable_log_collection), (1, true));
    served.driver.init().await.unwrap();
    served.driver.shutdown().await.unwrap();
    assert!(served.fake.called("init ") && served.fake.called("shutdown "));
}

#[tokio::test]
async fn a_task_arrives_whole_and_its_handle_has_all_of_it() {
    let mut served = served().await;
    let wanted = TaskConfig {
        id: "a1/t/0123abcd".to_owned(),
        env: Env([("TOKEN".to_owned(), "s3cret".to_owned())].into()),
        device_env: Env([("YURT_IDS".to_owned(), "u1".to_owned())].into()),
        resources: Resources { cpu_mhz: 500, memory_mb: 256, memory_max: MemoryMax::Unlimited, ..Resources::default() },
        mounts: vec![Mount {
            task_path: "/t".to_owned(),
            host_path: "/h".to_owned(),
            read_only: true,
            propagation: "host-to-task".to_owned(),
            ..Mount::default()
        }],
        devices: vec![DeviceNode {
            task_path: "/dev/a".to_owned(),
            host_path: "/dev/b".to_owned(),
            permissions: "rw".to_owned(),
        }],
        user: Some("alice".to_owned()),
        alloc_dir: "/alloc/a1".to_owned(),
        network: Some(NetworkIsolation { mode: NetworkMode::Group, path: "/ns".to_owned(), ..Default::default() }),
        dns: Some(Dns { servers: vec!["1.1.1.1".to_owned()], ..Dns::default() }),
        ..task("", &json!({ "args": ["a", "b"] }))
    };
    let (handle, network) = served.driver.start(&wanted).await.unwrap();
    let state = Opaque(wanted.id.clone().into_bytes());
    let whole = TaskHandle { version: 3, config: wanted.clone(), state: TaskState::Running, driver_state: state };
    assert_eq!(handle, whole);
    assert_eq!(network.unwrap().ports["http"], 8080);
    let started = served.fake.started.lock().unwrap().pop().unwrap();
    assert_eq!(started, (wanted, json!({ "do": "run", "args": ["a", "b"] })));

    served.driver.recover(&handle).await.unwrap();
    assert_eq!(served.fake.recovered.lock().unwrap().pop().unwrap(), handle);
}

#[tokio::test]
async fn a_config_that_is_not_by_the_schema_never_reaches_the_driver() {
    let mut served = served().await;
    let (code, message) = refusal(served.driver.start(&task("a/t/1", &json!({ "args": "a b" }))).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("the task's config: args"), "{message}");
    let garbage = TaskConfig { driver_config: Opaque(vec![0x81]), ..task("a/t/1", &json!({})) };
    assert_eq!(refusal(served.driver.start(&garbage).await).0, Code::InvalidArgument);
    assert!(served.fake.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_environment_of_megabytes_passes_both_ways() {
    let mut served = served().await;
    let env = (0..600).map(|n| (format!("V{n}"), "x".repeat(10_000))).collect();
    let wanted = TaskConfig { env: Env(env), ..task("a/t/1", &json!({})) };
    let (handle, _) = served.driver.start(&wanted).await.unwrap();
    assert!(handle.config.env == wanted.env);
    served.driver.recover(&handle).await.unwrap();
}

#[tokio::test]
async fn a_start_error_is_final_unless_the_driver_says_that_it_is_recoverable() {
    let mut served = served().await;
    for (what, wanted, may_retry) in [
        ("retry", (Code::FailedPrecondition, "the image is locked"), true),
        ("fail", (Code::Internal, "it is broken through and through"), false),
    ] {
        let why = served.driver.start(&task("a/t/1", &to_do(what))).await.unwrap_err();
        let CallError::Refused { code, message, recoverable, .. } = why else { panic!() };
        assert_eq!(((code, message.as_str()), recoverable), (wanted, may_retry));
    }
}

#[tokio::test]
async fn all_that_wait_for_a_task_get_the_same_answer_also_after_its_end() {
    let mut served = served().await;
    let result = WaitResult { exit: ExitResult { code: 137, signal: 9, oom_killed: true }, unknown: None };
    let waits: Vec<_> = (0..50)
        .map(|_| {
            let mut driver = served.driver.clone();
            tokio::spawn(async move { driver.wait("a/t/1").await.unwrap() })
        })
        .collect();
    until(|| served.fake.waits() == 50).await;
    served.fake.end("a/t/1", result.clone());
    for wait in waits {
        assert_eq!(soon(wait).await.unwrap(), result);
    }
    assert_eq!(soon(served.driver.wait("a/t/1")).await.unwrap(), result);
    let unknown = WaitResult { exit: ExitResult::code(-1), unknown: Some("the keeper was killed".to_owned()) };
    served.fake.end("a/t/2", unknown.clone());
    assert_eq!(soon(served.driver.wait("a/t/2")).await.unwrap(), unknown);
    let (code, message) = refusal(served.driver.wait("unknown:1").await);
    assert_eq!((code, message.as_str()), (Code::NotFound, "task not found for given id"));
}

#[tokio::test]
async fn a_wait_ends_when_its_caller_goes_away() {
    let mut served = served().await;
    nothing(served.driver.wait("a/t/1")).await;
    until(|| served.fake.waits() == 0).await;
    // The task is as it was.
    served.fake.end("a/t/1", WaitResult::default());
    assert_eq!(soon(served.driver.wait("a/t/1")).await.unwrap(), WaitResult::default());
}

#[tokio::test]
async fn a_task_that_is_not_known_is_stopped_and_destroyed_already() {
    let mut served = served().await;
    served.driver.stop("unknown:1", Duration::from_secs(5), "SIGTERM").await.unwrap();
    served.driver.destroy("unknown:1", true).await.unwrap();
    assert_eq!(refusal(served.driver.stop("fail:1", Duration::ZERO, "").await).0, Code::Internal);
    assert_eq!(refusal(served.driver.destroy("fail:1", true).await).0, Code::Internal);
    for call in
        [served.driver.signal("unknown:1", "SIGHUP").await, served.driver.inspect("unknown:1").await.map(|_| ())]
    {
        assert_eq!(refusal(call).0, Code::NotFound);
    }
}

#[tokio::test]
async fn a_stop_a_signal_and_a_destroy_arrive_as_they_were_sent() {
    let mut served = served().await;
    served.driver.stop("a", Duration::from_millis(1500), "SIGINT").await.unwrap();
    served.driver.stop("b", Duration::ZERO, "").await.unwrap();
    served.driver.signal("c", "SIGHUP").await.unwrap();
    served.driver.destroy("d", false).await.unwrap();
    for call in ["stopped a 1.5s Some(\"SIGINT\")", "stopped b 0ns None", "signalled c SIGHUP", "destroyed d false"] {
        assert!(served.fake.called(call), "{:?}", served.fake.calls);
    }
}

#[tokio::test]
async fn an_inspection_always_has_the_times_and_the_result() {
    let mut served = served().await;
    let mut raw = DriverClient::new(served.channel.clone());
    let request = proto::InspectTaskRequest { task_id: "a/t/1".to_owned() };
    let raw = raw.inspect_task(request).await.unwrap().into_inner().task.unwrap();
    // Go's zero time.
    assert_eq!(raw.completed_at.unwrap().seconds, -62_135_596_800);
    assert_eq!(raw.result, Some(proto::ExitResult::default()));

    let status = served.driver.inspect("a/t/1").await.unwrap();
    assert_eq!((status.state, status.completed_at, status.exit), (TaskState::Running, None, None));
    assert_eq!(status.attributes["pid"], "77");
    served.fake.end("a/t/1", WaitResult { exit: ExitResult::code(0), unknown: None });
    let status = served.driver.inspect("a/t/1").await.unwrap();
    assert_eq!((status.state, status.exit), (TaskState::Exited, Some(ExitResult::code(0))));
    assert!(status.completed_at > status.started_at);
}

#[tokio::test]
async fn a_command_brings_both_its_outputs_and_its_end() {
    let mut served = served().await;
    let result = served.driver.exec("a", &["echo", "x y"], Duration::from_secs(3)).await.unwrap();
    assert_eq!(String::from_utf8(result.stdout).unwrap(), "[\"echo\", \"x y\"] Some(3s)");
    assert_eq!((result.stderr.as_slice(), result.exit), (b"\xff\x00".as_slice(), ExitResult::signal(9)));
    let result = served.driver.exec("a", &["echo"], Duration::ZERO).await.unwrap();
    assert_eq!(String::from_utf8(result.stdout).unwrap(), "[\"echo\"] None");
    for empty in [[].as_slice(), &[""]] {
        assert_eq!(refusal(served.driver.exec("a", empty, Duration::ZERO).await).0, Code::InvalidArgument);
    }
    // A command whose caller goes away is dropped.
    nothing(served.driver.exec("hang:1", &["sleep"], Duration::ZERO)).await;
    until(|| served.fake.waits() == 0).await;
}

#[tokio::test]
async fn a_network_is_made_and_unmade() {
    let mut served = served().await;
    let made = served.driver.create_network("a1", "web").await.unwrap();
    assert!(made.created && made.network.labels["host"] == "web");
    served.driver.destroy_network("a1", &made.network).await.unwrap();
    assert!(served.fake.called("unmade a1 /run/ns"));
}

#[tokio::test]
async fn a_thousand_calls_can_wait_on_one_connection() {
    let served = served().await;
    let waits: Vec<_> = (0..1000)
        .map(|n| {
            let mut driver: Driver = served.driver.clone();
            tokio::spawn(async move { driver.wait(&format!("a/t/{n}")).await.unwrap().exit.code })
        })
        .collect();
    until(|| served.fake.waits() == 1000).await;
    for n in 0..1000 {
        served.fake.end(&format!("a/t/{n}"), WaitResult { exit: ExitResult::code(n), unknown: None });
    }
    for (n, wait) in waits.into_iter().enumerate() {
        assert_eq!(soon(wait).await.unwrap(), n as i32);
    }
}

//! A real plugin process (`examples/lamps.rs`) through the launches of an agent's start.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use yurt_nomad::attribute::Attribute;
use yurt_nomad::client::{Agent, AgentError, CallError, PluginKind};
use yurt_nomad::config::from_hcl;
use yurt_nomad::device::{HEALTHY_COUNT, Health};

/// `examples/lamps.rs`, which cargo builds with the tests of this package.
fn agent(misdeed: &str) -> Agent {
    let tests = std::env::current_exe().unwrap();
    let lamps: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples/lamps");
    assert!(lamps.exists(), "run `cargo build -p yurt-nomad --examples` first: {} is missing", lamps.display());
    Agent { env: vec![("LAMPS_DO".into(), misdeed.into())], ..Agent::new(lamps) }
}

#[tokio::test]
async fn three_launches_ask_validate_and_use_a_plugin() {
    for auto_mtls in [false, true] {
        let agent = Agent { auto_mtls, ..agent("") };
        let asked = agent.interrogate().await.unwrap();
        assert_eq!((asked.info.name.as_str(), asked.info.kind), ("lamps", Ok(PluginKind::Device)));
        assert!(asked.ended.graceful && asked.ended.status.success(), "{:?}", asked.ended);
        assert!(asked.handshake_took <= asked.took);

        let config = from_hcl("brightness = 70", "agent.hcl", &asked.schema.unwrap()).unwrap();
        agent.validate(&config).await.unwrap();

        let mut launched = agent.start(&config).await.unwrap();
        let mut offers = launched.device.fingerprint().await.unwrap();
        let offer = offers.next().await.unwrap();
        assert_eq!(offer.len(), 1);
        assert_eq!(offer[0].attributes["brightness"], Attribute::integer(70));
        assert_eq!(offer[0].attributes[HEALTHY_COUNT], Attribute::integer(1));
        assert_eq!(offer[0].instances[0].health, Health::good());
        let reservation = launched.device.reserve(vec!["left".to_owned()]).await.unwrap();
        assert_eq!(reservation.envs["LAMPS"], "left");
        // The stream of offers is open and is cut.
        let ended = launched.end().await;
        assert!(ended.graceful && ended.status.success(), "{ended:?}");
        assert!(offers.next().await.is_err());
    }
}

#[tokio::test]
async fn the_copy_that_serves_is_configured_once_and_told_so() {
    let launched = agent("").start(&json!({ "brightness": 5 })).await.unwrap();
    let mut log = launched.plugin.log();
    launched.end().await;
    let line = log.find(|line| line.message == "configured").await.unwrap();
    assert_eq!((&line.fields["brightness"], &line.fields["for_use"]), (&json!(5), &json!(true)));
    assert!(log.find(|line| line.message == "configured").await.is_none());
}

#[tokio::test]
async fn a_wrong_configuration_is_the_plugins_sentence() {
    let agent = agent("");
    for why in [
        agent.validate(&json!({ "brightness": 170 })).await.unwrap_err(),
        agent.start(&json!({ "brightness": 170 })).await.unwrap_err(),
    ] {
        assert!(matches!(&why, AgentError::Call { source: CallError::Refused { .. }, .. }), "{why}");
        assert!(why.to_string().contains("brightness = 170: must be from 0 to 100"), "{why}");
    }
}

#[tokio::test]
async fn a_plugin_without_schema_is_asked_and_started() {
    let agent = agent("take-no-config");
    assert!(agent.interrogate().await.unwrap().schema.is_none());
    let launched = agent.start(&json!(null)).await.unwrap();
    launched.plugin.ping().await.unwrap();
    launched.end().await;
}

#[tokio::test]
async fn a_plugin_that_dies_over_a_question_is_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = agent("die");
    agent.env.push(("TMPDIR".into(), directory.path().into()));
    let why = agent.interrogate().await.unwrap_err();
    assert!(matches!(why, AgentError::Died { .. }), "{why}");
    assert!(why.to_string().ends_with("; it said: out of oil"), "{why}");
}

#[tokio::test]
async fn a_killed_plugin_can_be_launched_again_at_once() {
    // A killed plugin leaves its socket behind.
    let directory = tempfile::tempdir().unwrap();
    let mut agent = agent("");
    agent.env.push(("TMPDIR".into(), directory.path().into()));
    let launched = agent.start(&json!({})).await.unwrap();
    let pid = rustix::process::Pid::from_raw(launched.plugin.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    tokio::time::timeout(Duration::from_secs(60), launched.plugin.died()).await.unwrap();
    let mut next = agent.start(&json!({})).await.unwrap();
    assert_eq!(next.device.fingerprint().await.unwrap().next().await.unwrap().len(), 1);
    next.end().await;
}

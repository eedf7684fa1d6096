//! The recorder with real guests.

use std::fs;

use serde_json::{Value, json};
use yurt_guest::{DriverLogic, Options, Runtime, driver};

use super::*;
use crate::choice::{self, Plugin};

#[test]
fn every_key_is_read_and_errors_name_key_and_value() {
    assert_eq!(Settings::from_json(&Value::Null), Ok(None));
    assert_eq!(Settings::from_json(&json!({"record_calls": 3})), Ok(None));
    let settings = json!({"record": "/var/log/yurt", "record_calls": 3, "record_secrets": true});
    let wanted = Settings { dir: "/var/log/yurt".into(), calls: 3, secrets: true };
    assert_eq!(Settings::from_json(&settings), Ok(Some(wanted)));
    for (block, words) in [
        (json!({"record": "log"}), ["yurt.record", "log", "absolute"]),
        (json!({"record": "/x", "record_calls": 0}), ["yurt.record_calls", "0", "10000"]),
    ] {
        let why = Settings::from_json(&block).unwrap_err();
        assert!(words.iter().all(|word| why.contains(word)), "{why}");
    }
}

/// The built-in driver, tried.
fn python(runtime: &Runtime) -> (DriverLogic, String) {
    let source = choice::built_in("python", false).unwrap();
    let Plugin::Driver(driver) = choice::ready(runtime.open(&source).unwrap()).unwrap() else { panic!("a driver") };
    (driver.logic, driver.defaults.guest.to_string())
}

fn view() -> driver::TaskView {
    driver::TaskView {
        id: "a/b/c".into(),
        alloc_id: "a".into(),
        task_name: "b".into(),
        group_name: "g".into(),
        job_name: "j".into(),
        job_id: "j".into(),
        namespace: "default".into(),
        node_name: "n".into(),
        node_id: "n".into(),
        user: String::new(),
        env_names: vec!["PATH".into()],
        alloc_dir: "/alloc".into(),
        local_dir: "/local".into(),
        secrets_dir: "/secrets".into(),
        memory_mb: 64,
        memory_max_mb: None,
        cpu_shares: 100,
        cores: vec![],
        ports: vec![],
        devices: vec![],
    }
}

/// What is written of calls about a task whose configuration has `hunter2` in it, of which one is answered with a plan, one with an
/// error, and one with a finding.
fn recorded(secrets: bool) -> (String, Recording) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(Options::default()).unwrap();
    let (logic, config) = python(&runtime);
    let recorder = Recorder::default();
    let settings = Settings { dir: dir.path().join("r"), calls: 64, secrets };
    recorder.set(Some(&settings), &runtime, "python");
    let task = |more: &str| {
        let spec = yurt_nomad::schema::Spec::parse(&logic.description().task_spec).unwrap();
        let mut task = yurt_nomad::config::from_msgpack(
            &yurt_nomad::config::to_msgpack(&json!({"code": "import os  # hunter2"})),
            &spec,
        )
        .unwrap();
        let more: Value = serde_json::from_str(more).unwrap();
        for (key, value) in more.as_object().unwrap() {
            task[key] = value.clone();
        }
        task.to_string()
    };
    let found = |id: &str, stdout: &str| driver::Finding {
        id: id.into(),
        outcome: Ok(driver::Found::Output(driver::ProgramOutput {
            resolved: "/usr/bin/python3".into(),
            exit_code: 0,
            stdout: stdout.into(),
            stderr: String::new(),
        })),
    };
    logic.probes(&config).unwrap();
    let inside = driver::PathStatus { kind: driver::PathKind::File, executable: true, target: None };
    let findings = [
        found("version:python3", "Python 3.12.1"),
        found("where:python3", "/usr/bin/python3\ncpython"),
        driver::Finding { id: "inside:interpreter".into(), outcome: Ok(driver::Found::Status(inside)) },
    ];
    let planned = logic.plan(&config, &task("{}"), &view(), &findings).unwrap();
    assert!(format!("{planned:?}").contains("hunter2"), "{planned:?}");
    let wrong = task(r#"{"script": "hunter2.py"}"#);
    let refused = logic.plan(&config, &wrong, &view(), &[]).unwrap();
    let findings = logic.check_task(&config, &wrong, &["hunter2".to_owned()]).unwrap();
    assert!(refused.is_err() && !findings.is_empty(), "{refused:?} {findings:?}");
    let file = dir.path().join("r/python.jsonl");
    let end = Instant::now() + Duration::from_secs(20);
    while recorder.progress().unwrap().written < 4 {
        assert!(Instant::now() < end, "{:?}", recorder.progress());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(recorder.progress().unwrap(), Progress { file: file.clone(), written: 4, left_out: 0 });
    (fs::read_to_string(&file).unwrap(), Recording::open(&file).unwrap())
}

#[test]
fn nothing_of_a_job_s_configuration_is_written_unless_it_is_asked_for() {
    let (text, recording) = recorded(false);
    assert!(!text.contains("hunter2"), "{text}");
    let [section] = recording.sections.as_slice() else { panic!("{recording:?}") };
    assert!(!section.header.secrets);
    let calls: Vec<(&str, bool)> =
        section.calls.iter().map(|call| (call.call.as_str(), call.asked.is_some())).collect();
    assert_eq!(calls, [("probes", true), ("plan", false), ("plan", false), ("check-task", false)]);

    let (text, recording) = recorded(true);
    assert!(text.contains("hunter2"), "{text}");
    assert!(recording.sections[0].header.secrets);
    assert!(recording.sections[0].calls.iter().all(|call| call.asked.is_some()));
}

#[test]
fn a_rehearsal_is_not_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(Options::default()).unwrap();
    let recorder = Recorder::default();
    let settings = Settings { dir: dir.path().join("r"), calls: 64, secrets: false };
    recorder.set(Some(&settings), &runtime, "python");
    let (logic, config) = {
        let _rehearsal = rehearsal();
        python(&runtime)
    };
    logic.probes(&config).unwrap();
    let file = dir.path().join("r/python.jsonl");
    let end = Instant::now() + Duration::from_secs(20);
    while recorder.progress().unwrap().written < 1 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(Recording::open(&file).unwrap().sections[0].calls.len(), 1);
    recorder.set(None, &runtime, "python");
    logic.probes(&config).unwrap();
    assert_eq!((recorder.progress(), Recording::open(&file).unwrap().sections[0].calls.len()), (None, 1));
}

#[test]
fn calls_that_come_faster_than_they_are_written_are_counted_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(Options::default()).unwrap();
    let (logic, config) = python(&runtime);
    let recorder = Recorder::default();
    let settings = Settings { dir: dir.path().join("r"), calls: 10_000, secrets: false };
    recorder.set(Some(&settings), &runtime, "python");
    let made = 400;
    for _ in 0..made {
        logic.check_config(&config).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let progress = recorder.progress().unwrap();
        if progress.written + progress.left_out == made {
            break;
        }
        assert!(Instant::now() < end, "{progress:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

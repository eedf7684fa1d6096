use yurt_sdk::json::{Value, from_str, json};
use yurt_sdk::testing::driver::{self as testing, Machine, view, view_of_the_host};

use super::*;

const OWN: &str = "/srv/alloc/8d1bc1b2/server";

/// What the schema makes of a job's block: defaults filled in.
fn task(written: &str) -> String {
    let mut all = json!({ "args": [], "directories": DIRECTORIES, "listen": [] });
    let Value::Object(written) = from_str(written).unwrap() else { panic!("an object expected") };
    all.as_object_mut().unwrap().extend(written);
    all.to_string()
}

fn said(written: &str) -> Vec<String> {
    let line = |said: Diagnostic| format!("{}: {}", said.path, said.message);
    testing::check_task::<Wasi>("{}", &task(written), &[]).into_iter().map(line).collect()
}

fn machine() -> Machine {
    Machine::default()
        .file(&format!("{OWN}/local/app.wasm"), "")
        .file("/srv/alloc/8d1bc1b2/alloc/app.wasm", "")
        .directory(&format!("{OWN}/tmp"))
}

fn planned(written: &str) -> Result<LaunchPlan, PlanError> {
    testing::plan::<Wasi>("{}", &task(written), &view_of_the_host(), &Machine::default(), &machine())
}

fn run(written: &str) -> ComponentRun {
    let Program::Component(run) = planned(written).unwrap().program else { panic!("a component expected") };
    run
}

#[test]
fn a_component_of_the_task_gets_the_task_s_directories_and_cannot_write_its_secrets() {
    let run = run(r#"{"component":"local/app.wasm","args":["--port","80"],"listen":["http"]}"#);
    assert_eq!(run.path, format!("{OWN}/local/app.wasm"));
    assert_eq!((run.args, run.listen), (vec!["--port".to_owned(), "80".into()], vec!["http".to_owned()]));
    let seen: Vec<_> = run.directories.iter().map(|one| (one.guest_side.as_str(), one.host_side.as_str())).collect();
    let own = |name: &str| format!("{OWN}/{name}");
    assert_eq!(
        seen,
        [
            ("/alloc", "/srv/alloc/8d1bc1b2/alloc"),
            ("/local", own("local").as_str()),
            ("/secrets", own("secrets").as_str()),
            ("/tmp", own("tmp").as_str())
        ]
    );
    assert!(run.directories.iter().all(|one| one.read_only == (one.guest_side == "/secrets")));
}

#[test]
fn a_job_can_have_fewer_directories_and_a_component_that_tasks_share() {
    let run = run(r#"{"component":"/srv/alloc/8d1bc1b2/alloc/app.wasm","directories":["tmp","local"]}"#);
    assert_eq!(run.path, "/srv/alloc/8d1bc1b2/alloc/app.wasm");
    assert_eq!(run.directories.iter().map(|one| one.guest_side.as_str()).collect::<Vec<_>>(), ["/local", "/tmp"]);
    // Not every agent makes it.
    let machine = Machine::default().file(&format!("{OWN}/local/app.wasm"), "");
    let task = task(r#"{"component":"local/app.wasm","directories":["tmp"]}"#);
    let plan = testing::plan::<Wasi>("{}", &task, &view_of_the_host(), &Machine::default(), &machine).unwrap();
    assert!(matches!(plan.program, Program::Component(run) if run.directories.is_empty()));
}

#[test]
fn what_is_wrong_is_said_at_its_key() {
    assert_eq!(said(r#"{"component":""}"#), ["component: component must be specified"]);
    assert_eq!(
        said(r#"{"component":"local/../../other/app.wasm","directories":["etc"]}"#),
        [
            "component: component = \"local/../../other/app.wasm\": must not hold ..",
            "directories: directories: \"etc\" must be one of \"alloc\", \"local\", \"secrets\", \"tmp\""
        ]
    );
    let unknown = testing::check_task::<Wasi>("{}", &task(r#"{"component":""}"#), &["component"]);
    assert!(unknown.is_empty(), "known only at run time: {unknown:?}");
    for path in ["/etc/passwd", "app.wasm", "private/app.wasm", "/srv/alloc/8d1bc1b2/other/local/app.wasm"] {
        let why = planned(&json!({ "component": path }).to_string()).unwrap_err();
        assert!(why.message.contains("must lie in the task's local, secrets or tmp, or in alloc"), "{why:?}");
    }
    let why = planned(r#"{"component":"local/other.wasm"}"#).unwrap_err();
    assert!(why.message.contains("there is no file /srv/alloc") && why.path.as_deref() == Some("component"), "{why:?}");
    assert!(!why.recoverable);
}

#[test]
fn the_driver_says_that_there_are_neither_signals_nor_commands() {
    let capabilities = Wasi::describe().capabilities;
    assert!(!capabilities.signals && !capabilities.exec && !capabilities.mounts);
    assert_eq!(capabilities.isolation, Isolation::None);
    let fingerprint = testing::judge::<Wasi>("{}", &Machine::default());
    assert_eq!(fingerprint.health, DriverHealth::Healthy);
    assert!(!view_of_the_host().has_a_root() && view().has_a_root());
}

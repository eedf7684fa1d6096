//! Guests of task drivers: good ones are called, and whatever a hostile one does ends as a value.

use std::time::{Duration, Instant};

use yurt_guest::driver::{Diagnostic, DriverHealth, Finding, Fingerprint, Found, Isolation, Next, PlanError, TaskView};
use yurt_guest::{
    Cause, DriverLogic, DriverTrial, GuestError, Limits, LoadCause, Options, Phase, Runtime, Source, Stage, Trial,
    World,
};

use crate::log;
use crate::make::Guest;

const SOON: Duration = Duration::from_millis(50);

fn runtime() -> Runtime {
    let limits = Limits { plan_deadline: SOON, judge_deadline: SOON, ..Limits::default() };
    Runtime::new(Options { limits, ..Options::default() }).unwrap()
}

fn source(guest: &Guest) -> Source {
    Source::Embedded { name: "test", bytes: guest.component().leak() }
}

fn active(guest: &Guest) -> DriverLogic {
    runtime().open(&source(guest)).unwrap().activate_driver(&DriverTrial::default()).unwrap()
}

/// Loads a guest whose trial fails, and says how.
fn tried(guest: &Guest) -> GuestError {
    let why = runtime().open(&source(guest)).unwrap().activate_driver(&DriverTrial::default()).unwrap_err();
    println!("{why}");
    assert_eq!(why.stage, Stage::Trial, "{why}");
    match *why.cause {
        LoadCause::Call(error) => error,
        other => panic!("{other}"),
    }
}

pub(crate) fn view() -> TaskView {
    TaskView {
        id: "8d1bc1b2-2f26-4a49-9f2e-0c9f4d1b4e7a/server/5f0c7d1e".into(),
        alloc_id: "8d1bc1b2-2f26-4a49-9f2e-0c9f4d1b4e7a".into(),
        task_name: "server".into(),
        group_name: "demo".into(),
        job_name: "demo".into(),
        job_id: "demo".into(),
        namespace: "default".into(),
        node_name: "node".into(),
        node_id: "5b7f0d6c-93a9-4f6f-9c3b-6e1a4c9f1c11".into(),
        user: String::new(),
        env_names: vec!["PATH".into()],
        alloc_dir: "/alloc".into(),
        local_dir: "/local".into(),
        secrets_dir: "/secrets".into(),
        memory_mb: 128,
        memory_max_mb: Some(256),
        cpu_shares: 512,
        cores: vec![0, 1],
        ports: Vec::new(),
        devices: Vec::new(),
    }
}

/// A guest whose plan is a launch, with these stores into its record: a place in it and a number.
fn launching(stores: &[(u32, u32)]) -> Guest {
    // A launch plan lies at 264: behind the result's tag at 256 and the variant's at 260.
    let stores: String =
        stores.iter().map(|(at, value)| format!("(i32.store (i32.const {}) (i32.const {value}))", 264 + at)).collect();
    Guest::driver(&format!(
        "(func $plan (param i32) (result i32) (i32.store (i32.const 260) (i32.const 1)) {stores} (i32.const 256))"
    ))
}

#[test]
fn a_guest_answers_every_call() {
    let loaded = runtime().open(&source(&Guest::driver(""))).unwrap();
    assert_eq!((loaded.world(), loaded.about().name.as_str()), (World::DriverPlugin, "trial"));
    assert_eq!(
        loaded.driver().map(|its| (its.task_spec.as_str(), its.capabilities.isolation)),
        Some(("object {}", Isolation::None))
    );
    let driver = loaded.activate_driver(&DriverTrial::default()).unwrap();
    assert_eq!(
        (driver.about().name.as_str(), driver.version(), driver.contract().to_string().as_str()),
        ("trial", "1.0.0", "0.1.0")
    );
    assert_eq!(driver.check_config("{}").unwrap(), []);
    assert_eq!(driver.check_task("{}", "{}", &["script".into()]).unwrap(), []);
    assert_eq!(driver.probes("{}").unwrap(), []);
    let nothing = Fingerprint { health: DriverHealth::Undetected, reason: String::new(), attributes: vec![] };
    let finding = Finding { id: "a".into(), outcome: Ok(Found::Content("b".into())) };
    assert_eq!(driver.judge("{}", &[finding]).unwrap(), nothing);
    assert_eq!(driver.plan("{}", "{}", &view(), &[]).unwrap(), Ok(Next::LookInside(vec![])));
}

#[test]
fn a_launch_is_handed_over_as_it_was_planned() {
    let guest = launching(&[]);
    let Ok(Next::Launch(plan)) = active(&guest).plan("{}", "{}", &view(), &[]).unwrap() else { panic!("a launch") };
    assert!(plan.user.is_none() && plan.env.is_empty() && !plan.wishes.init);
}

#[test]
fn a_guest_of_the_other_world_is_refused_in_one_sentence() {
    let why = runtime().open(&source(&Guest::quiet())).unwrap().activate_driver(&DriverTrial::default()).unwrap_err();
    assert_eq!(why.stage, Stage::World);
    assert!(
        why.to_string().ends_with(
            "was not loaded, refused at stage world: it is a device plugin's guest (exports yurt:plugin/usb-policy@0.1.0, \
             world usb-plugin), but a task driver needs yurt:plugin/driver@0.1 (world driver-plugin)"
        ),
        "{why}"
    );
    let why = runtime().open(&source(&Guest::driver(""))).unwrap().activate(&Trial::default()).unwrap_err();
    assert!(
        why.to_string().ends_with(
            "was not loaded, refused at stage world: it is a task driver's guest (exports yurt:plugin/driver@0.1.0, \
             world driver-plugin), but a device plugin needs yurt:plugin/usb-policy@0.1 (world usb-plugin)"
        ),
        "{why}"
    );
    let why = runtime()
        .open(&Source::Embedded { name: "test", bytes: Guest::driver("").of_version("0.2.0").leak() })
        .unwrap_err();
    assert!(
        why.to_string().contains("it exports yurt:plugin/driver@0.2.0, but this Yurt speaks yurt:plugin/driver@0.1 (world driver-plugin): a newer Yurt is needed"),
        "{why}"
    );
}

#[test]
fn an_inspection_tells_the_world_and_what_a_driver_says_of_its_tasks() {
    let found = runtime().inspect(&source(&Guest::driver("")));
    assert_eq!(found.world, Some(World::DriverPlugin));
    assert!(found.driver.is_some() && found.refused.is_none() && found.loaded.is_some());
    let found = runtime().inspect(&source(&Guest::quiet()));
    assert_eq!((found.world, found.driver), (Some(World::UsbPlugin), None));
}

#[test]
fn imports_of_a_driver_are_held_against_the_grants_too() {
    let guest = Guest::driver(
        r#"(import "acme:net/http@1.2.0" "get" (func $get))
        (func $probes (param i32 i32) (result i32) (call $get) (i32.const 256))"#,
    );
    let guest =
        guest.beside("import acme:net/http@1.2.0;", "package acme:net@1.2.0 { interface http { get: func(); } }");
    let why = runtime().open(&source(&guest)).unwrap_err();
    assert_eq!(why.stage, Stage::Imports);
    assert!(why.to_string().contains("it imports acme:net/http@1.2.0"), "{why}");
}

#[test]
fn whatever_traps_or_spins_in_its_trial_never_serves() {
    for (name, call) in [
        ("trap-in-plan", "plan"),
        ("trap-in-judge", "judge"),
        ("trap-in-probes", "probes"),
        ("trap-in-check-task", "check-task"),
        ("trap-in-check-config", "check-config"),
    ] {
        let why = tried(&Guest::hostile_driver(name));
        assert!(matches!(why.cause(), Cause::Trap { .. }) && why.call() == call, "{name}: {why}");
    }
    for (name, call, key) in [("spin-in-plan", "plan", "plan_deadline"), ("spin-in-judge", "judge", "judge_deadline")] {
        let start = Instant::now();
        let why = tried(&Guest::hostile_driver(name));
        assert_eq!((why.call(), why.phase()), (call, Phase::Call));
        assert_eq!(*why.cause(), Cause::Deadline { limit: SOON, key });
        assert!(start.elapsed() < SOON * 100, "{name} took {:?}", start.elapsed());
    }
    let why = runtime().open(&source(&Guest::hostile_driver("trap-in-describe"))).unwrap_err();
    assert!(matches!(&*why.cause, LoadCause::Call(why) if why.call() == "describe"), "{why}");
    // Without a task nobody asks for a plan.
    let trial = DriverTrial { task: None, ..DriverTrial::default() };
    for name in ["trap-in-plan", "trap-in-check-task"] {
        let loaded = runtime().open(&source(&Guest::hostile_driver(name))).unwrap();
        assert!(loaded.activate_driver(&trial).is_ok(), "{name}");
    }
}

#[test]
fn a_plan_that_fails_later_is_one_failed_call() {
    for name in ["trap-in-plan", "spin-in-plan"] {
        let driver = active(&Guest::hostile_driver(name).later_than_its_trial());
        let why = driver.plan("{}", "{}", &view(), &[]).unwrap_err();
        let said = why.to_string();
        println!("{said}");
        assert!(
            said.starts_with("guest trial 1.0.0 (") && said.contains(") failed in plan in the call: it "),
            "{said}"
        );
        assert_eq!(driver.probes("{}").unwrap(), []);
        assert!(matches!(driver.plan("{}", "{}", &view_of_a_trial(), &[]), Ok(Ok(Next::LookInside(_)))));
    }
}

/// A task whose id begins as that of a trial does.
fn view_of_a_trial() -> TaskView {
    TaskView { id: "00000000-0000".into(), ..view() }
}

#[test]
fn every_list_of_a_plan_has_a_limit() {
    // Where a list's pointer and length lie in a launch plan; its entries are zeros: empty texts, first cases.
    for (what, at, size, limit, key) in [
        ("words in one command line", 4, 4097, 4096, "arguments"),
        ("edits of the environment", 36, 1025, 1024, "entries"),
        ("variables to drop", 44, 1025, 1024, "entries"),
        ("steps before the program", 76, 65, 64, "steps"),
        ("capabilities to add", 92, 1025, 1024, "entries"),
        ("capabilities to drop", 100, 1025, 1024, "entries"),
        ("limits of a task", 108, 1025, 1024, "entries"),
        ("mounts", 132, 1025, 1024, "entries"),
        ("control groups", 140, 1025, 1024, "entries"),
        ("ranges of denied ids", 148, 1025, 1024, "entries"),
        ("ranges of denied ids", 156, 1025, 1024, "entries"),
        ("rules for signals", 164, 1025, 1024, "entries"),
        ("steps of the stop", 172, 65, 64, "steps"),
        ("words in one command line", 180, 4097, 4096, "arguments"),
        ("notes on exit codes", 188, 1025, 1024, "entries"),
    ] {
        let why = tried(&launching(&[(at, 1024), (at + 4, size)]));
        assert_eq!(*why.cause(), Cause::TooLarge { what, size: size.into(), limit, key }, "{what} at {at}");
        assert_eq!((why.call(), why.phase()), ("plan", Phase::Answer));
        active(&launching(&[(at, 1024), (at + 4, u32::try_from(limit).unwrap())]));
    }
    // The same of a program that is a component.
    for (what, at, size, limit, key) in [
        ("words in one command line", 12, 4097, 4096, "arguments"),
        ("directories", 20, 1025, 1024, "entries"),
        ("sockets to listen on", 28, 1025, 1024, "entries"),
    ] {
        let why = tried(&launching(&[(0, 1), (at, 1024), (at + 4, size)]));
        assert_eq!(*why.cause(), Cause::TooLarge { what, size: size.into(), limit, key }, "{what} at {at}");
    }
}

#[test]
fn every_text_of_a_plan_has_a_limit() {
    // An option's tag, then pointer and length; entries of lists lie at 1024.
    let option = |at: u32| vec![(at, 1), (at + 4, 4096), (at + 8, 32_769)];
    let entry =
        |list: u32, at: u32| vec![(list, 1024), (list + 4, 1), (1024 - 264 + at, 4096), (1024 - 264 + at + 4, 32_769)];
    // The same of an entry of this case.
    let case = |list: u32, tag: u32, case: u32, at: u32| {
        entry(list, at).into_iter().chain([(1024 - 264 + tag, case)]).collect::<Vec<_>>()
    };
    for (what, stores) in [
        ("a word", entry(4, 0)),
        ("a component's path", vec![(0, 1), (4, 4096), (8, 32_769)]),
        ("a variable's name", entry(36, 0)),
        ("a variable's text", entry(36, 12)),
        ("a variable's list", case(36, 8, 2, 20)),
        ("a variable to drop", entry(44, 0)),
        ("work-dir", option(52)),
        ("user", option(64)),
        ("a directory to make", entry(76, 4)),
        ("a file's text", case(76, 0, 1, 12)),
        ("a step's reason", case(76, 0, 2, 12)),
        ("a capability", entry(92, 0)),
        ("a limit's value", entry(108, 8)),
        ("seccomp", option(116)),
        ("a mount's path", entry(132, 8)),
        ("a control group", entry(140, 12)),
        ("a signal", entry(164, 0)),
        ("a signal sent", entry(164, 12)),
        ("a stop's signal", entry(172, 4)),
        ("a note on a code", entry(188, 4)),
        ("note", option(196)),
    ] {
        let why = tried(&launching(&stores));
        let cause = Cause::TooLarge { what: "bytes in one text", size: 32_769, limit: 32_768, key: "text" };
        assert_eq!((why.call(), why.cause()), ("plan", &cause), "{what}");
    }
}

#[test]
fn probes_attributes_and_findings_about_a_task_are_bounded() {
    for (name, call, what, size, limit, key) in [
        ("many-probes", "probes", "probes", 65, 64, "probes"),
        ("many-attributes", "judge", "attributes", 257, 256, "attributes"),
        ("many-findings", "check-task", "diagnostics", 1025, 1024, "entries"),
        ("long-reason", "judge", "bytes in one text", 40_000, 32_768, "text"),
        ("long-task-spec", "describe", "bytes of task schema", 65_537, 65_536, "fixed"),
    ] {
        let why = runtime()
            .open(&source(&Guest::hostile_driver(name)))
            .and_then(|loaded| loaded.activate_driver(&DriverTrial::default()))
            .unwrap_err();
        println!("{why}");
        let LoadCause::Call(why) = *why.cause else { panic!("{name}: {why}") };
        assert_eq!((why.call(), why.cause()), (call, &Cause::TooLarge { what, size, limit, key }), "{name}");
    }
}

#[test]
fn plans_that_are_no_values_of_the_contract_are_refused() {
    for (what, stores) in [
        ("a case of program that there is not", vec![(0, 9)]),
        ("a list outside the memory", vec![(4, 0x7fff_0000), (8, 8)]),
        ("a list longer than the memory", vec![(4, 1024), (8, 0x1000_0000)]),
        ("a way of sharing that there is not", vec![(84, 0xff)]),
        ("a text outside the memory", vec![(64, 1), (68, 0x7fff_0000), (72, 8)]),
    ] {
        let why = tried(&launching(&stores));
        assert!(matches!(why.cause(), Cause::Answer(_) | Cause::Transfer { .. }), "{what}: {why}");
    }
}

#[test]
fn an_error_of_the_guest_s_own_is_printable_and_no_failure() {
    let driver = active(&Guest::hostile_driver("rude-error"));
    assert_eq!(
        driver.plan("{}", "{}", &view(), &[]).unwrap(),
        Err(PlanError { message: "·[31mred⏎and more".into(), path: Some("a⏎b".into()), recoverable: true })
    );
    let (outcome, lines) = log::of(|| driver.judge("{}", &[]));
    assert_eq!(outcome.unwrap().reason, "·[31mred⏎and more");
    assert!(lines.is_empty());
}

#[test]
fn while_one_plan_spins_others_are_made() {
    let limits = Limits { plan_deadline: Duration::from_secs(2), ..Limits::default() };
    let runtime = Runtime::new(Options { limits, ..Options::default() }).unwrap();
    let load = |guest: &Guest| runtime.open(&source(guest)).unwrap().activate_driver(&DriverTrial::default()).unwrap();
    let good = load(&launching(&[]));
    let spins = load(&Guest::hostile_driver("spin-in-plan").later_than_its_trial());
    let spinning = std::thread::spawn(move || spins.plan("{}", "{}", &view(), &[]));
    let mut made = 0;
    while !spinning.is_finished() {
        assert!(good.plan("{}", "{}", &view(), &[]).unwrap().is_ok());
        made += 1;
    }
    println!("{made} plans beside one that spins");
    assert!(made > 10, "{made}");
    assert!(matches!(spinning.join().unwrap().unwrap_err().cause(), Cause::Deadline { .. }));
}

#[test]
fn much_may_be_found_and_a_task_s_configuration_be_long() {
    let driver = active(&Guest::driver(""));
    let finding = |n: u32| Finding { id: format!("probe {n}"), outcome: Ok(Found::Content("x".repeat(10_000))) };
    let findings: Vec<Finding> = (0..64).map(finding).collect();
    assert_eq!(driver.judge("{}", &findings).unwrap().reason, "");
    let said: Vec<Diagnostic> =
        driver.check_task("{}", &format!("{{\"code\":\"{}\"}}", "x".repeat(1 << 19)), &[]).unwrap();
    assert!(said.is_empty());
}

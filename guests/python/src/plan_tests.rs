use yurt_sdk::driver::{EnvSource, Finding, PathHead, Program as Launched, RunStep, Sharing, SignalAction, Step};
use yurt_sdk::testing::driver::{self as testing, Machine, view, view_of_the_host};

use super::*;
use crate::Python;

/// A node with Debian's Python; a task's root made from it.
fn node() -> Machine {
    Machine::default()
        .link("/usr/bin/python3", "python3.11")
        .says("/usr/bin/python3.11", &["--version"], 0, "Python 3.11.2\n", "")
        .says("/usr/bin/python3.11", &["-E"], 0, "/usr/bin/python3\ncpython\n", "")
}

fn root() -> Machine {
    node().file("/server.py", "").directory("/local")
}

fn planned(task: &str, view: &TaskView, root: &Machine) -> Result<LaunchPlan, PlanError> {
    testing::plan::<Python>("{}", task, view, &node(), root)
}

fn command(plan: &LaunchPlan) -> Vec<&str> {
    let Launched::Native(command) = &plan.program else { panic!("a native program expected") };
    command.iter().map(String::as_str).collect()
}

fn launched(task: &str) -> LaunchPlan {
    planned(task, &view(), &root()).unwrap()
}

fn refused(task: &str, view: &TaskView, root: &Machine) -> (String, Option<String>, bool) {
    let why = planned(task, view, root).unwrap_err();
    (why.message, why.path, why.recoverable)
}

fn message(task: &str, root: &Machine) -> String {
    refused(task, &view(), root).0
}

#[test]
fn limits_are_asked_for_by_the_kernel_s_names() {
    let limits = launched(r#"{"script":"server.py","limits":[{"nofile":"1024:4096"}]}"#).wishes.limits;
    assert_eq!(limits, [Limit { name: "nofile".into(), value: "1024:4096".into() }]);
    assert!(launched(r#"{"script":"server.py"}"#).wishes.limits.is_empty());
}

#[test]
fn namespaces_of_its_own_are_the_job_s_to_ask_for_and_not_to_be_had_beside_the_host_s_files() {
    let asked = |keys: &str| {
        let Wishes { user, cgroup, time, .. } = launched(&format!(r#"{{"script":"server.py"{keys}}}"#)).wishes;
        [user, cgroup, time].map(|sharing| sharing == Sharing::Private)
    };
    assert_eq!(asked(""), [false; 3]);
    assert_eq!(asked(r#","userns_mode":"private","cgroupns_mode":"host""#), [true, false, false]);
    assert_eq!(asked(r#","cgroupns_mode":"private","timens_mode":"private""#), [false, true, true]);
    let task = r#"{"code":"1","timens_mode":"private"}"#;
    let (message, path, recoverable) = refused(task, &view_of_the_host(), &root());
    assert_eq!(message, "timens_mode = \"private\": with yurt.isolation = \"none\" tasks have the host's namespaces");
    assert!(path.as_deref() == Some("timens_mode") && !recoverable);
}

#[test]
fn a_profile_of_system_calls_is_asked_for_by_its_name() {
    let asked = |task| launched(task).wishes.seccomp;
    assert_eq!(asked(r#"{"script":"server.py","seccomp":"strict"}"#).as_deref(), Some("strict"));
    assert_eq!(asked(r#"{"script":"server.py"}"#), None);
}

#[test]
fn the_demo_s_task_runs_its_script_in_its_own_directory_as_nobody() {
    let plan = launched(r#"{"script":"server.py","unbuffered":true,"isolated":false}"#);
    assert_eq!(command(&plan), ["/usr/bin/python3", "server.py"]);
    assert_eq!(plan.env, [EnvEdit::text("PYTHONUNBUFFERED", "1")]);
    assert_eq!((plan.work_dir.as_deref(), plan.user.as_deref()), (None, Some("nobody")));
    assert!(plan.wishes.init && plan.wishes.pid == Sharing::Private && plan.wishes.ipc == Sharing::Private);
    assert!(!plan.wishes.read_only_root);
    assert!(launched(r#"{"script":"server.py","read_only_root":true}"#).wishes.read_only_root);
    assert!(plan.signals.is_empty() && plan.stop.is_empty() && plan.exec_prefix.is_empty() && plan.prepare.is_empty());
    assert!(plan.env_drop.is_empty());
    assert_eq!(plan.note.as_deref(), Some("/usr/bin/python3 (Python 3.11.2, CPython) runs server.py"));
    assert_eq!(plan.exit_notes.iter().map(|note| note.code).collect::<Vec<_>>(), [1, 2, 120]);
}

#[test]
fn signals_and_the_way_of_stopping_are_the_job_s_to_say() {
    let task = r#"{"script":"server.py","signals":{"SIGHUP":"all:SIGTERM"},"stop":["SIGINT 5s","run:bin/drain"]}"#;
    let plan = launched(task);
    assert_eq!(plan.signals[0].signal, "SIGHUP");
    assert_eq!(plan.signals[0].action, SignalAction::All("SIGTERM".into()));
    assert_eq!(plan.stop.iter().map(|step| step.wait_milliseconds).collect::<Vec<_>>(), [5000, u32::MAX]);
    let (message, path, recoverable) =
        refused(r#"{"script":"server.py","signals":{"SIGHUP":"SIGTREM"}}"#, &view(), &root());
    assert!(message.contains("signals.SIGHUP = \"SIGTREM\"") && !recoverable, "{message}");
    assert_eq!(path.as_deref(), Some("signals.SIGHUP"));
}

#[test]
fn arguments_of_the_interpreter_stand_before_the_script_and_its_own_behind() {
    let with = |rest: &str| {
        let task = format!(r#"{{{rest},"args":["-W","ignore"],"script_args":["-c","8000"]}}"#);
        command(&launched(&task)).join(" ")
    };
    assert_eq!(with(r#""script":"server.py""#), "/usr/bin/python3 -W ignore server.py -c 8000");
    assert_eq!(with(r#""module":"http.server""#), "/usr/bin/python3 -W ignore -m http.server -c 8000");
    assert_eq!(with(r#""code":"print(1)""#), "/usr/bin/python3 -W ignore -c print(1) -c 8000");
}

#[test]
fn args_that_say_what_to_run_make_the_script_an_argument_as_in_the_demo() {
    let plan = launched(r#"{"script":"8000","args":["-m","http.server"]}"#);
    assert_eq!(command(&plan), ["/usr/bin/python3", "-m", "http.server", "8000"]);
}

#[test]
fn output_is_unbuffered_unless_the_job_says_otherwise() {
    assert!(launched(r#"{"script":"server.py","unbuffered":false}"#).env.is_empty());
    // An isolated interpreter reads no variable.
    let plan = launched(r#"{"script":"server.py","isolated":true,"args":["-B"]}"#);
    assert_eq!(command(&plan), ["/usr/bin/python3", "-I", "-u", "-B", "server.py"]);
    assert!(plan.env.is_empty());
    let plan = launched(r#"{"script":"server.py","isolated":true,"unbuffered":false}"#);
    assert_eq!(command(&plan), ["/usr/bin/python3", "-I", "server.py"]);
    // What the job's env block says stays.
    let mut view = view();
    view.env_names.push("PYTHONUNBUFFERED".into());
    assert!(planned(r#"{"script":"server.py"}"#, &view, &root()).unwrap().env.is_empty());
}

#[test]
fn a_script_is_looked_for_in_the_working_directory() {
    let root = root().file("/local/app/main.py", "").directory("/local/app");
    let plan = planned(r#"{"script":"main.py","work_dir":"/local/app"}"#, &view(), &root).unwrap();
    assert_eq!(command(&plan), ["/usr/bin/python3", "main.py"]);
    assert_eq!(plan.work_dir.as_deref(), Some("/local/app"));
    assert_eq!(
        refused(r#"{"script":"other.py","work_dir":"/local/app"}"#, &view(), &root),
        ("script = \"other.py\": the task has no /local/app/other.py".into(), Some("script".into()), false)
    );
    assert_eq!(
        refused(r#"{"script":"main.py","work_dir":"/local/none"}"#, &view(), &root),
        ("work_dir = \"/local/none\": the task has no /local/none".into(), Some("work_dir".into()), false)
    );
    assert_eq!(
        message(r#"{"script":"/server.py","work_dir":"/server.py"}"#, &root),
        "work_dir = \"/server.py\": /server.py is no directory"
    );
}

#[test]
fn a_missing_script_is_named_by_key_and_path_and_may_come_later_only_where_others_write() {
    assert_eq!(
        refused(r#"{"script":"nope.py"}"#, &view(), &root()),
        ("script = \"nope.py\": the task has no /nope.py".into(), Some("script".into()), false)
    );
    let (message, _, recoverable) = refused(r#"{"script":"/alloc/data/nope.py"}"#, &view(), &root());
    assert_eq!(message, "script = \"/alloc/data/nope.py\": the task has no /alloc/data/nope.py");
    assert!(recoverable);
    assert_eq!(
        self::message(r#"{"script":"away.py"}"#, &root().link("/away.py", "/mnt/away.py")),
        "script = \"away.py\": /away.py is a link to /mnt/away.py, which the task does not have"
    );
}

#[test]
fn a_directory_or_an_archive_can_be_a_script() {
    let root = root().directory("/local/app").file("/local/app.pyz", "");
    for script in ["/local/app", "local/app.pyz"] {
        let plan = planned(&format!(r#"{{"script":"{script}"}}"#), &view(), &root).unwrap();
        assert_eq!(command(&plan)[1], script);
    }
}

#[test]
fn a_task_that_sees_the_host_s_files_runs_scripts_of_its_own_only() {
    let view = view_of_the_host();
    let host = node()
        .file("/srv/alloc/8d1bc1b2/server/server.py", "")
        .file("/srv/alloc/8d1bc1b2/alloc/shared.py", "")
        .file("/etc/evil.py", "");
    for script in ["server.py", "../alloc/shared.py", "/srv/alloc/8d1bc1b2/alloc/shared.py"] {
        let plan = planned(&format!(r#"{{"script":"{script}"}}"#), &view, &host).unwrap();
        assert_eq!(command(&plan), ["/usr/bin/python3", script]);
    }
    for (script, path) in [("/etc/evil.py", "/etc/evil.py"), ("../../../../etc/evil.py", "/etc/evil.py")] {
        assert_eq!(
            refused(&format!(r#"{{"script":"{script}"}}"#), &view, &host),
            (
                format!(
                    "script = \"{script}\" is outside the task: {path} lies neither in /srv/alloc/8d1bc1b2/server nor in /srv/alloc/8d1bc1b2/alloc"
                ),
                Some("script".into()),
                false
            )
        );
    }
}

#[test]
fn an_interpreter_that_the_root_lacks_is_named_before_anything_runs() {
    let bare = Machine::default().file("/server.py", "");
    assert_eq!(
        refused(r#"{"script":"server.py"}"#, &view(), &bare),
        (
            "the node's python3 cannot be run: the task has no /usr/bin/python3; a root of its own holds what the client's chroot_env says, and a job can name another by interpreter".into(),
            None,
            false
        )
    );
    // A link without what it points to.
    assert_eq!(
        message(r#"{"script":"server.py"}"#, &bare.clone().link("/usr/bin/python3", "python3.11")),
        "the node's python3 cannot be run: /usr/bin/python3 is a link to python3.11, which the task does not have; a root of its own holds what the client's chroot_env says, and a job can name another by interpreter"
    );
    assert_eq!(
        message(r#"{"script":"server.py","interpreter":"python3"}"#, &bare),
        "interpreter = \"python3\": the task has no program of that name (the node has /usr/bin/python3); a root of its own holds what the client's chroot_env says, and a job can name another by interpreter"
    );
    assert_eq!(
        message(r#"{"script":"server.py","interpreter":"/opt/python"}"#, &bare),
        "interpreter = \"/opt/python\": the task has no /opt/python"
    );
    let tricks = bare.file("/opt/python", "").directory("/opt");
    assert_eq!(
        message(r#"{"script":"server.py","interpreter":"opt/python"}"#, &tricks),
        "interpreter = \"opt/python\": /opt/python is not executable"
    );
    assert_eq!(
        message(r#"{"script":"server.py","interpreter":"./opt"}"#, &tricks),
        "interpreter = \"./opt\": /opt is no program"
    );
}

#[test]
fn a_job_s_interpreter_is_a_name_or_a_path_in_the_task() {
    let root = root().program("/usr/bin/python3.99").program("/local/py/bin/python3");
    for (interpreter, want) in [
        // As the node knows it; as the root has it; as the job brings it.
        ("python3", "/usr/bin/python3"),
        ("python3.11", "/usr/bin/python3.11"),
        ("python3.99", "/usr/bin/python3.99"),
        ("local/py/bin/python3", "/local/py/bin/python3"),
        ("/local/py/bin/python3", "/local/py/bin/python3"),
    ] {
        let task = format!(r#"{{"script":"server.py","interpreter":"{interpreter}"}}"#);
        assert_eq!(command(&planned(&task, &view(), &root).unwrap()), [want, "server.py"], "{interpreter}");
    }
}

#[test]
fn a_venv_is_run_by_its_own_path_with_what_activating_it_sets() {
    let root = root().link("/local/venv/bin/python", "/usr/bin/python3");
    for venv in ["/local/venv", "local/venv/"] {
        let plan = planned(&format!(r#"{{"script":"server.py","venv":"{venv}"}}"#), &view(), &root).unwrap();
        assert_eq!(command(&plan), ["/local/venv/bin/python", "server.py"]);
        let bin = PathHead { directory: "/local/venv/bin".into(), name: "PATH".into() };
        assert_eq!(
            plan.env,
            [
                EnvEdit::text("PYTHONUNBUFFERED", "1"),
                EnvEdit::text("VIRTUAL_ENV", "/local/venv"),
                EnvEdit { name: "PATH".into(), value: EnvSource::Before(bin) },
            ]
        );
        assert_eq!(plan.env_drop, ["PYTHONHOME"]);
        assert_eq!(plan.note.as_deref(), Some("/local/venv/bin/python runs server.py"));
    }
    let gone = Machine::default().file("/server.py", "").link("/local/venv/bin/python", "/usr/bin/python3");
    assert_eq!(
        refused(r#"{"script":"server.py","venv":"/local/venv"}"#, &view(), &gone),
        (
            "venv = \"/local/venv\": /local/venv/bin/python is a link to /usr/bin/python3, which the task does not have".into(),
            Some("venv".into()),
            false
        )
    );
    assert_eq!(
        message(r#"{"script":"server.py","venv":"/local/none"}"#, &gone),
        "venv = \"/local/none\": the task has no /local/none/bin/python"
    );
}

#[test]
fn a_venv_or_a_path_needs_no_interpreter_of_the_node() {
    let root = Machine::default().file("/server.py", "").program("/local/venv/bin/python");
    let nothing = Machine::default();
    let plan = |task| testing::plan::<Python>("{}", task, &view(), &nothing, &root);
    assert!(plan(r#"{"script":"server.py","venv":"local/venv"}"#).is_ok());
    assert!(plan(r#"{"script":"server.py","interpreter":"local/venv/bin/python"}"#).is_ok());
    let why = plan(r#"{"script":"server.py"}"#).unwrap_err();
    assert!(why.message.starts_with("the node has no Python interpreter: python3: not found in"), "{}", why.message);
    assert!(!why.recoverable);
}

#[test]
fn a_node_s_interpreter_that_hangs_may_work_another_time() {
    let node = Machine::default().hangs("/usr/bin/python3");
    let why = testing::plan::<Python>("{}", r#"{"script":"server.py"}"#, &view(), &node, &root()).unwrap_err();
    assert_eq!(
        why.message,
        "the node's Python interpreter does not work: python3: /usr/bin/python3 did not end within 5 s"
    );
    assert!(why.recoverable);
}

#[test]
fn what_is_wrong_in_the_block_is_refused_before_anything_is_looked_at() {
    for (task, path, message) in [
        (r#"{"script":""}"#, "script", "script must be specified"),
        (
            r#"{"script":"a.py","work_dir":"foo"}"#,
            "work_dir",
            "work_dir must be absolute but got relative path \"foo\"",
        ),
        (r#"{"script":"a.py","args":7}"#, "args", "invalid type: integer `7`, expected a sequence"),
    ] {
        assert_eq!(refused(task, &view(), &root()), (message.into(), Some(path.into()), false));
    }
}

#[test]
fn looks_that_the_host_does_not_make_leave_the_launch_to_tell() {
    let findings = node().look(crate::interpreters::probes(&Config::default()));
    let task = Task { script: Some("server.py".into()), ..Task::default() };
    let refuse = |probe: Probe| Finding { id: probe.id, outcome: Err(Trouble::Refused("not allowed".into())) };
    let plan_of = |task: &Task| {
        let Ok(Next::LookInside(probes)) = plan(&Config::default(), task, &view(), Findings(&findings)) else {
            panic!("it asks to look inside first")
        };
        let all: Vec<Finding> = findings.iter().cloned().chain(probes.into_iter().map(refuse)).collect();
        match plan(&Config::default(), task, &view(), Findings(&all)) {
            Ok(Next::Launch(plan)) => plan,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(command(&plan_of(&task)), ["/usr/bin/python3", "server.py"]);
    let named = Task { interpreter: Some("python3.99".into()), ..task };
    assert_eq!(command(&plan_of(&named)), ["python3.99", "server.py"]);
}

/// Programs and arguments of what goes before, each with its reason.
fn prepared(plan: &LaunchPlan) -> Vec<(String, &str, bool)> {
    let mut steps = Vec::new();
    for step in &plan.prepare {
        let Step::Run(RunStep { argv, why, recoverable, .. }) = step else { panic!("{step:?}") };
        steps.push((argv.join(" "), why.as_str(), *recoverable));
    }
    steps
}

#[test]
fn requirements_are_installed_into_an_environment_that_the_program_then_runs_in() {
    let root = root().file("/local/requirements.txt", "").directory("/local/wheels");
    let task = r#"{"script":"server.py","requirements":"local/requirements.txt","wheels":"local/wheels","require_hashes":true}"#;
    let plan = planned(task, &view(), &root).unwrap();
    assert_eq!(command(&plan), ["/local/.venv/bin/python", "server.py"]);
    assert!(plan.env.contains(&EnvEdit::text("VIRTUAL_ENV", "/local/.venv")));
    let pip = "/local/.venv/bin/python -I -m pip --isolated --no-input --disable-pip-version-check install --no-index --no-cache-dir --find-links /local/wheels --require-hashes -r /local/requirements.txt";
    let steps = [
        ("/usr/bin/python3 -I -m venv /local/.venv".to_owned(), "making a virtual environment in /local/.venv", false),
        (pip.to_owned(), "installing local/requirements.txt from /local/wheels", false),
    ];
    assert_eq!(prepared(&plan), steps);
}

#[test]
fn requirements_that_another_task_may_still_be_writing_are_worth_another_try() {
    let root = root().file("/alloc/data/r.txt", "").directory("/local/wheels");
    let task = r#"{"script":"server.py","requirements":"/alloc/data/r.txt","wheels":"local/wheels"}"#;
    let plan = planned(task, &view(), &root).unwrap();
    assert_eq!(prepared(&plan).iter().map(|(_, _, recoverable)| *recoverable).collect::<Vec<_>>(), [false, true]);
    let without = self::root().directory("/local/wheels");
    let (message, path, recoverable) = refused(task, &view(), &without);
    assert_eq!(message, "requirements = \"/alloc/data/r.txt\": the task has no /alloc/data/r.txt");
    assert_eq!((path.as_deref(), recoverable), (Some("requirements"), true));
}

#[test]
fn a_zipapp_is_run_as_a_script_is_and_checked_before_where_its_check_sum_is_known() {
    let root = root().file("/local/app.pyz", "");
    let plan = planned(r#"{"zipapp":"local/app.pyz"}"#, &view(), &root).unwrap();
    assert_eq!((command(&plan), plan.prepare.len()), (vec!["/usr/bin/python3", "local/app.pyz"], 0));
    let sum = "ab".repeat(32);
    let plan = planned(&format!(r#"{{"zipapp":"local/app.pyz","sha256":"{sum}"}}"#), &view(), &root).unwrap();
    let steps = prepared(&plan);
    assert!(steps.len() == 1 && steps[0].0.ends_with(&format!(" /local/app.pyz {sum}")), "{steps:?}");
    assert_eq!(steps[0].1, "checking local/app.pyz");
    let message = message(r#"{"zipapp":"local/none.pyz"}"#, &root);
    assert_eq!(message, "zipapp = \"local/none.pyz\": the task has no /local/none.pyz");
}

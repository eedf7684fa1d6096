//! The default task driver's guest, as it is embedded: within default limits, and with this machine's own Pythons.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use yurt_guest::driver::{
    DriverHealth, EnvSource, Finding, Fingerprint, Found, Isolation, LaunchPlan, Look, Next, PathKind, PathStatus,
    Probe, Program, ProgramOutput, Severity, TaskView, Trouble, Value,
};
use yurt_guest::{DriverLogic, DriverTrial, Options, Runtime, Source};

use crate::built;
use crate::driver::view;

const CONFIG: &str = r#"{"interpreters":null}"#;

/// As Nomad's agent would have it: every key present.
fn task(keys: &str) -> String {
    let all = [
        "script",
        "args",
        "script_args",
        "module",
        "code",
        "interpreter",
        "venv",
        "unbuffered",
        "isolated",
        "work_dir",
        "read_only_root",
    ];
    let rest = all.into_iter().filter(|key| !keys.contains(&format!("\"{key}\":")));
    let rest: Vec<String> = rest.map(|key| format!("\"{key}\":null")).collect();
    format!("{{{}}}", [keys.to_owned(), rest.join(",")].join(",").trim_matches(','))
}

fn python() -> DriverLogic {
    let runtime = Runtime::new(Options::default()).unwrap();
    let loaded = runtime.open(&Source::Embedded { name: "python", bytes: built::component("python").leak() }).unwrap();
    loaded.activate_driver(&DriverTrial { config: CONFIG, task: Some(&task("")) }).unwrap()
}

/// Looks at this machine as the host does, less carefully; `root` is where the task's root lies.
fn look(root: &str, probes: Vec<Probe>) -> Vec<Finding> {
    let found = |look: Look| match look {
        Look::Run(command) => run(&command),
        Look::Programs(name) => Ok(Found::Paths(program(&name).into_iter().collect())),
        Look::Stat(path) => Ok(Found::Status(status(&format!("{root}{path}")))),
        Look::Read(_) => Err(Trouble::Refused("nothing is read here".into())),
    };
    probes.into_iter().map(|probe| Finding { id: probe.id, outcome: found(probe.look) }).collect()
}

fn program(name: &str) -> Option<String> {
    let paths = ["/usr/local/bin", "/usr/bin", "/bin"].into_iter().map(|directory| format!("{directory}/{name}"));
    paths.into_iter().find(|path| Path::new(path).is_file())
}

fn run(command: &[String]) -> Result<Found, Trouble> {
    let absent = || Trouble::Absent("not found in /usr/local/bin:/usr/bin:/bin".into());
    let path = if command[0].starts_with('/') {
        Path::new(&command[0]).is_file().then(|| command[0].clone())
    } else {
        program(&command[0])
    };
    let path = path.ok_or_else(absent)?;
    let output = Command::new(&path).args(&command[1..]).env_clear().current_dir("/").output();
    let output = output.map_err(|why| Trouble::Failed(why.to_string()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Found::Output(ProgramOutput {
        resolved: fs::canonicalize(&path).unwrap().display().to_string(),
        exit_code: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }))
}

fn status(path: &str) -> PathStatus {
    match fs::metadata(path) {
        Ok(its) => PathStatus {
            kind: if its.is_dir() { PathKind::Directory } else { PathKind::File },
            executable: its.permissions().mode() & 0o111 != 0,
            target: None,
        },
        Err(_) => PathStatus { kind: PathKind::Absent, executable: false, target: None },
    }
}

fn planned(python: &DriverLogic, config: &str, task: &str, view: &TaskView) -> LaunchPlan {
    assert_eq!(python.check_task(config, task, &[]).unwrap(), []);
    let mut findings = look("", python.probes(config).unwrap());
    let Ok(Next::LookInside(probes)) = python.plan(config, task, view, &findings).unwrap() else {
        panic!("it looks inside first")
    };
    findings.extend(look("", probes));
    match python.plan(config, task, view, &findings).unwrap() {
        Ok(Next::Launch(plan)) => plan,
        other => panic!("{other:?}"),
    }
}

fn fingerprint(python: &DriverLogic, config: &str) -> Fingerprint {
    python.judge(config, &look("", python.probes(config).unwrap())).unwrap()
}

fn attribute(print: &Fingerprint, name: &str) -> String {
    match print.attributes.iter().find(|its| its.name == name).map(|its| &its.value) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Flag(flag)) => flag.to_string(),
        other => panic!("{name}: {other:?} in {print:?}"),
    }
}

/// This machine's Python; none: it has none, which is an error only where everything is to be tested.
fn of_this_machine() -> Option<String> {
    let found = program("python3");
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no python3 in the fixed path: install it");
        println!("skipped: no python3 in the fixed path");
    }
    found
}

/// The planned command, run where it says, with the variables that it sets.
fn output(plan: &LaunchPlan, view: &TaskView) -> String {
    let Program::Native(argv) = &plan.program else { panic!("a native program") };
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env_clear().env("PATH", "/usr/bin:/bin");
    for edit in &plan.env {
        match &edit.value {
            EnvSource::Text(text) => command.env(&edit.name, text),
            EnvSource::Before(head) => command.env(&edit.name, format!("{}:/usr/bin:/bin", head.directory)),
            EnvSource::SameAs(name) => panic!("{name}"),
        };
    }
    let own = view.local_dir.trim_end_matches("/local");
    let output = command.current_dir(plan.work_dir.as_deref().unwrap_or(own)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A task's directory, seen as the host sees it.
fn task_directory() -> (tempfile::TempDir, TaskView) {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("server");
    fs::create_dir_all(own.join("local")).unwrap();
    let text = |path: &Path| path.display().to_string();
    let view = TaskView {
        alloc_dir: text(&dir.path().join("alloc")),
        local_dir: text(&own.join("local")),
        secrets_dir: text(&own.join("secrets")),
        ..view()
    };
    (dir, view)
}

#[test]
fn it_answers_within_default_limits_and_imports_only_the_log() {
    let start = Instant::now();
    let python = python();
    println!("compiled and tried in {:?}", start.elapsed());
    assert_eq!(
        (python.about().name.as_str(), python.description().capabilities.isolation),
        ("python", Isolation::Chroot)
    );
    // Types that both worlds share may stand there, too; authority does not.
    assert!(python.imports().iter().all(|import| import.name.starts_with("yurt:plugin/")), "{:?}", python.imports());
    let start = Instant::now();
    let print = python.judge(CONFIG, &[]).unwrap();
    println!("judged in {:?}", start.elapsed());
    assert_eq!((print.health, print.attributes.len()), (DriverHealth::Undetected, 0));
    assert!(!print.reason.is_empty());

    let said = python.check_task(CONFIG, &task(""), &[]).unwrap();
    let said: Vec<_> = said.iter().map(|one| (one.severity, one.path.as_str(), one.message.as_str())).collect();
    assert_eq!(said, [(Severity::Error, "script", "script must be specified")]);
    let why = python.plan(CONFIG, &task(r#""script":"server.py""#), &view(), &[]).unwrap().unwrap_err();
    assert!(why.message.starts_with("the node has no Python interpreter: "), "{why:?}");
}

#[test]
fn a_job_that_says_much_stays_within_default_limits() {
    let python = python();
    let words = vec!["\"an argument of some length\""; 2000].join(",");
    let code = format!(r#""code":"{}","script_args":[{words}],"interpreter":"/usr/bin/env""#, "#".repeat(32 << 10));
    let start = Instant::now();
    let plan = planned(&python, CONFIG, &task(&code), &view());
    println!("looked around, planned twice in {:?}", start.elapsed());
    assert!(matches!(plan.program, Program::Native(argv) if argv.len() == 2003));
}

#[test]
fn this_machine_s_interpreters_are_found_with_their_versions_and_paths() {
    let Some(path) = of_this_machine() else { return };
    let print = fingerprint(&python(), CONFIG);
    println!("{print:#?}");
    assert_eq!(print.health, DriverHealth::Healthy, "{}", print.reason);
    assert_eq!(attribute(&print, "driver.python"), "true");
    let Ok(Found::Output(banner)) = run(&[path.clone(), "--version".into()]) else { panic!("no banner") };
    assert_eq!(format!("Python {}", attribute(&print, "driver.python.version")), banner.stdout.trim());
    assert_eq!(attribute(&print, "driver.python.path"), path);
    assert_eq!(attribute(&print, "driver.python.python3"), attribute(&print, "driver.python.version"));
    assert!(attribute(&print, "driver.python.versions").contains(&attribute(&print, "driver.python.version")));
}

#[test]
fn behind_a_script_that_starts_another_interpreter_stands_that_one() {
    let Some(path) = of_this_machine() else { return };
    let dir = tempfile::tempdir().unwrap();
    let shim = dir.path().join("python3");
    fs::write(&shim, format!("#!/bin/sh\nexec {path} \"$@\"\n")).unwrap();
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
    let print = fingerprint(&python(), &format!(r#"{{"interpreters":["{}"]}}"#, shim.display()));
    assert_eq!(attribute(&print, "driver.python.path"), path);
}

#[test]
fn an_old_python_s_banner_on_stderr_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("python2");
    fs::write(&old, "#!/bin/sh\necho 'Python 2.7.18' >&2\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let print = fingerprint(&python(), &format!(r#"{{"interpreters":["{}"]}}"#, old.display()));
    assert_eq!(attribute(&print, "driver.python.version"), "2.7.18");
    assert_eq!(attribute(&print, "driver.python.path"), old.display().to_string());
}

#[test]
fn a_planned_script_gets_its_arguments_behind_those_of_the_interpreter() {
    let Some(_) = of_this_machine() else { return };
    let python = python();
    let (dir, view) = task_directory();
    fs::write(dir.path().join("server/server.py"), "import os, sys\nprint(sys.argv, sys.flags.dont_write_bytecode, os.environ.get('PYTHONUNBUFFERED'), sys.flags.isolated)\n").unwrap();
    let said = |keys: &str| output(&planned(&python, CONFIG, &task(keys), &view), &view);
    assert_eq!(said(r#""script":"server.py""#), "['server.py'] 0 1 0\n");
    assert_eq!(
        said(r#""script":"server.py","args":["-B"],"script_args":["-B","8000"]"#),
        "['server.py', '-B', '8000'] 1 1 0\n"
    );
    assert_eq!(said(r#""script":"server.py","isolated":true"#), "['server.py'] 0 None 1\n");
    assert_eq!(said(r#""code":"import sys; print(sys.argv)","script_args":["a"]"#), "['-c', 'a']\n");
    fs::write(dir.path().join("server/local/app.py"), "import sys; print(__name__, sys.argv[1:])\n").unwrap();
    let module = format!(r#""module":"app","script_args":["b"],"work_dir":"{}""#, view.local_dir);
    assert_eq!(said(&module), "__main__ ['b']\n");
}

#[test]
fn a_planned_venv_stays_a_venv() {
    let Some(path) = of_this_machine() else { return };
    let python = python();
    let (dir, view) = task_directory();
    let venv = dir.path().join("server/local/venv");
    // As `python -m venv` makes one, which Debian has in a package of its own.
    fs::create_dir_all(venv.join("bin")).unwrap();
    symlink(&path, venv.join("bin/python")).unwrap();
    fs::write(venv.join("pyvenv.cfg"), "home = /usr/bin\ninclude-system-site-packages = false\n").unwrap();
    let code = "import os, sys; print(sys.prefix, sys.prefix != sys.base_prefix, os.environ['VIRTUAL_ENV'], os.environ['PATH'])";
    let plan = planned(&python, CONFIG, &task(&format!(r#""code":"{code}","venv":"local/venv""#)), &view);
    let venv = venv.display();
    assert_eq!(output(&plan, &view), format!("{venv} True {venv} {venv}/bin:/usr/bin:/bin\n"));
}

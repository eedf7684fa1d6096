use yurt_sdk::driver::{Finding, Found};
use yurt_sdk::testing::driver::Machine;

use super::*;

fn survey(config: &Config, node: &Machine) -> Survey {
    Survey::of(config, Findings(&node.look(probes(config))))
}

/// The interpreter that jobs get on this node, by default.
fn choice(node: &Machine) -> Option<Result<Interpreter, String>> {
    let survey = survey(&Config::default(), node);
    survey.choice().map(|(_, outcome)| outcome.cloned().map_err(str::to_owned))
}

fn banner(stdout: &str, stderr: &str) -> Option<String> {
    version(&ProgramOutput {
        resolved: "/bin/python".into(),
        exit_code: 0,
        stdout: stdout.into(),
        stderr: stderr.into(),
    })
}

#[test]
fn the_version_is_read_from_a_banner_on_stdout_or_stderr() {
    for (stdout, stderr, want) in [
        ("Python 3.11.2\n", "", "3.11.2"),
        ("", "Python 2.7.18\n", "2.7.18"),
        ("Python 3.12.1+\n", "", "3.12.1"),
        ("Python 3.14.0rc1\n", "", "3.14.0rc1"),
        ("Python 2.7.16 :: Anaconda, Inc.\n", "", "2.7.16"),
        ("Python 3.9.16 (0b, Feb 01 2023)\n[PyPy 7.3.11 with GCC 12.2.0]\n", "", "3.9.16"),
        ("", "warning: something else\nPython 3.8.0\n", "3.8.0"),
    ] {
        assert_eq!(banner(stdout, stderr).as_deref(), Some(want), "{stdout}{stderr}");
    }
    for stdout in
        ["", "Python\n", "Python three\n", "Pythonic 3.1.2\n", "Python 3\n", "Python 3.1;rm\n", "Ruby 3.11.2\n"]
    {
        assert_eq!(banner(stdout, ""), None, "{stdout}");
    }
}

#[test]
fn an_interpreter_behind_a_link_is_run_by_the_path_that_it_gives_itself() {
    let node = Machine::default()
        .link("/usr/bin/python3", "python3.11")
        .says("/usr/bin/python3.11", &["--version"], 0, "Python 3.11.2\n", "")
        .says("/usr/bin/python3.11", &["-E", "-s", "-S", "-c"], 0, "/usr/bin/python3\ncpython\n", "");
    assert_eq!(
        choice(&node),
        Some(Ok(Interpreter {
            name: "python3".into(),
            version: "3.11.2".into(),
            implementation: "CPython".into(),
            path: "/usr/bin/python3".into(),
        }))
    );
}

#[test]
fn behind_a_version_manager_s_script_stands_the_real_interpreter() {
    let node = Machine::default().says("/usr/local/bin/python3", &["--version"], 0, "Python 3.12.4\n", "").says(
        "/usr/local/bin/python3",
        &["-E"],
        0,
        "/opt/pyenv/versions/3.12.4/bin/python3\ncpython\n",
        "",
    );
    assert_eq!(choice(&node).unwrap().unwrap().path, "/opt/pyenv/versions/3.12.4/bin/python3");
}

#[test]
fn one_that_does_not_say_where_it_is_is_run_by_its_resolved_path() {
    for said in ["\n", "Python 3.11.2\n", "relative/python\ncpython\n"] {
        let node = Machine::default()
            .link("/usr/bin/python", "/opt/python")
            .says("/opt/python", &["--version"], 0, "", "Python 3.11.2\n")
            .says("/opt/python", &[], 0, said, "");
        let found = choice(&node).unwrap().unwrap();
        assert_eq!((found.path.as_str(), found.implementation.as_str()), ("/opt/python", "CPython"), "{said}");
    }
}

#[test]
fn one_whose_version_cannot_be_read_is_passed_over() {
    let node = Machine::default()
        .says("/usr/bin/python3", &["--version"], 127, "", "pyenv: python3: command not found\n")
        .says("/usr/bin/python", &["--version"], 0, "Python 3.9.1\n", "");
    assert_eq!(choice(&node).unwrap().unwrap().name, "python");
    assert_eq!(
        survey(&Config::default(), &node).broken(),
        [
            "python3: its version cannot be read: /usr/bin/python3 ended with 127 and said \"pyenv: python3: command not found\""
        ]
    );
}

#[test]
fn one_that_hangs_is_not_passed_over() {
    let node =
        Machine::default().hangs("/usr/bin/python3").says("/usr/bin/python", &["--version"], 0, "", "Python 2.7.18\n");
    assert_eq!(choice(&node), Some(Err("/usr/bin/python3 did not end within 5 s".into())));
}

#[test]
fn without_the_usual_names_the_newest_numbered_one_is_chosen() {
    let node = Machine::default()
        .says("/usr/bin/python3.9", &["--version"], 0, "Python 3.9.1\n", "")
        .says("/usr/bin/python3.13", &["--version"], 0, "Python 3.13.0\n", "")
        .says("/usr/bin/pypy3", &["--version"], 0, "Python 3.10.14 (x)\n[PyPy 7.3.17 with GCC]\n", "");
    assert_eq!(choice(&node).unwrap().unwrap().name, "python3.13");
    let survey = survey(&Config::default(), &node);
    let all: Vec<_> = survey.working().map(|one| (one.name.as_str(), one.implementation.as_str())).collect();
    assert_eq!(all, [("python3.13", "CPython"), ("python3.9", "CPython"), ("pypy3", "PyPy")]);
}

#[test]
fn looks_that_are_refused_count_as_nothing_found() {
    let config = Config::default();
    let refused = |probe: Probe| Finding { id: probe.id, outcome: Err(Trouble::Refused("not on the list".into())) };
    let findings: Vec<Finding> = probes(&config).into_iter().map(refused).collect();
    let survey = Survey::of(&config, Findings(&findings));
    assert!(survey.choice().is_none());
    assert_eq!(survey.complaints(), ["python3: not on the list", "python: not on the list"]);
    let other = [Finding { id: "version:python3".into(), outcome: Ok(Found::Paths(Vec::new())) }];
    assert!(Survey::of(&config, Findings(&other)).choice().is_none());
}

#[test]
fn the_probes_fit_into_the_host_s_default_limit_whatever_is_configured() {
    let most = Config { interpreters: Some((0..16).map(|n| format!("python3.{n}")).collect()) };
    assert!(probes(&most).len() <= 64 && probes(&Config::default()).len() <= 64);
}

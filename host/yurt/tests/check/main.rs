//! `yurt check` with the real binary over `jobs/`: everything that it says stands in `expected.txt`. `YURT_WRITE=1` writes that anew; what a
//! change means is the diff.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/check");

struct Said {
    code: i32,
    out: String,
    err: String,
}

/// In the jobs' folder, so that no machine's paths are in what is said.
fn check(arguments: &[&str]) -> Said {
    check_with(arguments, &[])
}

fn check_with(arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_yurt"))
        .arg("check")
        .args(arguments)
        .current_dir(Path::new(HERE).join("jobs"))
        // The guest is compiled once for all tests.
        .env("YURT_STATE_DIR", env!("CARGO_TARGET_TMPDIR"))
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn parsed(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{why}: {}{}", said.out, said.err))
}

fn jobs() -> Vec<String> {
    let entries = fs::read_dir(Path::new(HERE).join("jobs")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_broken_job_is_told_what_is_wrong_where_and_what_to_do() {
    let mut found = String::new();
    for job in jobs() {
        let Said { code, out, err } = check(&[&job]);
        assert_eq!(err, "", "{job}");
        // What is only odd is no reason to fail.
        let good = job.starts_with("good-") || ["odd-but-allowed.hcl", "driver-by-its-file.hcl"].contains(&&*job);
        assert_eq!(code, i32::from(!good), "{job}: {out}");
        found += &format!("## {job}\n{out}\n");
    }
    let file = Path::new(HERE).join("expected.txt");
    if std::env::var_os("YURT_WRITE").is_some() {
        fs::write(&file, &found).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    for (at, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "expected.txt, line {}; YURT_WRITE=1 writes what was found", at + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "YURT_WRITE=1 writes what was found");
}

#[test]
fn the_demo_s_jobs_and_those_of_other_drivers_are_in_order() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo");
    for (job, sentence) in [
        ("python-demo.nomad.hcl", "1 task in order"),
        ("device-demo.nomad.hcl", "nothing to check; 1 task of other drivers passed over (raw_exec)"),
    ] {
        let said = check(&[demo.join(job).to_str().unwrap()]);
        assert_eq!((said.code, said.out.lines().count()), (0, 1), "{job}: {}{}", said.out, said.err);
        assert!(said.out.trim_end().ends_with(sentence), "{}", said.out);
    }
}

#[test]
fn programs_get_one_object_with_all_that_was_found() {
    let said = check(&["many-at-once.hcl", "--json"]);
    let object = parsed(&said);
    assert_eq!((said.code, &object["file"], &object["error"]), (1, &json!("many-at-once.hcl"), &Value::Null));
    assert_eq!((&object["checked"], &object["passed_over"]), (&json!(2), &json!({ "docker": 1, "exec": 1 })));
    let found = object["diagnostics"].as_array().unwrap();
    let paths: Vec<&Value> = found.iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, [&json!("module"), &json!("work_dir"), &Value::Null, &Value::Null]);
    assert_eq!(
        found[0],
        json!({
            "severity": "error",
            "line": 7, "column": 20, "end_line": 7, "end_column": 33,
            "group": "web", "task": "server", "driver": "python", "path": "module",
            "message": "module = \"app/main.py\": a dotted name such as \"http.server\" is expected",
            "hint": "a file is run by script",
        })
    );
    let fine = check(&["good-known.hcl", "--json"]);
    assert_eq!((fine.code, &parsed(&fine)["diagnostics"]), (0, &json!([])));
}

#[test]
fn a_job_that_cannot_be_judged_is_another_matter_than_one_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let misspelt = written("misspelt.hcl", "plugin \"python\" {\n  config {\n    interpeters = []\n  }\n}\n");
    let refused =
        written("refused.hcl", "plugin \"python-driver\" {\n  config {\n    interpreters = [\"a/b\"]\n  }\n}\n");
    let rules = written("rules.hcl", "interpreters = []\n");
    let laid_over = written(
        "laid-over.hcl",
        &format!("plugin \"python\" {{\n config {{\n yurt {{\n policy_file = {rules:?}\n }}\n }}\n}}\n"),
    );
    let broken = written("broken.hcl", "plugin \"python\" {");
    let missing = written("missing.hcl", "plugin \"python\" {\n  args = [\"--guest\", \"/nowhere/acme.wasm\"]\n}\n");
    for (arguments, sentence) in [
        (vec!["nowhere.hcl"], "nowhere.hcl: No such file"),
        (vec!["."], ".: Is a directory"),
        (vec!["good-known.hcl", "--plugin-config", "nowhere.hcl"], "nowhere.hcl: No such file"),
        (
            vec!["good-known.hcl", "--plugin-config", &misspelt],
            "misspelt.hcl:3:5: no key or block is called \"interpeters\"",
        ),
        (vec!["good-known.hcl", "--plugin-config", &refused], "refused.hcl: interpreters[0]"),
        (vec!["good-known.hcl", "--plugin-config", &laid_over], "rules.hcl:1:1: interpreters = []"),
        (vec!["good-known.hcl", "--plugin-config", &broken], "broken.hcl:1:"),
        (vec!["block-not-closed.hcl", "--plugin-config", &broken], "broken.hcl:1:"),
        (vec!["good-known.hcl", "--plugin-config", &missing], "/nowhere/acme.wasm"),
    ] {
        let said = check(&arguments);
        assert_eq!((said.code, said.out.as_str(), said.err.lines().count()), (2, "", 1), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(sentence), "{arguments:?}: {}", said.err);
        let said = check(&[&arguments[..], &["--json"]].concat());
        assert_eq!((said.code, said.err.as_str()), (2, ""), "{arguments:?}");
        assert!(parsed(&said)["error"].as_str().unwrap().contains(sentence), "{arguments:?}: {}", said.out);
    }
    for arguments in [&[][..], &["a.hcl", "b.hcl"], &["a.hcl", "--plugin-config"]] {
        assert_eq!(check(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn the_agent_s_file_says_which_guest_judges_and_by_what() {
    let dir = tempfile::tempdir().unwrap();
    let written = |text: &str| {
        let file: PathBuf = dir.path().join("agent.hcl");
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let others = "client {\n  enabled = true\n}\nplugin \"docker\" {\n  args = [\"--verbose\"]\n}\n";
    for text in [
        "interpreters = [\"python3\"]\n".to_owned(),
        "plugin \"python-driver\" {}\n".to_owned(),
        format!("{others}plugin \"yurt-python\" {{\n  config {{\n    interpreters = [\"python3\"]\n  }}\n}}\n"),
        format!("{others}plugin \"snakes\" {{\n  args = [\"--guest\", \"python\"]\n}}\n"),
        others.to_owned(),
    ] {
        let file = written(&text);
        let fine = check(&["good-known.hcl", "--plugin-config", &file]);
        assert_eq!(fine.code, 0, "{text}: {}{}", fine.out, fine.err);
        let wrong = check(&["work-dir-relative.hcl", "--plugin-config", &file]);
        assert_eq!(wrong.code, 1, "{text}: {}{}", wrong.out, wrong.err);
    }
}

#[test]
fn the_job_s_variables_are_what_is_given_for_them() {
    const JOB: &str = "variable-with-a-bad-default.hcl";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.vars");
    fs::write(&file, "script = \"server.py\"\ndir = \"/srv\"\n").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, environment, code) in [
        (&[JOB][..], &[][..], 1),
        (&[JOB, "--var", "script=server.py", "--var", "dir=/srv"], &[], 0),
        (&[JOB, "--var-file", file], &[], 0),
        (&[JOB, "--var-file", file, "--var", "dir=srv"], &[], 1),
        (&[JOB, "--var-file", file], &[("NOMAD_VAR_dir", "srv")], 0),
        (&[JOB, "--var", "script=server.py"], &[("NOMAD_VAR_dir", "/srv"), ("NOMAD_VAR_other", "1")], 0),
        (&["good-unknown.hcl", "--var", "debug=true"], &[], 0),
    ] {
        let said = check_with(arguments, environment);
        assert_eq!(said.code, code, "{arguments:?}: {}{}", said.out, said.err);
    }
    for (arguments, place, sentence) in [
        (["good-unknown.hcl", "--var", "debug=yess"], ":1:1", "is no value of its type"),
        (["good-unknown.hcl", "--var", "debg=true"], ":1:1", "did you mean var.debug?"),
    ] {
        let said = check(&arguments);
        assert_eq!(said.code, 1, "{arguments:?}: {}", said.err);
        assert!(said.out.contains(place) && said.out.contains(sentence), "{arguments:?}: {}", said.out);
    }
    for (arguments, sentence) in [
        ([JOB, "--var", "script"], "write NAME=VALUE"),
        ([JOB, "--var-file", "nowhere.vars"], "nowhere.vars: No such file"),
    ] {
        let said = check(&arguments);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{arguments:?}");
        assert!(said.err.contains(sentence), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn what_would_take_long_is_refused_soon() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("long.hcl");
    let begun = std::time::Instant::now();
    let job = |config: &str| {
        format!("job \"a\" {{\n task \"b\" {{\n  driver = \"python\"\n  config {{\n{config}\n  }}\n }}\n}}\n")
    };
    let doubled: String = (1..64).map(|n| format!("l{n} = \"${{local.l{}}}${{local.l{0}}}\"\n", n - 1)).collect();
    let nested: String =
        (1..4000).map(|n| format!("l{n} = {}local.l{}{}\n", "[".repeat(50), n - 1, "]".repeat(50))).collect();
    for (text, sentence) in [
        (
            format!("locals {{\nl0 = \"ha\"\n{nested}}}\n{}", job("script = \"a\"\nargs = local.l3999")),
            "args[0]: must be string, is a list of 1",
        ),
        ("# long\n".repeat(1 << 18), "longer than 1000000 bytes"),
        (job(&"a = 1\n".repeat(2)), "\"a\" is given twice"),
        (job(&(0..9000).map(|n| format!("k{n} = 1\n")).collect::<String>()), "more than 8192 keys"),
        (job(&(0..8000).map(|n| format!("k{n} = 1\n")).collect::<String>()), "100 errors"),
        (job(&"rule {}\n".repeat(90_000)), "more than 4096 keys and blocks"),
        (job(&format!("args = [{}]", "[".repeat(300))), "too deep"),
        (format!("locals {{\nl0 = \"ha\"\n{doubled}}}\n{}", job("script = local.l63")), "1 task in order"),
        (
            format!(
                "variable \"v\" {{\n default = {:?}\n}}\n{}",
                "x".repeat(9000),
                job(&format!("script = \"a\"\nargs = [{}]", "var.v,".repeat(8000)))
            ),
            "1 task in order",
        ),
        ("task \"a\" {\n}\n".repeat(60_000), "no job in this file"),
        (format!("job \"a\" {{\n{}}}\n", "task \"a\" {\n}\n".repeat(60_000)), "100 errors"),
    ] {
        fs::write(&file, text).unwrap();
        let said = check(&[file.to_str().unwrap()]);
        assert!(said.out.contains(sentence), "{sentence}: {}{}", said.out.get(..2000).unwrap_or(&said.out), said.err);
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(120), "{:?}", begun.elapsed());
}

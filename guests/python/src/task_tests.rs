use yurt_sdk::Severity;
use yurt_sdk::testing::driver::check_task;

use super::*;
use crate::Python;

/// Severity, path and message; the hint behind an arrow.
fn said_with(task: &str, unknown: &[&str]) -> Vec<String> {
    let line = |finding: Diagnostic| {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        let hint = finding.hint.map_or_else(String::new, |hint| format!(" → {hint}"));
        format!("{severity} {}: {}{hint}", finding.path, finding.message)
    };
    check_task::<Python>("{}", task, unknown).into_iter().map(line).collect()
}

fn said(task: &str) -> Vec<String> {
    said_with(task, &[])
}

#[test]
fn the_demo_s_task_is_fine() {
    for task in [
        r#"{"script":"server.py"}"#,
        r#"{"script":"server.py","args":["-u","-W","ignore"],"script_args":["-m","8000"],"unbuffered":true,"isolated":false}"#,
        r#"{"script":null,"args":null,"script_args":null,"module":"http.server","code":null,"interpreter":null,"venv":null,"unbuffered":null,"isolated":null,"work_dir":null}"#,
        r#"{"code":"print('hello')","interpreter":"python3.11","work_dir":"/local"}"#,
        r#"{"module":"größe.paket_2","venv":"local/venv"}"#,
    ] {
        assert!(said(task).is_empty(), "{task}: {:?}", said(task));
    }
}

#[test]
fn exactly_one_thing_is_run() {
    let nothing = ["error script: script must be specified → or module, code, or zipapp"];
    assert_eq!(said("{}"), nothing);
    assert_eq!(said(r#"{"script":""}"#), nothing);
    assert_eq!(
        said(r#"{"script":"a.py","module":"a","code":"1"}"#),
        [
            "error module: script and module are both given, but one of script, module, code and zipapp says what to run → arguments for it belong in script_args"
        ]
    );
}

#[test]
fn requirements_come_from_wheels_and_a_check_sum_is_of_a_zipapp() {
    assert!(said(r#"{"zipapp":"local/app.pyz","sha256":null}"#).is_empty());
    let sum = "aB".repeat(32);
    assert!(said(&format!(r#"{{"zipapp":"local/app.pyz","sha256":"{sum}"}}"#)).is_empty());
    let whole = r#"{"script":"a.py","requirements":"local/r.txt","wheels":"local/wheels","require_hashes":true}"#;
    assert!(said(whole).is_empty());
    for (task, words) in [
        (r#""requirements":"r.txt""#, "error requirements: requirements are installed from a directory of wheels"),
        (r#""wheels":"w""#, "error wheels: wheels are for requirements"),
        (r#""require_hashes":true"#, "error require_hashes: require_hashes is for requirements"),
        (r#""requirements":"r.txt","wheels":"w","venv":"v""#, "error venv: venv and requirements are both given"),
        (r#""requirements":"","wheels":"w""#, "error requirements: requirements = \"\": a path is expected"),
        (r#""sha256":"00""#, "error sha256: sha256 is of a zipapp"),
    ] {
        let said = said(&format!(r#"{{"script":"a.py",{task}}}"#));
        assert!(said.first().is_some_and(|first| first.starts_with(words)), "{task}: {said:?}");
    }
    let said = said(r#"{"zipapp":"a.pyz","sha256":"0g"}"#);
    assert_eq!(said, ["error sha256: sha256 = \"0g\": 64 hexadecimal digits are expected"]);
    // What is known only at run time may still be there.
    assert!(said_with(r#"{"script":"a.py","requirements":"r.txt","wheels":null}"#, &["wheels"]).is_empty());
}

#[test]
fn nothing_is_said_of_values_that_are_known_only_at_run_time() {
    assert!(said_with(r#"{"script":null}"#, &["script"]).is_empty());
    assert!(said_with(r#"{"script":"a.py","args":["-u",null]}"#, &["args[1]"]).is_empty());
    assert_eq!(
        said_with(r#"{"script":"a.py","args":["-u",null]}"#, &["script"]),
        ["error args[1]: invalid type: null, expected a string"]
    );
}

#[test]
fn a_relative_work_dir_is_refused() {
    assert_eq!(
        said(r#"{"script":"a.py","work_dir":"foo"}"#),
        ["error work_dir: work_dir must be absolute but got relative path \"foo\" → for example \"${NOMAD_TASK_DIR}\""]
    );
}

#[test]
fn args_that_already_say_what_to_run_are_pointed_out_and_refused_beside_a_module() {
    assert_eq!(
        said(r#"{"script":"8000","args":["-m","http.server"]}"#),
        [
            "warning args: args stand before the script, and \"-m\" already says what to run: \"8000\" becomes its argument → arguments for the script belong in script_args"
        ]
    );
    assert_eq!(
        said(r#"{"module":"http.server","args":["8000"]}"#),
        [
            "error args: args are the interpreter's, and \"8000\" already says what to run → arguments for the module or the code belong in script_args"
        ]
    );
}

#[test]
fn names_that_are_none_are_refused_with_a_way_out() {
    for (task, want) in [
        (
            r#"{"script":"-x.py"}"#,
            "error script: script = \"-x.py\" would be read as an option of the interpreter → a path: \"./-name.py\"",
        ),
        (
            r#"{"module":"app/main.py"}"#,
            "error module: module = \"app/main.py\": a dotted name such as \"http.server\" is expected → a file is run by script",
        ),
        (
            r#"{"module":"-c"}"#,
            "error module: module = \"-c\": a dotted name such as \"http.server\" is expected → a file is run by script",
        ),
        (
            r#"{"module":"a..b"}"#,
            "error module: module = \"a..b\": a dotted name such as \"http.server\" is expected → a file is run by script",
        ),
        (
            r#"{"script":"a.py","interpreter":"python*"}"#,
            "error interpreter: interpreter = \"python*\": a name such as \"python3.11\" or a path is expected",
        ),
        (
            r#"{"script":"a.py","interpreter":""}"#,
            "error interpreter: interpreter = \"\": a name such as \"python3.11\" or a path is expected",
        ),
        (
            r#"{"script":"a.py","interpreter":"python3","venv":"v"}"#,
            "error interpreter: venv and interpreter are both given, but a venv has an interpreter of its own → leave one of them out",
        ),
        (
            r#"{"script":"a.py","venv":""}"#,
            "error venv: venv = \"\": the directory of a virtual environment is expected",
        ),
        (
            r#"{"script":"a.py","script_args":["ok","a\u0000b"]}"#,
            "error script_args[1]: script_args[1] has a NUL character",
        ),
        (r#"{"script":"a.py","args":"-u"}"#, "error args: invalid type: string \"-u\", expected a sequence"),
    ] {
        assert_eq!(said(task), [want], "{task}");
    }
}

#[test]
fn code_that_is_too_long_for_a_command_line_is_refused() {
    let task = format!(r#"{{"code":"{}"}}"#, "#".repeat(CODE + 1));
    assert_eq!(
        said(&task),
        [
            "error code: code has 32769 bytes, more than 32768 → write it to a file by a template block and run that by script"
        ]
    );
}

#[test]
fn a_configuration_of_the_driver_that_cannot_be_read_stands_at_no_key_of_the_task() {
    let said = check_task::<Python>(r#"{"interpreters":7}"#, r#"{"script":"a.py"}"#, &[]);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].path.is_empty() && said[0].message.starts_with("the driver's configuration, interpreters:"),
        "{said:?}"
    );
}

#[test]
fn the_schema_declares_exactly_the_keys_that_are_read() {
    let schema = include_str!("task.hcldec");
    let declared: Vec<&str> = schema
        .lines()
        .filter_map(|line| {
            let line = line.trim();
            let name = line.strip_prefix("attr \"").or_else(|| line.strip_prefix("default \""));
            let name = name.or_else(|| line.strip_prefix("block_attrs \""))?;
            name.strip_suffix("\" {")
        })
        .collect();
    let read = [
        "script",
        "args",
        "script_args",
        "module",
        "code",
        "zipapp",
        "sha256",
        "interpreter",
        "venv",
        "requirements",
        "wheels",
        "require_hashes",
        "unbuffered",
        "isolated",
        "work_dir",
        "limits",
        "read_only_root",
        "userns_mode",
        "cgroupns_mode",
        "timens_mode",
        "seccomp",
        "signals",
        "stop",
    ];
    assert_eq!(declared, read);
    // Each of them is read: of a wrong type it is complained about.
    for key in read {
        let wrong = if key == "signals" { "[[1]]" } else { "{}" };
        let complaint = check_task::<Python>("{}", &format!(r#"{{"{key}":{wrong}}}"#), &[]);
        assert_eq!(complaint.first().map(|said| said.path.as_str()), Some(key), "{key}");
    }
}

#[test]
fn modes_of_namespaces_are_private_or_host() {
    assert!(said(r#"{"script":"a.py","userns_mode":"private","cgroupns_mode":"host","timens_mode":""}"#).is_empty());
    assert_eq!(
        said(r#"{"script":"a.py","userns_mode":"keep-id"}"#),
        [r#"error userns_mode: userns_mode must be "private" or "host", got "keep-id""#]
    );
}

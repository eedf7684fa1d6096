use yurt_sdk::Severity;
use yurt_sdk::testing::driver::check_config;

use super::*;
use crate::Python;

fn said(config: &str) -> Vec<String> {
    let line = |finding: Diagnostic| {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        format!("{severity} {}: {}", finding.path, finding.message)
    };
    check_config::<Python>(config).into_iter().map(line).collect()
}

#[test]
fn nothing_configured_is_fine_and_looks_for_the_usual_names() {
    for config in ["{}", r#"{"interpreters":null}"#] {
        assert!(said(config).is_empty(), "{config}");
    }
    let config = Config::default();
    assert_eq!(config.interpreters(), ["python3", "python"]);
    assert_eq!(config.others().first().map(String::as_str), Some("python3.19"));
    assert_eq!(config.others().last().map(String::as_str), Some("pypy3"));
}

#[test]
fn what_the_operator_names_is_all_that_is_looked_for() {
    let config = Config { interpreters: Some(vec!["/opt/py/bin/python3".into(), "python2".into()]) };
    assert!(config.check().is_empty());
    assert_eq!(config.interpreters(), ["/opt/py/bin/python3", "python2"]);
    assert!(config.others().is_empty());
}

#[test]
fn every_entry_that_is_neither_a_name_nor_an_absolute_path_is_named() {
    assert_eq!(
        said(r#"{"interpreters":["python*","bin/python","","python3","python3"]}"#),
        [
            "error interpreters[0]: interpreters[0] = \"python*\": a name such as \"python3.11\" or an absolute path is expected",
            "error interpreters[1]: interpreters[1] = \"bin/python\": a name such as \"python3.11\" or an absolute path is expected",
            "error interpreters[2]: interpreters[2] = \"\": a name such as \"python3.11\" or an absolute path is expected",
            "warning interpreters[4]: interpreters[4] = \"python3\" stands there twice",
        ]
    );
    assert_eq!(said(r#"{"interpreters":[]}"#), ["error interpreters: interpreters = []: no interpreter can be found"]);
    assert_eq!(said(r#"{"interpreters":[null]}"#), ["error interpreters[0]: invalid type: null, expected a string"]);
    let many = format!(
        r#"{{"interpreters":[{}]}}"#,
        (0..17).map(|n| format!("\"python3.{n}\"")).collect::<Vec<_>>().join(",")
    );
    assert_eq!(said(&many), ["error interpreters: interpreters has 17 entries, more than 16"]);
}

#[test]
fn the_schema_declares_exactly_the_keys_that_are_read() {
    let declared: Vec<&str> = include_str!("config.hcldec")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("attr \"")?.strip_suffix("\" {"))
        .collect();
    assert_eq!(declared, ["interpreters"]);
}

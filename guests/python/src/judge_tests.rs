use yurt_sdk::Value;
use yurt_sdk::testing::driver::{Machine, judge};

use super::*;
use crate::Python;

fn attributes_of(print: &Fingerprint) -> Vec<(&str, String)> {
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        Value::Flag(flag) => flag.to_string(),
        other => format!("{other:?}"),
    };
    print.attributes.iter().map(|one| (one.name.as_str(), text(&one.value))).collect()
}

#[test]
fn all_interpreters_found_are_attributes() {
    let node = Machine::default()
        .link("/usr/bin/python3", "python3.11")
        .says("/usr/bin/python3.11", &["--version"], 0, "Python 3.11.2\n", "")
        .says("/usr/bin/python3.11", &["-E"], 0, "/usr/bin/python3\ncpython\n", "")
        .says("/usr/bin/python2.7", &["--version"], 0, "", "Python 2.7.18\n");
    let print = judge::<Python>("{}", &node);
    assert_eq!(print.health, DriverHealth::Healthy);
    assert_eq!(print.reason, "Python 3.11.2 (CPython) at /usr/bin/python3");
    let text = |text: &str| text.to_owned();
    assert_eq!(
        attributes_of(&print),
        [
            ("driver.python", text("true")),
            ("driver.python.version", text("3.11.2")),
            ("driver.python.path", text("/usr/bin/python3")),
            ("driver.python.implementation", text("CPython")),
            ("driver.python.versions", text("3.11.2,2.7.18")),
            ("driver.python.python3", text("3.11.2")),
            ("driver.python.python3_11", text("3.11.2")),
            ("driver.python.python2_7", text("2.7.18")),
        ]
    );
    assert_eq!(print.attributes[0].value, Value::Flag(true));
}

#[test]
fn a_missing_interpreter_is_undetected_and_the_reason_says_where_it_was_looked_for() {
    let print = judge::<Python>("{}", &Machine::default());
    assert_eq!((print.health, print.attributes.len()), (DriverHealth::Undetected, 0));
    assert_eq!(
        print.reason,
        "no Python interpreter: python3: not found in /usr/local/bin:/usr/bin:/bin; python: not found in \
         /usr/local/bin:/usr/bin:/bin; and none of python3.19 to pypy3 is there"
    );
    let print = judge::<Python>(r#"{"interpreters":["/opt/py/bin/python"]}"#, &Machine::default());
    assert_eq!(print.reason, "no Python interpreter: /opt/py/bin/python: there is no /opt/py/bin/python");
}

#[test]
fn a_probe_that_hangs_makes_the_driver_unhealthy_and_is_named() {
    let print = judge::<Python>("{}", &Machine::default().hangs("/usr/bin/python3"));
    assert_eq!(print.health, DriverHealth::Unhealthy);
    assert_eq!(print.reason, "python3: /usr/bin/python3 did not end within 5 s");
}

#[test]
fn a_broken_interpreter_is_mentioned_beside_one_that_works() {
    let node =
        Machine::default().says("/usr/bin/python3", &["--version"], 0, "Python 3.11.2\n", "").hangs("/usr/bin/python");
    let print = judge::<Python>("{}", &node);
    assert_eq!(print.health, DriverHealth::Healthy);
    assert!(print.reason.ends_with("; python: /usr/bin/python did not end within 5 s"), "{}", print.reason);
}

#[test]
fn a_python_2_that_the_operator_names_is_the_driver_s() {
    let node = Machine::default()
        .says("/usr/bin/python2", &["--version"], 0, "", "Python 2.7.18\n")
        .says("/usr/bin/python2", &["-E"], 0, "/usr/bin/python2\ncpython\n", "")
        .says("/usr/bin/python3", &["--version"], 0, "Python 3.11.2\n", "");
    let print = judge::<Python>(r#"{"interpreters":["python2"]}"#, &node);
    assert_eq!(attributes_of(&print)[1], ("driver.python.version", "2.7.18".to_owned()));
    assert_eq!(attributes_of(&print)[4], ("driver.python.versions", "2.7.18".to_owned()));
}

#[test]
fn a_configuration_that_cannot_be_read_is_the_reason() {
    let print = judge::<Python>(r#"{"interpreters":7}"#, &Machine::default());
    assert_eq!(print.health, DriverHealth::Unhealthy);
    assert!(print.reason.starts_with("the configuration, interpreters: invalid type"), "{}", print.reason);
}

use yurt_sdk::testing::check_config;
use yurt_sdk::{Diagnostic, Severity};

use super::*;
use crate::DefaultPolicy;

/// Path, severity and message; the hint behind an arrow.
fn said(config: &str) -> Vec<String> {
    let line = |d: Diagnostic| {
        let severity = if d.severity == Severity::Error { "error" } else { "warning" };
        let hint = d.hint.map(|hint| format!(" -> {hint}")).unwrap_or_default();
        format!("{severity} {}: {}{hint}", d.path, d.message)
    };
    check_config::<DefaultPolicy>(config).into_iter().map(line).collect()
}

fn settings(config: &str) -> Settings {
    yurt_sdk::config::parse::<Config>(config).unwrap().check().0
}

#[test]
fn the_demos_keys_are_silent_and_mean_what_they_meant() {
    let demo = r#"{"fingerprint_period":"10s","target_vendor_id":4855,"target_product_id":7715,"rule":[]}"#;
    assert_eq!(said(demo), Vec::<String>::new());
    let settings = settings(demo);
    assert_eq!(settings.period_milliseconds, 10_000);
    assert_eq!(settings.rules, [Rule { vendor: Some(0x12f7), product: Some(0x1e23), ..Rule::default() }]);
}

#[test]
fn the_period_is_bounded_and_its_error_names_key_value_and_range() {
    for (text, want) in [("100ms", 100), ("10s", 10_000), ("1m30s", 90_000), ("24h", 86_400_000)] {
        let config = format!(r#"{{"fingerprint_period":"{text}","rule":[{{}}]}}"#);
        assert_eq!((settings(&config).period_milliseconds, said(&config)), (want, vec![]), "{text}");
    }
    for (text, why) in [
        ("0s", "out of range"),
        ("-1s", "out of range"),
        ("99ms", "out of range"),
        ("99.999ms", "out of range"),
        ("24h1ms", "out of range"),
        ("", "a number with a unit is expected"),
        ("10", "a unit is missing"),
        ("10d", "\"d\" is no unit of time"),
        ("fast", "\"fast\" is no unit of time"),
    ] {
        let config = format!(r#"{{"fingerprint_period":"{text}","rule":[{{}}]}}"#);
        let why = format!(
            "error fingerprint_period: fingerprint_period = \"{text}\": {why}; allowed is a duration from 100ms to 24h -> \"10s\""
        );
        assert_eq!(said(&config), [why]);
        assert_eq!(settings(&config).period_milliseconds, 10_000);
    }
}

#[test]
fn target_ids_are_whole_numbers_of_16_bits_as_number_or_text() {
    for (value, ok) in [
        ("4855", true),
        ("\"4855\"", true),
        ("65535", true),
        ("65536", false),
        ("-1", false),
        ("1.5", false),
        ("null", true),
    ] {
        let config = format!(r#"{{"target_vendor_id":{value},"target_product_id":7715}}"#);
        let errors: Vec<_> = said(&config).into_iter().filter(|line| line.starts_with("error")).collect();
        assert_eq!(errors.is_empty(), ok, "{value}: {errors:?}");
    }
    assert_eq!(
        said(r#"{"target_vendor_id":"0x12f7","target_product_id":7715}"#),
        [
            "error target_vendor_id: target_vendor_id = 0x12f7: allowed is a whole number from 0 to 65535 -> target_vendor_id = 4855"
        ]
    );
    assert_eq!(
        said(r#"{"target_vendor_id":[],"target_product_id":7715}"#),
        ["error target_vendor_id: invalid type: sequence, expected a number"]
    );
}

#[test]
fn nothing_offered_and_half_a_pair_are_warned_of() {
    let nothing = "warning : no USB device is offered: there is neither a rule nor a target pair -> for example: rule { class = \"storage\" }";
    for config in [
        r#"{"fingerprint_period":"10s","target_vendor_id":0,"target_product_id":0,"rule":[]}"#,
        "{}",
        r#"{"rule":null}"#,
    ] {
        assert_eq!(said(config), [nothing], "{config}");
    }
    let half = said(r#"{"target_vendor_id":4855,"target_product_id":0}"#);
    assert_eq!(half.len(), 1);
    assert!(half[0].starts_with("warning target_product_id: ") && half[0].contains("vendor = \"0x12f7\""), "{half:?}");
}

#[test]
fn every_error_of_every_rule_is_reported_with_its_path() {
    let config = r#"{"rule":[
        {"vendor":"0x12f7","product":"7715"},
        {"vendor":"12f7","product":"70000","class":"8","serial":"","action":"refuse"},
        {"class":"08/06/50/1","group":"My Sticks","vendor_name":"2000"}]}"#;
    let paths: Vec<String> = said(config).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    let want = [
        "warning rule[0].product",
        "error rule[1].vendor",
        "error rule[1].product",
        "error rule[1].class",
        "error rule[1].serial",
        "error rule[1].action",
        "error rule[2].class",
        "error rule[2].vendor_name",
        "error rule[2].group",
    ];
    assert_eq!(paths, want);
    let hints: Vec<String> =
        said(config).iter().filter_map(|line| Some(line.split_once(" -> ")?.1.to_owned())).collect();
    for hint in ["\"0x12f7\"", "\"08\"", "\"my-sticks\"", "\"n-2000\""] {
        assert!(hints.iter().any(|given| given == hint), "{hint} in {hints:?}");
    }
    assert_eq!(settings(config).rules.len(), 1, "a rule with an error offers nothing");
}

#[test]
fn a_device_with_several_ids_in_turn_has_a_name_of_the_rule_s() {
    let config = r#"{"rule":[
        {"modes":["0x1a6e:0x089a","0x18d1:0x9302"],"vendor_name":"google","group":"coral"},
        {"modes":["0x1a6e:0x089a","18d1:9302"],"vendor_name":"google","group":"coral"},
        {"modes":["0x1a6e:0x089a"],"vendor_name":"google","group":"coral"},
        {"modes":["0x1a6e:0x089a","0x18d1:0x9302"],"vendor":"0x1a6e","group":"coral"},
        {"modes":["0x1a6e:0x089a","0x18d1:0x9302"],"action":"deny"}]}"#;
    let lines = said(config);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    for (line, words) in [
        (
            0,
            "error rule[1].modes: modes has \"18d1:9302\": allowed are ids such as \"0x1a6e:0x089a\" -> \"0x18d1:0x9302\"",
        ),
        (1, "error rule[2].modes: modes has 1: allowed are 2 to 8"),
        (2, "error rule[3].modes: modes has the device's ids: leave out vendor and product"),
        (3, "so the rule has to name it: vendor_name and group -> vendor_name ="),
    ] {
        assert!(lines[line].contains(words), "{}", lines[line]);
    }
    let settings = settings(config);
    assert_eq!(settings.rules.len(), 2);
    assert_eq!(settings.rules[0].modes, [(0x1a6e, 0x089a), (0x18d1, 0x9302)]);
}

#[test]
fn the_newer_conditions_say_what_they_allow() {
    let config = r#"{"rule":[
        {"class_all":"disk","driver":"","behind":"1a40:0101","min_speed":"fast","removable":"yes","nodes":["/dev/ttyUSB0"]},
        {"behind":"","min_speed":0,"nodes":[],"members":4,"shares":1,"expose":"link","unhealthy_if":["busy","tired"]},
        {"action":"deny","nodes":["tty"],"as_one":true,"members":"many","unhealthy_if":[]}]}"#;
    let lines = said(config);
    let places: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "error rule[0].class_all",
            "error rule[0].driver",
            "error rule[0].behind",
            "error rule[0].min_speed",
            "error rule[0].removable",
            "error rule[0].nodes",
            "error rule[1].behind",
            "error rule[1].min_speed",
            "error rule[1].nodes",
            "error rule[1].expose",
            "error rule[1].members",
            "error rule[1].shares",
            "error rule[1].unhealthy_if",
            "error rule[2].members",
            "warning rule[2].nodes",
            "warning rule[2].as_one",
            "warning rule[2].unhealthy_if",
        ]
    );
    assert!(lines[2].ends_with("-> \"0x1a40:0x0101\""), "{}", lines[2]);
    for (line, words) in [
        (9, "expose = \"link\": allowed are \"devices\", \"mount\" and \"both\""),
        (10, "members says how many devices make one, which takes as_one -> as_one = true"),
        (11, "shares = 1: allowed is a whole number from 2 to 16"),
        (12, "unhealthy_if has \"tired\": allowed are busy, degraded,"),
        (13, "members = many: allowed is a whole number from 1 to 127"),
    ] {
        assert!(lines[line].contains(words), "{}", lines[line]);
    }
    assert!(lines[3].contains("min_speed = fast: allowed is a whole number of Mbit/s"), "{}", lines[3]);
    assert!(
        lines[5].contains("nodes has \"/dev/ttyUSB0\"") && lines[5].contains("a subsystem, not a path"),
        "{}",
        lines[5]
    );
}

#[test]
fn attributes_of_a_rule_are_such_that_a_job_can_ask_for_them() {
    let of = |attributes: &str| said(&format!(r#"{{"rule":[{{"attributes":{attributes}}}]}}"#));
    assert_eq!(of(r#"{"rack":"b2","site_2":"lab"}"#), Vec::<String>::new());
    for (given, want) in [
        (r#"{"Rack":"b2"}"#, "Rack: allowed in a name are 1 to 64 of a-z, 0-9 and \"_\""),
        (r#"{"vendor_id":"x"}"#, "vendor_id: every group has that attribute already"),
        (r#"{"rack":""}"#, "rack: allowed are 1 to 256 bytes"),
        (r#"{"rack":"12"}"#, "rack: \"12\" is a number to Nomad, which no text equals -> \"=12\""),
    ] {
        assert_eq!(of(given), [format!("error rule[0].attributes: {want}")]);
    }
}

#[test]
fn ids_have_one_grammar() {
    for (text, want) in [
        ("0x12f7", Some(0x12f7)),
        ("0x7", Some(7)),
        ("0xFFFF", Some(0xffff)),
        ("4855", Some(4855)),
        ("0", Some(0)),
        ("65535", Some(65535)),
        ("65536", None),
        ("12f7", None),
        ("0x", None),
        ("0x12f70", None),
        ("0x+1", None),
        ("+5", None),
        ("", None),
        (" 5", None),
        ("0X12F7", None),
    ] {
        assert_eq!(id_of(text).ok(), want, "{text:?}");
    }
}

#[test]
fn four_digits_that_look_like_an_id_are_said_to_be_decimal() {
    let lines = said(r#"{"rule":[{"vendor":"1050"}]}"#);
    assert_eq!(
        lines,
        [
            "warning rule[0].vendor: vendor = \"1050\" is read as a decimal number, 0x041a -> \"0x1050\" if the hexadecimal id is meant, \"0x041a\" if not"
        ]
    );
    assert_eq!(said(r#"{"rule":[{"vendor":"0x1050"},{"vendor":"300"}]}"#), Vec::<String>::new());
}

#[test]
fn classes_are_names_or_two_hexadecimal_digits_each() {
    for text in ["storage", "Mass-Storage", "hub", "08", "0x08", "ff", "08/06", "08/06/50", "03/*/01", "*"] {
        assert!(ClassPattern::parse(text).is_ok(), "{text}");
    }
    assert_eq!(ClassPattern::parse("storage"), ClassPattern::parse("08/*/*"));
    for text in ["", "8", "008", "disk", "08/", "08/6/50", "08/06/50/00", "g0"] {
        assert!(ClassPattern::parse(text).is_err(), "{text}");
    }
}

#[test]
fn rules_behind_one_without_condition_are_said_to_be_unreachable() {
    let lines = said(r#"{"rule":[{"action":"allow"},{"class":"hid"}]}"#);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("warning rule[1]: never reached: rule[0]"), "{lines:?}");
}

#[test]
fn the_schema_declares_exactly_the_keys_that_are_read() {
    let schema = include_str!("config.hcldec");
    for key in ["fingerprint_period", "target_vendor_id", "target_product_id"] {
        assert!(
            schema.contains(&format!("default \"{key}\"")) && schema.contains(&format!("name = \"{key}\"")),
            "{key}"
        );
    }
    let declared: Vec<&str> =
        schema.lines().filter_map(|line| line.trim().strip_prefix("attr \"")?.strip_suffix("\" {")).collect();
    let conditions = [
        "vendor",
        "product",
        "modes",
        "class",
        "class_all",
        "class_none",
        "driver",
        "subsystem",
        "serial",
        "port",
        "manufacturer",
        "name",
        "behind",
        "min_speed",
        "removable",
    ];
    assert_eq!(declared[..conditions.len()], conditions);
    assert_eq!(
        declared[conditions.len()..],
        ["action", "nodes", "expose", "as_one", "members", "shares", "unhealthy_if", "vendor_name", "group"]
    );
    assert!(schema.contains("block_list \"rule\"") && schema.contains("block_attrs \"attributes\""));
}

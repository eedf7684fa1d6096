//! A file of rules over what an agent was configured with.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use serde_json::{Value, json};
use yurt_nomad::config::{from_hcl, laid_over, place_of};
use yurt_nomad::schema::Spec;

fn spec() -> Spec {
    Spec::parse(
        r#"object {
            attr "vendor" {
                type = string
                required = true
            }
            default "period" {
                attr {
                    name = "period"
                    type = string
                }
                literal {
                    value = "10s"
                }
            }
            block_list "rule" {
                object {
                    attr "serial" {
                        type = string
                    }
                    attr "port" {
                        type = number
                    }
                }
            }
        }"#,
    )
    .unwrap()
}

fn agent() -> Value {
    from_hcl(
        "vendor = \"acme\"\nperiod = \"1m\"\nrule { serial = \"A\" }\nrule { serial = \"B\" }",
        "agent.hcl",
        &spec(),
    )
    .unwrap()
}

fn over(text: &str) -> Value {
    laid_over(text, "rules.hcl", &spec(), &agent()).unwrap()
}

#[test]
fn what_the_file_does_not_speak_of_is_the_agents() {
    assert_eq!(over("# nothing\n"), agent());
    assert_eq!(over("period = \"5s\""), json!({"vendor": "acme", "period": "5s", "rule": agent()["rule"]}));
}

#[test]
fn all_blocks_of_a_name_count_together() {
    let rules = over("rule { port = 3 }")["rule"].clone();
    assert_eq!(rules, json!([{"serial": null, "port": 3}]));
    assert_eq!(over("rule = []")["rule"], json!([]));
}

#[test]
fn a_key_without_a_value_falls_back_to_the_schemas_default() {
    assert_eq!(over("period = null")["period"], json!("10s"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let refused = |text: &str| laid_over(text, "rules.hcl", &spec(), &agent()).unwrap_err().to_string();
    let why = refused("\n  perjod = \"1s\"\n");
    assert!(
        why.starts_with("rules.hcl:2:3: no key or block is called \"perjod\" here; did you mean \"period\"?"),
        "{why}"
    );
    let why = refused("rule {\n  port = \"x\"\n}");
    assert!(why.starts_with("rules.hcl:2:"), "{why}");
    assert!(refused("rule {").starts_with("rules.hcl:1:"));
}

#[test]
fn a_path_is_found_in_the_text_as_far_as_it_stands_there() {
    let text = "vendor = \"a\"\n\nrule { serial = \"A\" }\nrule {\n  port = 3\n}\n";
    for (path, place) in [
        ("vendor", Some((1, 1))),
        ("rule", Some((3, 1))),
        ("rule[0].serial", Some((3, 8))),
        ("rule[1].port", Some((5, 3))),
        ("rule[1].absent", Some((4, 1))),
        ("absent", None),
    ] {
        assert_eq!(place_of(text, path), place, "{path}");
    }
}

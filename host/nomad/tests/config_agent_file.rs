//! The configuration of one plugin in an agent's own file.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use serde_json::json;
use yurt_nomad::config::from_agent_file;
use yurt_nomad::schema::Spec;

fn spec() -> Spec {
    let text = r#"object {
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
                attr "class" {
                    type = string
                }
            }
        }
    }"#;
    Spec::parse(text).unwrap()
}

#[test]
fn a_stanza_is_found_among_whatever_else_an_agent_s_file_has() {
    let text = r#"
        data_dir = "/opt/nomad"
        client {
          enabled = true
          meta {
            rack = "b2"
          }
        }
        plugin "docker" {
          config {
            allow_privileged = true
          }
        }
        plugin "usb" {
          args = ["--guest", "usb"]
          config {
            rule {
              class = "hid"
            }
          }
        }"#;
    let found = from_agent_file(text, "agent.hcl", "usb", &spec()).unwrap();
    assert_eq!(found, Some(json!({ "period": "10s", "rule": [{ "class": "hid" }] })));
    assert_eq!(from_agent_file(text, "agent.hcl", "other", &spec()).unwrap(), None);
}

#[test]
fn a_stanza_without_a_configuration_has_the_schema_s_defaults() {
    for text in ["plugin \"usb\" {}", "plugin \"usb\" {\n  config {}\n}"] {
        let found = from_agent_file(text, "agent.hcl", "usb", &spec()).unwrap();
        assert_eq!(found, Some(json!({ "period": "10s", "rule": [] })), "{text}");
    }
}

#[test]
fn what_is_wrong_is_placed_in_the_file() {
    for (text, place, why) in [
        ("plugin \"usb\" {\n  config {\n    perid = \"1s\"\n  }\n}", ":3:5", "did you mean \"period\"?"),
        ("plugin \"usb\" {}\nplugin \"usb\" {}", ":2:", "may stand here once"),
        ("plugin \"usb\" {", ":1:", ""),
    ] {
        let said = from_agent_file(text, "agent.hcl", "usb", &spec()).unwrap_err().to_string();
        assert!(said.contains(&format!("agent.hcl{place}")) && said.contains(why), "{said}");
    }
}

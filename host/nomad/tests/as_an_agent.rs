//! The same inputs as a real agent's, and the same answers: see `fixtures/README.md`.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use serde_json::Value as Json;
use yurt_nomad::attribute::{Attribute, Value, parse_literal};
use yurt_nomad::config::{from_hcl, from_msgpack, to_msgpack};
use yurt_nomad::schema::Spec;

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Where we differ, and why that is right.
const DIFFERENT: [(&str, &str); 3] = [
    ("rule = [[{ vendor = \"x\" }]]", "a list in a list: not a form that anybody writes for a block"),
    ("target_vendor_id = \"inf\"", "infinity is no number of JSON"),
    ("target_vendor_id = \"Inf\"", "infinity is no number of JSON"),
];

/// 512 bits against a float's 53: read alike up to the float's exactness.
const FINER: [&str; 2] = ["vid = \"9007199254740993.0\"", "vid = \"-9223372036854775809\""];

#[test]
fn configuration_is_evaluated_as_by_an_agent() {
    let cases: Vec<Json> = serde_json::from_str(include_str!("fixtures/evaluated.json")).unwrap();
    let schemas = [
        ("written", Spec::parse(include_str!("fixtures/written.hcldec")).unwrap()),
        ("sent", Spec::parse(include_str!("fixtures/sent.hcldec")).unwrap()),
    ];
    assert!(cases.len() > 100);
    for case in &cases {
        let (_, spec) = schemas.iter().find(|(name, _)| case["schema"] == *name).unwrap();
        let text = case["config"].as_str().unwrap();
        let ours = from_hcl(text, "agent.hcl", spec);
        let theirs = case["msgpack"].as_str().map(bytes);
        if DIFFERENT.iter().any(|(different, _)| *different == text) {
            assert!(theirs.is_some() && ours.is_err(), "{text} no longer differs: {ours:?}");
            continue;
        }
        match (ours, theirs) {
            (Err(_), None) => {}
            (Ok(ours), Some(theirs)) => {
                if !FINER.contains(&text) {
                    assert_eq!(from_msgpack(&theirs, spec).as_ref(), Ok(&ours), "{text}");
                }
                // The second schema has a default in another type, which an agent hands over as it stands.
                if case["schema"] == "written" {
                    assert_eq!(to_msgpack(&ours), theirs, "{text}");
                }
            }
            (ours, theirs) => panic!("{text}: ours {ours:?}, an agent's {theirs:x?}"),
        }
    }
}

#[test]
fn literals_are_typed_as_by_an_agent() {
    let cases: Vec<Json> = serde_json::from_str(include_str!("fixtures/literals.json")).unwrap();
    assert!(cases.len() > 50);
    for case in &cases {
        let literal = case["literal"].as_str().unwrap();
        let value = match case {
            Json::Object(keys) if keys.contains_key("integer") => Value::Integer(case["integer"].as_i64().unwrap()),
            Json::Object(keys) if keys.contains_key("float") => {
                Value::Float(case["float"].as_str().unwrap().parse().unwrap())
            }
            Json::Object(keys) if keys.contains_key("flag") => Value::Flag(case["flag"].as_bool().unwrap()),
            _ => Value::Text(case["text"].as_str().unwrap().to_owned()),
        };
        let wanted = Attribute { value, unit: case["unit"].as_str().map(str::to_owned) };
        let got = parse_literal(literal);
        // NaN differs from itself.
        assert_eq!(format!("{got:?}"), format!("{wanted:?}"), "{literal:?}");
    }
}

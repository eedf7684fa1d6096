//! The bytes of SetConfig: whatever is taken has every key of the schema in its type, and is the same when sent once more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use yurt_fuzz::{SCHEMA, memory, text};
use yurt_nomad::config::{from_msgpack, to_msgpack};

/// An empty rule is one byte, and becomes all keys of a rule; strings are taken in pieces of 64 KiB.
const PER_BYTE: usize = 1024;
const PER_CALL: usize = 256 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let schema = &*SCHEMA;
    match memory::within(PER_CALL + PER_BYTE * bytes.len(), || from_msgpack(bytes, schema)) {
        Ok(config) => {
            is_by_the_schema(&config);
            let sent = to_msgpack(&config);
            assert_eq!(from_msgpack(&sent, schema).as_ref(), Ok(&config), "sent once more as {sent:02x?}");
            assert_eq!(to_msgpack(&config), sent);
        }
        Err(why) => text::is_fit_for_a_log(&why.to_string(), 1000),
    }
});

/// Of a rule, those that are texts.
const RULE: [&str; 17] = [
    "expose",
    "vendor",
    "product",
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
    "removable",
    "action",
    "vendor_name",
    "group",
];
const HOST: [&str; 5] = ["settle", "settle_max", "grace", "node_mode", "node_group"];

fn is_by_the_schema(config: &Value) {
    let top = config.as_object().expect("an object");
    assert_eq!(top.len(), 5, "{config}");
    assert!(top["fingerprint_period"].is_string(), "{config}");
    assert!(top["target_vendor_id"].is_number() && top["target_product_id"].is_number(), "{config}");
    for rule in top["rule"].as_array().expect("a list of rules") {
        is_of_texts(rule, &RULE, 8);
        for number in ["min_speed", "members", "shares"] {
            assert!(rule[number].is_number() || rule[number].is_null(), "{rule}");
        }
        for list in ["modes", "nodes", "unhealthy_if"] {
            assert!(rule[list].is_null() || rule[list].as_array().is_some_and(|all| all.iter().all(is_text)), "{rule}");
        }
        assert!(rule["as_one"].is_boolean() || rule["as_one"].is_null(), "{rule}");
        let attributes = &rule["attributes"];
        assert!(attributes.is_null() || attributes.as_object().is_some_and(|all| all.values().all(is_text)), "{rule}");
    }
    if !top["yurt"].is_null() {
        is_of_texts(&top["yurt"], &HOST, 1);
        let grants = &top["yurt"]["grants"];
        assert!(grants.is_null() || grants.as_object().is_some_and(|all| all.len() == 3), "{config}");
    }
}

/// And of so many others.
fn is_of_texts(block: &Value, keys: &[&str], others: usize) {
    let block = block.as_object().expect("a block");
    assert_eq!(block.len(), keys.len() + others);
    for key in keys {
        assert!(is_text(&block[*key]), "{key} is {}", block[*key]);
    }
}

fn is_text(value: &Value) -> bool {
    value.is_string() || value.is_null()
}

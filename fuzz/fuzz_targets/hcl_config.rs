//! What an operator writes: an error has its place in the text, and what is taken is what an agent's bytes would say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yurt_fuzz::{SCHEMA, text};
use yurt_nomad::config::{ConfigError, from_hcl, from_msgpack, to_msgpack};

fuzz_target!(|written: &str| {
    match from_hcl(written, "policy.hcl", &SCHEMA) {
        Ok(config) => assert_eq!(from_msgpack(&to_msgpack(&config), &SCHEMA), Ok(config)),
        Err(ConfigError::Text { file, line, column, reason }) => {
            assert_eq!(file, "policy.hcl");
            text::has_place(written, line, column);
            text::is_fit_for_a_log(&reason, 1000);
        }
        Err(other) => panic!("an error without a place: {other}"),
    }
});

//! What configuration a guest asks for is text by anybody: an error has its place, and what is taken reads the same as printed
//! and as sent to an agent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yurt_fuzz::text;
use yurt_nomad::config::{from_hcl, from_msgpack, to_msgpack};
use yurt_nomad::schema::{Spec, SpecError};

fuzz_target!(|written: &str| {
    match Spec::parse(written) {
        Ok(spec) => {
            let printed = spec.to_string();
            assert_eq!(Spec::parse(&printed).as_ref(), Ok(&spec), "{printed}");
            assert_eq!(Spec::from_proto(&spec.to_proto()).as_ref(), Ok(&spec), "{printed}");
            // Both ways to configure nothing at all.
            let nothing = from_msgpack(&[], &spec);
            if let Ok(given) = &nothing {
                assert_eq!(from_msgpack(&to_msgpack(given), &spec).as_ref(), Ok(given), "{printed}");
            }
            if let Ok(given) = from_hcl("", "policy.hcl", &spec) {
                assert_eq!(Ok(given), nothing, "{printed}");
            }
        }
        Err(why) => {
            text::is_fit_for_a_log(&why.to_string(), 1000);
            if let SpecError::Text { line, column, .. } = why {
                text::has_place(written, line, column);
            }
        }
    }
});

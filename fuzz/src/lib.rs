//! What the targets share: the default policy's schema, and how to hold a parser to a bound.

pub mod memory;
pub mod simulated;
pub mod text;

use std::sync::LazyLock;

use yurt_nomad::schema::Spec;

/// What the plugin asks an agent for: the keys of the default policy and the host's own block.
pub static SCHEMA: LazyLock<Spec> = LazyLock::new(|| {
    let guest = include_str!("../../guests/usb/src/config.hcldec");
    let host = include_str!("../../host/yurt/src/host_config.hcldec");
    let host = Spec::parse(host).expect("the host's block is a schema");
    Spec::parse(guest).and_then(|guest| guest.merge_block("yurt", host)).expect("the policy's keys are a schema")
});

//! What `wit/0.1.0` says, as Rust: generated, not written.
#![allow(missing_docs, unreachable_pub, unsafe_code, unused_qualifications)]
#![allow(clippy::all, clippy::indexing_slicing, clippy::unwrap_used)]

wit_bindgen::generate!({
    path: "../../wit/0.1.0",
    world: "usb-plugin",
    additional_derives: [PartialEq],
    default_bindings_module: "yurt_sdk::bindings",
    pub_export_macro: true,
});

/// World `driver-plugin`; what it shares with the other is the other's.
pub mod driver {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        world: "driver-plugin",
        with: {
            "yurt:plugin/common@0.1.0": crate::bindings::yurt::plugin::common,
            "yurt:plugin/log@0.1.0": crate::bindings::yurt::plugin::log,
        },
        additional_derives: [PartialEq],
        default_bindings_module: "yurt_sdk::bindings::driver",
        pub_export_macro: true,
    });
}

//! What the author of a Yurt guest depends on.
//!
//! A guest is a policy: it gets facts as plain data and answers with plain data. It holds no handle, opens nothing, and is started
//! afresh for every call. This crate turns the WIT contract (`wit/<version>/`) into one Rust trait per world, so that a policy is an
//! ordinary type which is unit-tested natively and becomes a component with one macro.
//!
//! ```
//! use serde::Deserialize;
//! use yurt_sdk::{Description, Offer, UsbPolicy, facts::Snapshot, offer::*, testing};
//!
//! /// Offers every device of one vendor as `acme/usb/board`.
//! struct Boards;
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     vendor: u16,
//! }
//!
//! impl UsbPolicy for Boards {
//!     type Config = Config;
//!     type Memory = ();
//!
//!     fn describe() -> Description {
//!         Description {
//!             name: "boards".into(),
//!             version: env!("CARGO_PKG_VERSION").into(),
//!             summary: "Offers the boards of one vendor.".into(),
//!             config_spec: r#"object { attr "vendor" { type = number required = true } }"#.into(),
//!         }
//!     }
//!
//!     fn group(config: &Config, facts: &Snapshot, _memory: Option<()>) -> Result<Offer<()>, String> {
//!         let instances = (facts.devices.iter())
//!             .filter(|device| device.vendor_id == config.vendor)
//!             .map(|device| Instance {
//!                 id: format!("port-{}", device.key),
//!                 members: vec![device.key.clone()],
//!                 share: None,
//!                 health: Health::Healthy,
//!             })
//!             .collect();
//!         let name = GroupName { vendor: "acme".into(), kind: "usb".into(), name: "board".into() };
//!         Ok(Offer::of(vec![DeviceGroup { name, attributes: vec![], instances }]))
//!     }
//!
//!     fn reserve(_: &Config, facts: &Snapshot, _: &GroupName, _: &[Instance]) -> Result<Reservation, String> {
//!         let nodes = facts.devices.iter().flat_map(yurt_sdk::nodes::all_of).collect();
//!         Ok(Reservation { env: vec![], nodes, mounts: vec![] })
//!     }
//! }
//!
//! yurt_sdk::usb_policy!(Boards);
//!
//! // A test: plain facts in, plain answer out.
//! let facts = testing::snapshot([testing::Device::new("1-1.4", 0x12f7, 0x1e23)]);
//! let offer = testing::group::<Boards>(r#"{"vendor": 4855}"#, &facts).unwrap();
//! assert_eq!(offer.groups[0].instances[0].id, "port-1-1.4");
//! ```
//!
//! Such a crate is a `cdylib`, built with `cargo build --release --target wasm32-unknown-unknown` and `linker = "wasm-component-ld"`
//! (see `guests/.cargo/config.toml`): the outcome is a component whose only import is the log.
//!
//! Two things to know of that target: `SystemTime::now` and `Instant::now` panic (time comes as durations in the facts), and a
//! panic's message reaches the operator through the log, as an error.

pub mod attribute;
pub mod bindings;
pub mod config;
pub mod log;
pub mod nodes;
mod policy;
pub mod slug;
pub mod testing;

pub use bindings::yurt::plugin::common::{Attribute, Description, Diagnostic, Severity, Value};
pub use policy::{Adapter, Offer, UsbPolicy};
pub use serde_json as json;

/// Facts about devices: what the host read from the kernel's tables (`usb.wit`).
pub mod facts {
    pub use crate::bindings::yurt::plugin::usb::*;
}

/// The parts of an answer (`usb-policy.wit`). The whole offer is [`crate::Offer`], with typed memory.
pub mod offer {
    pub use crate::bindings::exports::yurt::plugin::usb_policy::{
        DeviceGroup, EnvValue, Figure, GrantedEnv, GroupName, Health, Instance, InstanceStats, MountGrant, NodeGrant,
        Reservation,
    };
}

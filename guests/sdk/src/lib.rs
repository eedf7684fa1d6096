//! What the author of a Yurt guest depends on.
//!
//! A guest decides: it gets facts as plain data and answers with plain data. It holds no handle, opens nothing, and is started
//! afresh for every call. This crate turns the WIT contract (`wit/<version>/`) into one Rust trait per world, so that a guest is an
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
//! The logic of a task driver is a type of the other trait, [`TaskDriver`]: what a job may say, what to look for on a node, and how a
//! task is launched.
//!
//! ```
//! use serde::Deserialize;
//! use yurt_sdk::driver::*;
//! use yurt_sdk::{Description, TaskDriver, attribute, testing::driver as testing};
//!
//! /// Runs Lua scripts.
//! struct Lua;
//!
//! #[derive(Deserialize)]
//! struct Config {}
//!
//! #[derive(Deserialize)]
//! struct Task {
//!     script: String,
//! }
//!
//! impl TaskDriver for Lua {
//!     type Config = Config;
//!     type Task = Task;
//!
//!     fn describe() -> DriverDescription {
//!         DriverDescription {
//!             about: Description {
//!                 name: "lua".into(),
//!                 version: env!("CARGO_PKG_VERSION").into(),
//!                 summary: "Runs Lua scripts.".into(),
//!                 config_spec: String::new(),
//!             },
//!             task_spec: r#"object { attr "script" { type = string required = true } }"#.into(),
//!             capabilities: Capabilities {
//!                 isolation: Isolation::Chroot,
//!                 signals: true,
//!                 exec: true,
//!                 host_network: true,
//!                 group_network: true,
//!                 mounts: true,
//!                 dynamic_users: false,
//!             },
//!         }
//!     }
//!
//!     fn probes(_: &Config) -> Vec<Probe> {
//!         vec![Probe::run("lua", &["lua", "-v"])]
//!     }
//!
//!     fn judge(_: &Config, findings: Findings<'_>) -> Fingerprint {
//!         let (health, reason) = match findings.output("lua") {
//!             Some(Ok(output)) => (DriverHealth::Healthy, output.stdout.trim().to_owned()),
//!             Some(Err(Trouble::Absent(why))) => (DriverHealth::Undetected, format!("lua: {why}")),
//!             Some(Err(trouble)) => (DriverHealth::Unhealthy, format!("lua: {}", trouble.why())),
//!             None => (DriverHealth::Undetected, "lua was not looked for".into()),
//!         };
//!         Fingerprint { health, reason, attributes: vec![attribute::flag("driver.lua", health == DriverHealth::Healthy)] }
//!     }
//!
//!     fn plan(_: &Config, task: &Task, _: &TaskView, _: Findings<'_>) -> Result<Next, PlanError> {
//!         let command = vec!["lua".to_owned(), task.script.clone()];
//!         Ok(Next::Launch(LaunchPlan { user: Some("nobody".into()), ..LaunchPlan::of(command) }))
//!     }
//! }
//!
//! yurt_sdk::task_driver!(Lua);
//!
//! // A test: a machine from a builder, looked at as the host does.
//! let node = testing::Machine::default().says("/usr/bin/lua", &["-v"], 0, "Lua 5.4.6", "");
//! assert_eq!(testing::judge::<Lua>("{}", &node).health, DriverHealth::Healthy);
//! let plan = testing::plan::<Lua>("{}", r#"{"script": "main.lua"}"#, &testing::view(), &node, &node).unwrap();
//! assert_eq!(plan.program, Program::Native(vec!["lua".into(), "main.lua".into()]));
//! ```
//!
//! Such a crate is a `cdylib`, built with `cargo build --release --target wasm32-unknown-unknown` and `linker = "wasm-component-ld"`
//! (see `guests/.cargo/config.toml`): the outcome is a component whose only import is the log.
//!
//! Two things to know of that target: `SystemTime::now` and `Instant::now` panic (time comes as durations in the facts), and a
//! panic's message reaches the operator through the log, as an error.

pub mod attribute;
pub mod bindings;
pub mod command;
pub mod config;
pub mod driver;
pub mod ids;
pub mod isolation;
pub mod log;
pub mod nodes;
mod policy;
mod said;
pub mod signals;
pub mod slug;
mod task_driver;
pub mod testing;

pub use bindings::yurt::plugin::common::{Attribute, Description, Diagnostic, Severity, Value};
pub use policy::{Adapter, Offer, UsbPolicy};
pub use said::Said;
pub use serde_json as json;
pub use task_driver::{DriverAdapter, TaskDriver};

/// Facts about devices: what the host read from the kernel's tables (`usb.wit`).
pub mod facts {
    pub use crate::bindings::yurt::plugin::usb::*;
}

/// The parts of an answer (`usb-policy.wit`). The whole offer is [`crate::Offer`], with typed memory.
pub mod offer {
    pub use crate::bindings::exports::yurt::plugin::usb_policy::{
        DeviceGroup, DeviceModel, EnvValue, Figure, GrantedEnv, GroupName, Health, Instance, InstanceStats, MountGrant,
        NodeGrant, Reservation,
    };
}

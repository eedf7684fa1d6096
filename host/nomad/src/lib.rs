//! Nomad's plugin protocol in Rust terms, both ends.
//!
//! * [`proto`]: the messages and services as they are on the wire.
//! * [`device`]: a device plugin as a trait, its offers checked by the rules that a Nomad agent applies, and the service that
//!   keeps its promises: streams that never end, answers that never lack what the agent relies on.
//! * [`driver`]: a task driver as a trait, and its service: tasks are started, found again and waited for, commands run in them.
//! * [`schema`] and [`config`]: what configuration a plugin takes, in hcldec's specification language, and that configuration
//!   in the forms that an agent sends or a person writes.
//! * [`attribute`]: typed values with units, and how a job's constraints read them.
//! * [`client`]: the agent's side, for tests, demonstrations and benchmarks.
//!
//! Knows nothing of WebAssembly and nothing of USB.

pub mod attribute;
mod base;
mod caught;
pub mod client;
pub mod config;
pub mod device;
pub mod driver;
mod error;
mod hcl;
pub mod proto;
pub mod schema;
#[cfg(test)]
mod testlog;
mod text;
mod time;

pub use error::{ErrorKind, PluginError};

/// How an agent and a plugin know each other: the same for devices and drivers, and for every version of Nomad.
pub const HANDSHAKE: yurt_go_plugin::Handshake = yurt_go_plugin::Handshake {
    cookie_key: "NOMAD_PLUGIN_MAGIC_COOKIE",
    cookie_value: "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255",
    protocol_version: 2,
};

/// The one plugin API version that agents know, of devices and of drivers alike.
pub const API_VERSION: &str = "v0.1.0";

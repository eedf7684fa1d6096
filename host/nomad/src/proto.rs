//! The messages and services of `proto/nomad`, as generated. Everything else in this crate turns them into types of its own.

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/nomad.rs"));
}

use generated::hashicorp::nomad::plugins;

/// `hashicorp.nomad.plugins.base.proto`: what every plugin answers.
pub mod base {
    pub use super::plugins::base::proto::*;
}

/// `hashicorp.nomad.plugins.device`: what a device plugin answers.
pub mod device {
    pub use super::plugins::device::*;
}

/// `hashicorp.nomad.plugins.drivers.proto`: what a task driver answers.
pub mod driver {
    pub use super::plugins::drivers::proto::*;
}

/// `hashicorp.nomad.plugins.shared.hclspec`: configuration schemas.
pub mod hclspec {
    pub use super::plugins::shared::hclspec::*;
}

/// `hashicorp.nomad.plugins.shared.structs`: attributes, figures, recoverable errors.
pub mod shared {
    pub use super::plugins::shared::structs::*;
}

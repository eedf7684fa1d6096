//! The parts of a task driver: configuration and grants, looks at the node, plans and what is left of them, starts, commands, figures.
//! `driver_plugin.rs` wires them.

mod caps;
pub(crate) mod clamp;
pub(crate) mod component;
pub(crate) mod config;
pub(crate) mod devices;
pub(crate) mod exec;
pub(crate) mod fingerprint;
mod glob;
mod ids;
pub(crate) mod known;
mod layers;
mod limits;
pub(crate) mod look;
pub(crate) mod memo;
pub(crate) mod prepare;
pub(crate) mod profiles;
pub(crate) mod signals;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod unveil;
mod view;

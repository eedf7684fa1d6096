//! The facts in the host's types.

pub use yurt_guest::usb;

#[path = "facts.rs"]
pub mod facts;

//! Facts about the USB devices of this machine: snapshots from sysfs, hot-plug, names.

pub mod facts;
mod roots;

pub use roots::{Events, Roots};

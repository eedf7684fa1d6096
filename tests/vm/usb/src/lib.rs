//! USB devices that are no hardware, on a kernel that does not know: its own drivers bind, its own nodes appear.
//!
//! [`Plugged`] is a device that this process plays to the kernel's `vhci_hcd`, which takes USB/IP messages from a socket. Any descriptors may
//! be served, and served badly. [`Gadget`] is one that the kernel plays itself. [`Monitor`] has QEMU plug the devices that it emulates itself: hubs, keyboards, disks.
//!
//! For a VM only: whatever machine this runs on gets these devices.

// It runs in tests only, on what it has made itself.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod config;
mod control;
mod gadget;
mod monitor;
mod vhci;
mod wire;

pub use control::Manners;
pub use gadget::{Gadget, Identity};
pub use monitor::Monitor;
pub use vhci::{Plugged, bus, load};

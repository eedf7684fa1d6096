//! The plugin and the kernel's own USB: drivers that bind when they like, nodes with bytes behind them, devices that behave badly.
//!
//! Each test is ignored except in the VM (`just vm usb`), one after the other.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod bad;
mod gadget;
mod qemu;
mod replug;
mod serial;
mod speed;
mod stage;

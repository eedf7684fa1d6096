//! Guests of every kind, good and hostile, loaded and called as the plugin does.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

mod built;
mod calls;
mod driver;
mod hostile;
mod load;
mod log;
#[allow(dead_code)]
mod make;
mod python;
mod receipts;

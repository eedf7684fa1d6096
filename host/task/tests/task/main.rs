//! Tasks with the real keeper, as whoever runs this: everything as root, what needs no privileges as anybody.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod bad;
mod commands;
mod groups;
mod life;
mod namespaces;
mod profiles;
mod reboot;
mod recovery;
mod recycled;
mod rig;
mod steps;
mod views;

//! The contract of a Nomad device plugin, subject by subject, with the real binary and no Nomad.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod agents;
mod comparison;
mod configuration;
mod devices;
mod directory;
mod ending;
mod explain;
mod fingerprint;
mod guests;
mod handshake;
mod inspect;
mod launches;
mod offering;
mod record;
mod replug_drill;
mod reservation;
mod rude_devices;
mod services;
mod statistics;
mod swap;
mod swap_drill;

#[allow(dead_code)]
#[path = "../../../../host/guest/tests/guests/make.rs"]
mod make;

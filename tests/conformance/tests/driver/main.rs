//! The acceptance list of a task driver, row by row: each test's name begins with the row's id. Against Yurt's python driver in both
//! of its modes, or any other driver: `yurt_conformance::driver` says how.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod acceptance;
mod bad_input;
mod base;
mod capabilities;
mod chaos;
mod config;
mod denied;
mod destroy;
mod exec;
mod fingerprint;
mod hostile;
mod identity;
mod landlock;
mod life;
mod limits;
mod many;
mod network;
mod orphans;
mod prepare;
mod python;
mod record;
mod recover;
mod roots;
mod said;
mod seccomp;
mod start;
mod stats;
mod stop;
mod upgrade;
mod wait;
mod yurt_exec;
mod yurt_raw_exec;

#[allow(dead_code)]
#[path = "../../../../host/guest/tests/guests/make.rs"]
mod make;

//! A real plugin (`examples/echo.rs`), launched, used and ended as an application does, and in the ways that hurt.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;
mod launch;
mod life;
mod log;
mod tls;

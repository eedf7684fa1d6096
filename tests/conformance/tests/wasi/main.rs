//! Tasks that are WebAssembly components, over the wire: the built binary with its WASI guest, and a component that does what it is told
//! (`tests/wasi`). Beside the acceptance list, whose rows speak of programs.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod bad;
mod files;
mod life;
mod network;
mod say;
mod stage;

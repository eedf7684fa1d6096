//! The real binary, held against Nomad's plugin contract over the wire: what the tests in `tests/contract` and
//! `tests/driver` stand on.
//!
//! * [`binary`]: the binary, built if it is not.
//! * [`place::Place`]: a plugin directory, a state directory and a simulated bus of a test's own.
//! * [`process::Process`]: a launch seen from outside, byte for byte: what is on stdout, what on stderr, when it ends.
//! * [`driver::Node`]: a node with a task driver: task directories, log pipes, control groups as an agent makes them.
//! * [`log`]: what a line on stderr must look like so that an agent neither dies of it nor takes it for something else.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

pub mod acceptance;
pub mod binary;
pub mod driver;
pub mod log;
mod patience;
pub mod place;
pub mod process;

pub use patience::patience;

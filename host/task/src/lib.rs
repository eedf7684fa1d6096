//! The plugin's side of a task: starting it, finding it again, waiting, signals, the end, commands in it, figures.
//!
//! This room knows processes and control groups; it knows neither Nomad nor wasm. Who really stays with a task is its keeper, a small
//! program of its own (`yurt_keeper`) that this crate carries within itself: plugins come and go, a [`Task`] is found again by its
//! [`Handle`].

mod launch;

pub use launch::{
    Capabilities, Cgroup, Device, Dns, File, Identity, Isolation, Launch, Limits, Mount, Namespaces, Propagation,
    ResourceLimit, RootDirectory, Secret,
};

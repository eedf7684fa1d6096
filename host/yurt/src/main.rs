//! Yurt: one binary that is a Nomad plugin under Nomad's magic cookie and a command line without it.
//!
//! The rooms (`yurt_go_plugin`, `yurt_nomad`, `yurt_guest`, `yurt_usb`, `yurt_task`, `yurt_component`) do not know each other; they are wired here:
//! `device_plugin.rs` and `driver_plugin.rs` with their neighbours for the plugins, `cli/` for people, `convert.rs` where types cross a wall.

mod check;
mod choice;
mod cli;
mod convert;
#[cfg(test)]
mod corpus_tests;
mod device_plugin;
mod device_side;
mod diagnostics;
mod driver;
mod driver_plugin;
mod driver_side;
mod exchange;
mod folders;
mod guest_call;
mod host_config;
mod lean;
mod metrics;
mod offer;
mod pin;
mod places;
mod plugin;
#[cfg(test)]
mod policy_tests;
mod record;
mod reserve;
mod statistics;

use std::process::ExitCode;

use mimalloc::MiMalloc;
use yurt_go_plugin::server::{Invocation, invocation};

/// Compilers allocate on one thread what they free on another, and glibc has them wait for each other: a guest is compiled in 1.0 s
/// instead of 1.4.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Before anything of this process is touched: it may have been started to compile a guest, within bounds of its own.
    if let Some(status) = yurt_guest::take_over() {
        return status;
    }
    // Or to be a task that is a component.
    if let Some(status) = yurt_component::take_over() {
        return status;
    }
    match invocation(&yurt_nomad::HANDSHAKE) {
        Ok(Invocation::Plugin(environment)) => plugin::run(environment),
        Ok(Invocation::Person) => cli::run(),
        Ok(Invocation::WrongCookie) => {
            say("yurt is a plugin for HashiCorp Nomad: the agent starts it from its plugin_dir.");
            say(&format!(
                "{} holds another value than Nomad's; unset it to use yurt's command line (`yurt --help`).",
                yurt_nomad::HANDSHAKE.cookie_key
            ));
            ExitCode::FAILURE
        }
        Err(why) => {
            say(&why.to_string());
            ExitCode::FAILURE
        }
    }
}

/// One line on stderr for whoever started us by hand; a stderr that is gone is no reason to fail.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

//! The command line: what a person can ask of the binary when no agent started it.

mod check;
mod demo;
mod devices;
mod explain;
mod guest;
mod install;
mod recorded;
mod simulate;
mod term;
mod under;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::say;

/// Nomad plugins whose decisions are sandboxed WebAssembly guests.
///
/// A Nomad agent starts this binary from its plugin_dir and needs none of these commands.
#[derive(Debug, Parser)]
#[command(name = "yurt", version, propagate_version = true, arg_required_else_help = true, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Play a Nomad agent against this very binary: offer, reserve, measure, unplug, replug
    Demo(demo::Arguments),
    /// Judge a job before it runs: its tasks' config blocks, by the drivers that will run them
    ///
    /// Ends with 0 where all is well or no task has a driver of Yurt's, 1 where something is wrong with the job, 2 where it could not be
    /// judged: the arguments, a file that cannot be read, or the plugins' configuration are wrong.
    Check(check::Arguments),
    /// Show the USB devices of this machine as a policy sees them
    Devices(devices::Arguments),
    /// Say of one device what is known, what becomes of it, and how a job asks for it
    Explain(explain::Arguments),
    /// Link this binary into an agent's plugin directory and print the stanza for its configuration
    Install(install::Arguments),
    /// Look at guests: WebAssembly components that decide
    #[command(subcommand)]
    Guest(guest::Verb),
    /// Write a simulated bus: plug and unplug devices that do not exist
    #[command(subcommand, hide = true)]
    Simulate(simulate::Verb),
}

/// Runs the verb that the arguments name.
pub(crate) fn run() -> ExitCode {
    let outcome = match CommandLine::parse().verb {
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Devices(arguments) => devices::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Install(arguments) => install::run(&arguments),
        Verb::Guest(verb) => guest::run(&verb),
        Verb::Simulate(verb) => simulate::run(&verb),
    };
    match outcome {
        Ok(code) => code,
        Err(why) if is_broken_pipe(&why) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("yurt: {why:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads our output may stop reading (`yurt devices | head -3`): no failure.
fn is_broken_pipe(why: &anyhow::Error) -> bool {
    why.downcast_ref::<std::io::Error>().is_some_and(|why| why.kind() == std::io::ErrorKind::BrokenPipe)
}

//! A task that is a WebAssembly component, in the process that is the task: this very program, started by a keeper with [`orders::WORD`].
//!
//! By then the process is in its control group, has the task's user and may make few system calls. What it needs came open with it: the
//! machine code, and the directories that the component gets ([`orders::Orders`]). So it looks nothing up by a path, and nothing in here
//! decides what a task may: that was done before. It shuts the doors that only it needed itself ([`wall`]), and then it runs the component
//! ([`run`]), whose sandbox is the first wall, not the last.

mod limits;
mod network;
mod orders;
mod run;
mod stop;
mod streams;
mod sys;
mod wall;

use std::process::ExitCode;

pub use network::{Network, NetworkError, Peers, Port};
pub use orders::{Directory, Orders, WORD, program};

/// Exit code of a component that could not be run at all: its standard error says why.
pub const NOT_RUN: u8 = 125;
/// Exit code of a component that trapped, as of a program that aborts.
pub const TRAPPED: u8 = 134;
/// Exit code of a component that trapped after it was refused memory.
pub const NO_MEMORY: u8 = 135;

/// Runs a component, if this process was started for that: the exit status to end with. None: it was started for something else.
pub fn take_over() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != WORD {
        return None;
    }
    let arguments = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let code = match orders::received(arguments).and_then(run::run) {
        Ok(code) => code,
        Err(why) => {
            streams::say(&why);
            NOT_RUN
        }
    };
    Some(ExitCode::from(code))
}

//! The same command line for all drivers. Yurt's takes any program that has `-c` for its interpreter, so that the cost of starting
//! Python does not hide the drivers'.

use yurt_conformance::driver::{Flavour, Program, quoted};

/// `<interpreter> -c <text>`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    interpreter: &'a str,
    text: &'a str,
}

impl<'a> Words<'a> {
    pub(crate) const fn shell(text: &'a str) -> Words<'a> {
        Words { interpreter: "/bin/sh", text }
    }

    pub(crate) const fn python(text: &'a str) -> Words<'a> {
        Words { interpreter: "/usr/bin/python3", text }
    }

    /// In the driver's own words.
    pub(crate) fn program(self, flavour: Flavour) -> Program {
        let (interpreter, text) = (quoted(self.interpreter), quoted(self.text));
        Program::config(match flavour {
            Flavour::Python => format!("interpreter = {interpreter}\ncode = {text}\n"),
            Flavour::YurtExec | Flavour::YurtRawExec | Flavour::YurtWasi | Flavour::RawExec | Flavour::Exec => {
                format!("command = {interpreter}\nargs = [\"-c\", {text}]\n")
            }
        })
    }
}

//! `yurt guest metrics`: what the guests of running plugins took, as text for Prometheus and whatever reads the same.

use std::process::ExitCode;

use super::running::{self, Arguments};
use crate::cli::term::Out;
use crate::exchange::{Answer, Request, ask};
use crate::metrics::guests;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut plugins = Vec::new();
    for socket in running::sockets(arguments)? {
        let name = socket.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Answer::Status(status) = ask(&socket, Request::Status)? {
            plugins.push((name, *status));
        }
    }
    let mut out = Out::new();
    out.line(guests::text(&plugins).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

//! The two signals that mean something to a plugin.
//!
//! Caught, not ignored: what a process ignores, its children ignore, too, and theirs is not ours to decide. SIGPIPE needs no
//! word here, Rust's runtime ignores it and gives it back to children.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) struct Signals {
    // Never asked: being caught is all.
    _interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    /// Catches SIGINT, which a terminal sends to the application and its plugins alike, and SIGTERM.
    pub(super) fn catch() -> Signals {
        Signals {
            _interrupt: caught("SIGINT", signal(SignalKind::interrupt())),
            terminate: caught("SIGTERM", signal(SignalKind::terminate())),
        }
    }

    /// Resolves at a SIGTERM.
    pub(super) async fn terminated(&mut self) {
        let received = match &mut self.terminate {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if received.is_none() {
            std::future::pending().await
        }
    }
}

fn caught(name: &str, signal: io::Result<Signal>) -> Option<Signal> {
    signal.inspect_err(|why| tracing::warn!(error = %why, "cannot catch {name}; it will end this plugin at once")).ok()
}

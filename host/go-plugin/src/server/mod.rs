//! A plugin's side: asked how it was started, it listens, says where in one line, serves, and ends in order.
//!
//! [`invocation`] comes first in `main`: it tells an application from a person. [`serve`] runs until the application calls
//! `Shutdown` or somebody sends SIGTERM.

mod connections;
mod environment;
mod services;
mod signals;
mod socket;
mod stdout;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tonic::service::Routes;

use crate::handshake::{Address, Handshake, Line};
use crate::tls::{Identity, TlsError};
use connections::Connections;
pub use environment::{Environment, EnvironmentError, Invocation, invocation, invocation_from};
use signals::Signals;
use socket::Socket;
pub use socket::SocketError;

/// How long connections may stay open after `Shutdown` was answered. Go's parents close theirs when they have the answer, so
/// this bounds the others.
const PARTING: Duration = Duration::from_millis(2);

/// What a plugin may wish for.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Notified by the plugin to end as after `Shutdown`: some applications have a call of their own for that.
    pub end: Arc<Notify>,
}

/// Why a plugin did not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The application is older or newer than the plugin.
    #[error(
        "this plugin speaks protocol version {ours}, the application that started it accepts {accepted:?} only: one of the two must be replaced"
    )]
    Version {
        /// This plugin's.
        ours: u32,
        /// What was listed in `PLUGIN_PROTOCOL_VERSIONS`.
        accepted: Vec<u32>,
    },
    /// There is no socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// AutoMTLS was asked for and is not to be had.
    #[error("AutoMTLS: {0}")]
    Tls(#[from] TlsError),
    /// Nobody was there to read the handshake line.
    #[error("cannot write the handshake line to stdout: {0}; the application that started this plugin is gone")]
    Handshake(io::Error),
}

/// Serves `routes` beside go-plugin's own services until the application calls `Shutdown`, a SIGTERM comes, or
/// [`ServeOptions::end`] is notified.
///
/// Returns a few milliseconds later, its socket removed and every stream cut: the process should end right after, since an
/// application waits two seconds at most. SIGINT is ignored from here on, because at a terminal it reaches the whole process
/// group. stdout belongs to the handshake: afterwards what is printed there is lost.
///
/// Needs a runtime with I/O and time; one thread is enough.
///
/// # Errors
///
/// Before the handshake line only.
pub async fn serve(
    handshake: &Handshake,
    environment: Environment,
    routes: Routes,
    options: ServeOptions,
) -> Result<(), ServeError> {
    let ours = handshake.protocol_version;
    let accepted = environment.accepted_versions;
    // Parents of the first days list none.
    if !accepted.is_empty() && !accepted.contains(&ours) {
        return Err(ServeError::Version { ours, accepted });
    }
    let identity = environment.client_certificates.as_ref().map(|_| Identity::generate()).transpose()?;
    let tls = match (&identity, &environment.client_certificates) {
        (Some(identity), Some(clients)) => Some(identity.acceptor(clients)?),
        _ => None,
    };
    let mut signals = Signals::catch();
    let end = options.end;
    let routes = services::beside(routes, Arc::clone(&end)).await;
    let Socket { listener, files } = Socket::listen(&environment.socket_dir, environment.socket_group.as_deref())?;
    stdout::announce(&Line {
        protocol_version: ours,
        address: Address::Unix(files.socket.clone()),
        certificate: identity.map(|identity| identity.der().to_vec()),
    })
    .map_err(ServeError::Handshake)?;

    let mut connections = Connections::new(routes, tls);
    let asked = tokio::select! {
        () = connections.accept(&listener) => true,
        () = end.notified() => true,
        () = signals.terminated() => false,
    };
    drop(listener);
    if asked {
        // The answer is on its way; the streams would never end by themselves.
        let _ = tokio::time::timeout(PARTING, connections.closed()).await;
    }
    Ok(())
}

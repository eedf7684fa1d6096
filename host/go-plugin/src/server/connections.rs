//! The application's connections: HTTP/2 over the socket, under TLS if it wished so. They are cut when this is dropped.

use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

/// Time for descriptors to become free again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A parent's TLS takes a few milliseconds; who takes longer is none.
const TLS_MAX: Duration = Duration::from_secs(10);

pub(super) struct Connections {
    routes: Routes,
    tls: Option<TlsAcceptor>,
    open: JoinSet<()>,
}

impl Connections {
    pub(super) fn new(routes: Routes, tls: Option<TlsAcceptor>) -> Connections {
        Connections { routes: routes.prepare(), tls, open: JoinSet::new() }
    }

    /// Accepts for ever. A failed connection is that connection's matter: a parent also connects and closes at once, to see
    /// whether somebody is there.
    pub(super) async fn accept(&mut self, listener: &UnixListener) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.serve(stream),
                    Err(why) => {
                        tracing::warn!(error = %why, "cannot accept a connection, trying again");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
                Some(_) = self.open.join_next() => {}
            }
        }
    }

    /// Resolves when the other side has closed all of them.
    pub(super) async fn closed(&mut self) {
        while self.open.join_next().await.is_some() {}
    }

    fn serve(&mut self, stream: UnixStream) {
        let routes = self.routes.clone();
        match self.tls.clone() {
            None => self.open.spawn(speak(stream, routes)),
            Some(tls) => self.open.spawn(async move {
                match tokio::time::timeout(TLS_MAX, tls.accept(stream)).await {
                    Ok(Ok(stream)) => speak(stream, routes).await,
                    Ok(Err(why)) => tracing::warn!(error = %why, "a connection was refused: no mutual TLS"),
                    Err(_) => tracing::warn!("a connection was closed: it did not begin TLS"),
                }
            }),
        };
    }
}

/// No keepalive pings, no deadlines, no bound on calls at a time: a call may wait as long as a task runs.
async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, routes: Routes) {
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(None)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(why) = connection.await {
        tracing::debug!(error = %why, "a connection ended");
    }
}

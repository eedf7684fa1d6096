//! The connection to a plugin: one, HTTP/2 over its socket, made when first needed.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::handshake::Address;
use crate::proto::ConnInfo;
use crate::proto::grpc_broker_client::GrpcBrokerClient;
use crate::proto::grpc_stdio_client::GrpcStdioClient;
use crate::tls;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// TLS is within the connection, so that gRPC sees a plain one either way.
pub(super) fn lazily(address: Address, tls: Option<TlsConnector>) -> Channel {
    let dial = tower::service_fn(move |_: Uri| {
        let (address, tls) = (address.clone(), tls.clone());
        async move { connect(address, tls).await.map(TokioIo::new) }
    });
    // The authority that Go's library sends.
    Endpoint::from_static("http://unused").connect_with_connector_lazy(dial)
}

async fn connect(address: Address, tls: Option<TlsConnector>) -> io::Result<Box<dyn Stream>> {
    let stream: Box<dyn Stream> = match address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
    };
    Ok(match tls {
        Some(tls) => Box::new(tls.connect(tls::server_name(), stream).await?),
        None => stream,
    })
}

/// The two calls that a Go parent opens right after connecting, and keeps. What comes is thrown away, and a plugin that knows
/// neither is fine. Both end when this is dropped, and with them nothing keeps the connection.
#[derive(Debug)]
pub(super) struct StandingStreams {
    /// The parent's half of the broker's stream: open, and never used.
    _broker: mpsc::Sender<ConnInfo>,
    readers: [AbortHandle; 2],
}

impl StandingStreams {
    pub(super) fn open(channel: &Channel) -> StandingStreams {
        let (sender, ours) = mpsc::channel(1);
        let mut broker = GrpcBrokerClient::new(channel.clone());
        let broker = tokio::spawn(async move {
            if let Ok(answer) = broker.start_stream(ReceiverStream::new(ours)).await {
                drain(answer.into_inner()).await;
            }
        });
        let mut stdio = GrpcStdioClient::new(channel.clone());
        let stdio = tokio::spawn(async move {
            if let Ok(answer) = stdio.stream_stdio(()).await {
                drain(answer.into_inner()).await;
            }
        });
        StandingStreams { _broker: sender, readers: [broker.abort_handle(), stdio.abort_handle()] }
    }
}

impl Drop for StandingStreams {
    fn drop(&mut self) {
        self.readers.iter().for_each(AbortHandle::abort);
    }
}

async fn drain<T>(mut messages: Streaming<T>) {
    while let Ok(Some(_)) = messages.message().await {}
}

//! The connection to a plugin: one, HTTP/2 over its socket, made when first needed.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::handshake::Address;
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

/// Opens the broker's and the standard streams' calls, as a Go parent does right after connecting. What comes is thrown away, and
/// a plugin that knows neither is fine.
pub(super) fn standing_streams(channel: &Channel) -> [AbortHandle; 2] {
    let mut broker = GrpcBrokerClient::new(channel.clone());
    let broker = tokio::spawn(async move {
        if let Ok(answer) = broker.start_stream(tokio_stream::pending()).await {
            let mut messages = answer.into_inner();
            while let Ok(Some(_)) = messages.message().await {}
        }
    });
    let mut stdio = GrpcStdioClient::new(channel.clone());
    let stdio = tokio::spawn(async move {
        if let Ok(answer) = stdio.stream_stdio(()).await {
            let mut messages = answer.into_inner();
            while let Ok(Some(_)) = messages.message().await {}
        }
    });
    [broker.abort_handle(), stdio.abort_handle()]
}

//! AutoMTLS: certificates per launch, each side accepting exactly the other's.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use yurt_go_plugin::client::LaunchError;
use yurt_go_plugin::proto::grpc_stdio_client::GrpcStdioClient;

use crate::common::{AGES, launch, socket};

#[tokio::test]
async fn both_sides_speak_under_certificates_made_for_the_launch() {
    let mut launch = launch("");
    launch.auto_mtls = true;
    let (one, two) = (launch.start().await.unwrap(), launch.start().await.unwrap());
    one.ping().await.unwrap();
    two.ping().await.unwrap();
    assert!(one.line().certificate.is_some());
    assert_ne!(one.line().certificate, two.line().certificate);
    for plugin in [one, two] {
        let socket = socket(plugin.address());
        let ended = plugin.kill().await;
        assert!(ended.graceful && ended.status.success(), "{ended:?}");
        assert!(!socket.exists());
    }
}

/// A connection without TLS.
fn plain(path: std::path::PathBuf) -> Channel {
    let dial = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://unused").connect_with_connector_lazy(dial)
}

#[tokio::test]
async fn who_has_no_certificate_is_refused_and_disturbs_nobody() {
    let mut launch = launch("");
    launch.auto_mtls = true;
    let plugin = launch.start().await.unwrap();
    let mut stranger = GrpcStdioClient::new(plain(socket(plugin.address())));
    let answer = tokio::time::timeout(AGES, stranger.stream_stdio(())).await.unwrap();
    assert!(answer.is_err());
    // One that connects and does nothing, either.
    let _silent = std::os::unix::net::UnixStream::connect(socket(plugin.address())).unwrap();
    plugin.ping().await.unwrap();
    plugin.log().find(|line| line.message.starts_with("a connection was refused: no mutual TLS")).await.unwrap();
    assert!(plugin.kill().await.graceful);
}

#[tokio::test]
async fn without_tls_a_plugin_that_does_not_know_it_is_not_trusted() {
    let mut launch = launch("ignore-certificate");
    launch.auto_mtls = true;
    let why = tokio::time::timeout(AGES, launch.start()).await.unwrap().unwrap_err();
    assert!(matches!(why, LaunchError::Certificate { asked: true, .. }), "{why}");
}

#[tokio::test]
async fn a_certificate_that_is_none_gets_one_sentence() {
    let mut launch = launch("");
    launch.env.push(("PLUGIN_CLIENT_CERT".into(), "yes".into()));
    launch.start_timeout = Duration::from_secs(30);
    let why = launch.start().await.unwrap_err().to_string();
    assert!(why.contains("it said: PLUGIN_CLIENT_CERT asks for AutoMTLS, but holds no certificate"), "{why}");
}

//! go-plugin's own services, and the two that every plugin answers.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use yurt_conformance::place::Place;
use yurt_conformance::process::Process;
use yurt_go_plugin::proto::grpc_broker_client::GrpcBrokerClient;
use yurt_go_plugin::proto::grpc_controller_client::GrpcControllerClient;
use yurt_go_plugin::proto::grpc_stdio_client::GrpcStdioClient;
use yurt_go_plugin::proto::{ConnInfo, Empty};
use yurt_nomad::client::{Base, PluginKind};
use yurt_nomad::proto::driver::CapabilitiesRequest;

/// Long enough for a stream that ends or speaks at once to do so.
const A_WHILE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn health_knows_the_plugin_and_nobody_else() {
    let place = Place::new();
    let process = Process::start(&mut place.command());
    let mut health = HealthClient::new(process.channel().await);
    let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let status = health.check(check("plugin")).await.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::Serving);
    assert_eq!(health.check(check("nomad")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn the_standard_streams_are_open_and_silent() {
    let place = Place::new();
    let process = Process::start(&mut place.command());
    let mut stdio = GrpcStdioClient::new(process.channel().await);
    let mut stream = stdio.stream_stdio(()).await.unwrap().into_inner();
    let spoke = tokio::time::timeout(A_WHILE, stream.message()).await;
    assert!(spoke.is_err(), "{spoke:?}");
}

#[tokio::test]
async fn the_broker_is_open_and_silent_whatever_it_is_told() {
    let place = Place::new();
    let process = Process::start(&mut place.command());
    let mut broker = GrpcBrokerClient::new(process.channel().await);
    let told = ConnInfo { service_id: 1, network: "unix".into(), address: "/nowhere".into(), knock: None };
    let outgoing = tokio_stream::iter([told]).chain(tokio_stream::pending());
    let mut stream = broker.start_stream(outgoing).await.unwrap().into_inner();
    let spoke = tokio::time::timeout(A_WHILE, stream.message()).await;
    assert!(spoke.is_err(), "{spoke:?}");
    Base::new(process.channel().await).plugin_info().await.unwrap();
}

#[tokio::test]
async fn shutdown_is_answered() {
    let place = Place::new();
    let process = Process::start(&mut place.command());
    let answer = GrpcControllerClient::new(process.channel().await).shutdown(Empty {}).await;
    answer.unwrap();
    assert!(process.wait().status.success());
}

#[tokio::test]
async fn what_a_device_plugin_does_not_serve_is_unimplemented() {
    let place = Place::new();
    let process = Process::start(&mut place.command());
    let mut driver = yurt_nomad::proto::driver::driver_client::DriverClient::new(process.channel().await);
    let answer = driver.capabilities(CapabilitiesRequest {}).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn plugin_info_has_all_four_fields_and_never_changes() {
    let place = Place::new();
    let process = Process::start(&mut place.command());
    let mut base = Base::new(process.channel().await);
    let info = base.plugin_info().await.unwrap();
    assert_eq!(info.kind, Ok(PluginKind::Device));
    assert_eq!(info.api_versions, ["v0.1.0"]);
    assert_eq!(info.name, "usb");
    // Three numbers, as hashicorp/go-version wants them at least one of.
    let numbers: Vec<_> = info.version.split('.').map(str::parse::<u32>).collect();
    assert!(numbers.len() == 3 && numbers.iter().all(Result::is_ok), "{:?}", info.version);
    assert_eq!(base.plugin_info().await.unwrap(), info);
}

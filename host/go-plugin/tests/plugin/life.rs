//! A plugin that serves: signals, connections, its parent's death, its own.

use std::io::{BufRead as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::{Endpoint, Uri};
use yurt_go_plugin::client::{Form, LogLine};
use yurt_go_plugin::proto::grpc_broker_client::GrpcBrokerClient;
use yurt_go_plugin::proto::grpc_controller_client::GrpcControllerClient;
use yurt_go_plugin::proto::grpc_stdio_client::GrpcStdioClient;
use yurt_go_plugin::proto::{ConnInfo, Empty};

use crate::common::{AGES, Raw, descriptors, eventually, is_alive, launch, launch_in, signal, signals, socket};

const SIGINT: u64 = 1 << 1;
const SIGPIPE: u64 = 1 << 12;

#[tokio::test]
async fn an_interrupt_at_the_terminal_does_not_end_a_plugin() {
    let plugin = launch("").start().await.unwrap();
    for _ in 0..3 {
        signal(plugin.pid(), Signal::INT);
        plugin.ping().await.unwrap();
    }
    assert!(plugin.kill().await.graceful);
}

#[tokio::test]
async fn sigterm_ends_a_plugin_in_order() {
    let plugin = launch("").start().await.unwrap();
    plugin.ping().await.unwrap();
    let socket = socket(plugin.address());
    signal(plugin.pid(), Signal::TERM);
    let status = tokio::time::timeout(AGES, plugin.died()).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(!socket.parent().unwrap().exists());
}

#[tokio::test]
async fn a_plugin_can_end_itself() {
    let plugin = launch("end-itself").start().await.unwrap();
    let status = tokio::time::timeout(AGES, plugin.died()).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(!socket(plugin.address()).exists());
}

#[tokio::test]
async fn shutdown_is_answered_and_cuts_what_is_under_way() {
    let plugin = launch("").start().await.unwrap();
    let mut stdio = GrpcStdioClient::new(plugin.channel()).stream_stdio(()).await.unwrap().into_inner();
    let mut broker =
        GrpcBrokerClient::new(plugin.channel()).start_stream(tokio_stream::pending()).await.unwrap().into_inner();
    // This parent keeps its connection, so the plugin must end without waiting for it.
    GrpcControllerClient::new(plugin.channel()).shutdown(Empty {}).await.unwrap();
    let status = tokio::time::timeout(AGES, plugin.died()).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(stdio.message().await.is_err());
    assert!(broker.message().await.is_err());
}

#[tokio::test]
async fn the_end_after_shutdown_takes_a_moment() {
    let mut took = Vec::new();
    for _ in 0..5 {
        let plugin = launch("").start().await.unwrap();
        plugin.ping().await.unwrap();
        let ended = plugin.kill().await;
        assert!(ended.graceful && ended.status.success(), "{ended:?}");
        took.push(ended.took);
    }
    // A few milliseconds; the best of five also on a busy machine.
    assert!(took.iter().min().unwrap() < &Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn a_parent_that_only_looks_whether_somebody_is_there_disturbs_nothing() {
    let plugin = launch("").start().await.unwrap();
    let path = socket(plugin.address());
    for _ in 0..200 {
        drop(UnixStream::connect(&path).unwrap());
    }
    plugin.ping().await.unwrap();
    assert!(plugin.kill().await.graceful);
}

#[tokio::test]
async fn who_does_not_speak_http_2_disturbs_nobody_else() {
    let plugin = launch("").start().await.unwrap();
    let mut stranger = UnixStream::connect(socket(plugin.address())).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut silent = UnixStream::connect(socket(plugin.address())).unwrap();
    plugin.ping().await.unwrap();
    silent.write_all(b"?").unwrap();
    assert!(plugin.kill().await.graceful);
}

#[tokio::test]
async fn several_connections_are_served_side_by_side() {
    let plugin = launch("").start().await.unwrap();
    let path = socket(plugin.address());
    for _ in 0..5 {
        let path = path.clone();
        let dial = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://unused").connect_with_connector(dial).await.unwrap();
        GrpcStdioClient::new(channel).stream_stdio(()).await.unwrap();
    }
    plugin.ping().await.unwrap();
    plugin.kill().await;
}

#[tokio::test]
async fn the_standing_streams_are_open_and_silent() {
    let plugin = launch("beat").start().await.unwrap();
    let mut stdio = GrpcStdioClient::new(plugin.channel()).stream_stdio(()).await.unwrap().into_inner();
    let announced =
        tokio_stream::once(ConnInfo { service_id: 1, ..ConnInfo::default() }).chain(tokio_stream::pending());
    let mut broker = GrpcBrokerClient::new(plugin.channel()).start_stream(announced).await.unwrap().into_inner();
    tokio::select! {
        message = stdio.message() => panic!("{message:?}"),
        message = broker.message() => panic!("{message:?}"),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
    plugin.ping().await.unwrap();
    plugin.kill().await;
}

#[tokio::test]
async fn services_that_are_not_there_are_unimplemented() {
    let plugin = launch("").start().await.unwrap();
    let mut client = tonic::client::Grpc::new(plugin.channel());
    client.ready().await.unwrap();
    let path = "/plugin.Nothing/Nothing".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<Empty, Empty>::default();
    let why = client.unary(tonic::Request::new(Empty {}), path, codec).await.unwrap_err();
    assert_eq!(why.code(), Code::Unimplemented);
    plugin.kill().await;
}

#[tokio::test]
async fn a_plugin_outlives_its_parent_and_logs_to_its_file_then() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("echo.log");
    let mut raw = Raw::start("beat", &[("ECHO_LOG", &file)]);
    let path = raw.socket();
    assert!(!file.exists());
    // What the kernel does when a parent is killed.
    drop((raw.stdout.take(), raw.stderr.take()));
    eventually("lines in the file", || std::fs::read_to_string(&file).is_ok_and(|log| log.lines().count() > 5)).await;
    assert!(is_alive(raw.child.id()));
    let log = std::fs::read_to_string(&file).unwrap();
    let line = LogLine::parse(log.lines().next().unwrap());
    assert_eq!((line.message.as_str(), line.form), ("beat", Form::Entry));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Its successor finds it alive and ends it.
    drop(UnixStream::connect(&path).unwrap());
    signal(raw.child.id(), Signal::TERM);
    assert!(raw.child.wait().unwrap().success());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_careless_child_holds_neither_pipe_to_the_parent_nor_an_ignored_signal() {
    let directory = tempfile::tempdir().unwrap();
    let mut raw = Raw::start("child", &[("TMPDIR", directory.path())]);
    let mut line = String::new();
    raw.stderr.as_mut().unwrap().read_line(&mut line).unwrap();
    let child = LogLine::parse(&line).fields["child"].as_u64().unwrap().try_into().unwrap();
    eventually("the child's own program", || {
        std::fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| !exe.ends_with("echo"))
    })
    .await;
    let target = |fd: RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    let pipes = [
        target(raw.stdout.as_ref().unwrap().get_ref().as_raw_fd()),
        target(raw.stderr.as_ref().unwrap().get_ref().as_raw_fd()),
    ];
    let (plugins, childs) = (descriptors(raw.child.id()), descriptors(child));
    for pipe in &pipes {
        // The plugin still holds both, which is how its parent sees that it lives.
        assert!(plugins.values().any(|target| target == pipe), "{pipe:?} in {plugins:?}");
        assert!(childs.values().all(|target| target != pipe), "{pipe:?} in {childs:?}");
    }
    assert_eq!(childs.get(&1).map(PathBuf::as_path), Some(Path::new("/dev/null")));
    assert_eq!(signals(raw.child.id(), "SigIgn") & SIGPIPE, SIGPIPE);
    assert_eq!(signals(raw.child.id(), "SigCgt") & SIGINT, SIGINT);
    assert_eq!(signals(child, "SigIgn") & (SIGINT | SIGPIPE), 0);
    signal(child, Signal::KILL);
}

#[tokio::test]
async fn a_killed_plugin_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = launch_in(directory.path(), "").start().await.unwrap();
    plugin.ping().await.unwrap();
    signal(plugin.pid(), Signal::KILL);
    let status = tokio::time::timeout(AGES, plugin.died()).await.unwrap();
    assert_eq!(status.signal(), Some(9));
    assert!(plugin.ping().await.is_err());
    // Ending what has ended is no error.
    assert_eq!(plugin.kill().await.status.signal(), Some(9));
}

#[tokio::test]
async fn a_plugin_that_does_not_end_after_shutdown_is_killed_after_two_seconds() {
    let plugin = launch("linger").start().await.unwrap();
    plugin.ping().await.unwrap();
    let ended = tokio::time::timeout(AGES, plugin.kill()).await.unwrap();
    assert!(!ended.graceful, "{ended:?}");
    assert_eq!(ended.status.signal(), Some(9));
    assert!(ended.took >= Duration::from_secs(2), "{ended:?}");
}

#[tokio::test]
async fn a_dead_plugin_whose_child_holds_its_stderr_is_not_noticed_until_the_child_ends() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = launch_in(directory.path(), "heir").start().await.unwrap();
    let line = plugin.log().find(|line| line.message == "a child").await.unwrap();
    let child = u32::try_from(line.fields["child"].as_u64().unwrap()).unwrap();
    signal(plugin.pid(), Signal::KILL);
    assert!(tokio::time::timeout(Duration::from_millis(500), plugin.died()).await.is_err());
    signal(child, Signal::KILL);
    tokio::time::timeout(AGES, plugin.died()).await.unwrap();
}

//! How a plugin is started, by whom, and what it says first.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use yurt_conformance::log;
use yurt_conformance::place::Place;
use yurt_conformance::process::Process;
use yurt_nomad::HANDSHAKE;
use yurt_nomad::client::{Agent, Base};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_line_has_six_fields_and_names_a_socket_for_this_user_only() {
    let place = Place::new();
    let process = Process::start(&mut place.command());
    let fields = process.fields();
    assert_eq!((&fields[..3], &fields[4..]), (&["1", "2", "unix"][..], &["grpc", ""][..]), "{}", process.line());
    let socket = process.socket();
    assert!(socket.is_absolute() && std::fs::metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn the_listener_is_there_before_the_line_is() {
    let place = Place::new();
    for _ in 0..5 {
        let process = Process::start(&mut place.command());
        UnixStream::connect(process.socket()).unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_nothing() {
    let place = Place::new();
    let process = Process::start(&mut place.command());
    let open = UnixStream::connect(process.socket()).unwrap();
    for _ in 0..10 {
        drop(UnixStream::connect(process.socket()).unwrap());
    }
    Base::new(process.channel().await).plugin_info().await.unwrap();
    drop(open);
    Base::new(process.channel().await).plugin_info().await.unwrap();
    log::all_valid(&process.log());
}

#[test]
fn a_cookie_of_another_value_gets_two_lines_and_exit_1() {
    let place = Place::new();
    for value in ["", "e4327c2e", "something else"] {
        let ended = Process::refused(place.bare_command().env(HANDSHAKE.cookie_key, value));
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0), "{value:?}");
        let lines = ended.log();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].contains("plugin for HashiCorp Nomad") && lines[1].contains(HANDSHAKE.cookie_key),
            "{lines:?}"
        );
    }
}

#[test]
fn a_person_gets_the_help() {
    let place = Place::new();
    let bare = Process::refused(&mut place.bare_command());
    let asked = Process::refused(place.bare_command().arg("--help"));
    assert!(asked.status.success());
    for (ended, text) in [(&bare, &bare.stderr), (&asked, &asked.stdout)] {
        let text = String::from_utf8_lossy(text);
        for word in ["Nomad", "demo", "devices", "install", "guest", "Usage"] {
            assert!(text.contains(word), "no {word:?} after {}:\n{text}", ended.status);
        }
    }
}

#[test]
fn the_socket_stands_where_the_parent_wants_it_and_its_group_may_enter() {
    let place = Place::new();
    let (wanted, other) = (place.root().join("sockets"), place.root().join("tmp"));
    std::fs::create_dir(&wanted).unwrap();
    std::fs::create_dir(&other).unwrap();
    let in_tmp = Process::start(place.command().env("TMPDIR", &other));
    assert!(in_tmp.socket().starts_with(&other), "{}", in_tmp.line());

    let group = rustix::process::getegid().as_raw();
    let mut command = place.command();
    command.env("TMPDIR", &other).env("PLUGIN_UNIX_SOCKET_DIR", &wanted);
    let process = Process::start(command.env("PLUGIN_UNIX_SOCKET_GROUP", group.to_string()));
    let socket = process.socket();
    assert!(socket.starts_with(&wanted), "{}", process.line());
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o660, 0o710));
    assert_eq!(std::fs::metadata(&socket).unwrap().gid(), group);
}

#[test]
fn a_tmpdir_that_is_too_long_for_a_socket_is_refused_in_one_sentence() {
    let place = Place::new();
    let long = place.root().join("d".repeat(100));
    std::fs::create_dir(&long).unwrap();
    for variable in ["TMPDIR", "PLUGIN_UNIX_SOCKET_DIR"] {
        let ended = Process::refused(place.command().env(variable, &long));
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0));
        let lines = ended.log();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!("set {variable} to a shorter directory")), "{lines:?}");
    }
}

#[test]
fn a_parent_that_speaks_another_protocol_version_is_told() {
    let place = Place::new();
    let ended = Process::refused(place.command().env("PLUGIN_PROTOCOL_VERSIONS", "1,3"));
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0));
    let lines = ended.log();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("version") && lines[0].contains('3') && lines[0].contains('2'), "{lines:?}");
}

#[tokio::test]
async fn auto_mtls_is_done_when_it_is_asked_for() {
    let place = Place::new();
    let agent = Agent { auto_mtls: true, ..place.agent() };
    let launched = agent.launch().await.unwrap();
    let mut base = launched.base.clone();
    assert_eq!(base.plugin_info().await.unwrap().name, "usb");
    assert!(launched.end().await.graceful);
}

#[tokio::test]
async fn under_auto_mtls_nobody_else_gets_in() {
    use yurt_go_plugin::handshake::Address;

    let place = Place::new();
    let launched = Agent { auto_mtls: true, ..place.agent() }.launch().await.unwrap();
    let Address::Unix(path) = launched.plugin.address() else { panic!("{:?}", launched.plugin.address()) };
    let endpoint = tonic::transport::Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
    // Without TLS, plain HTTP/2 does not even connect, or its first call fails.
    if let Ok(channel) = endpoint.connect().await {
        assert!(Base::new(channel).plugin_info().await.is_err());
    }
    let mut base = launched.base.clone();
    base.plugin_info().await.unwrap();
}

#[test]
fn a_client_certificate_that_is_none_is_refused_rather_than_ignored() {
    let place = Place::new();
    let ended = Process::refused(place.command().env("PLUGIN_CLIENT_CERT", "certainly"));
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0));
    assert!(ended.log().join("\n").contains("PLUGIN_CLIENT_CERT"), "{:?}", ended.log());
}

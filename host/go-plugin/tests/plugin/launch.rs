//! From the start of the process to its handshake line, well and badly.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use yurt_go_plugin::client::{Launch, LaunchError};
use yurt_go_plugin::handshake::LineError;

use crate::common::{AGES, HANDSHAKE, Raw, echo, is_alive, launch, launch_in, signal, socket};

/// The sentence of a launch that must fail.
async fn refused(launch: &Launch) -> LaunchError {
    match tokio::time::timeout(AGES, launch.start()).await.unwrap() {
        Ok(plugin) => panic!("it started: {plugin:?}"),
        Err(why) => why,
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_plugin_introduces_itself_answers_and_ends_when_asked() {
    let plugin = launch("").start().await.unwrap();
    assert_eq!(plugin.line().protocol_version, 7);
    assert_eq!(plugin.line().certificate, None);
    plugin.ping().await.unwrap();
    let socket = socket(plugin.address());
    assert!(socket.exists());
    let ended = plugin.kill().await;
    assert!(ended.graceful && ended.status.success(), "{ended:?}");
    assert!(!socket.exists() && !socket.parent().unwrap().exists());
}

#[tokio::test]
async fn the_socket_is_where_the_parent_wants_it_and_for_this_user_only() {
    let directory = tempfile::tempdir().unwrap();
    let mut launch = launch("");
    launch.env.push(("PLUGIN_UNIX_SOCKET_DIR".into(), directory.path().into()));
    launch.env.push(("TMPDIR".into(), "/nonexistent".into()));
    let plugin = launch.start().await.unwrap();
    let socket = socket(plugin.address());
    assert_eq!(socket.parent().unwrap().parent().unwrap(), directory.path());
    assert_eq!((mode(socket.parent().unwrap()), mode(&socket)), (0o700, 0o600));
    plugin.ping().await.unwrap();
    plugin.kill().await;
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_group_of_the_parents_may_connect() {
    let group = rustix::process::getgid().as_raw();
    let mut launch = launch("");
    launch.env.push(("PLUGIN_UNIX_SOCKET_GROUP".into(), group.to_string().into()));
    let plugin = launch.start().await.unwrap();
    let socket = socket(plugin.address());
    assert_eq!((mode(socket.parent().unwrap()), mode(&socket)), (0o710, 0o660));
    assert_eq!(std::fs::metadata(&socket).unwrap().gid(), group);
    plugin.ping().await.unwrap();
    plugin.kill().await;
}

#[tokio::test]
async fn stdout_carries_one_line_whatever_else_the_process_prints() {
    let mut raw = Raw::start("talk", &[]);
    signal(raw.child.id(), Signal::TERM);
    let mut rest = String::new();
    raw.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(raw.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_person_gets_a_sentence_and_no_plugin() {
    for cookie in [None, Some("another")] {
        let mut command = std::process::Command::new(echo());
        command.env_remove(HANDSHAKE.cookie_key).envs(cookie.map(|cookie| (HANDSHAKE.cookie_key, cookie)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout, b"");
        assert_eq!(output.stderr, b"This is a plugin: an application starts it.\n");
    }
}

#[tokio::test]
async fn the_wrong_cookie_is_told_with_what_the_plugin_said() {
    let mut launch = launch("");
    launch.handshake.cookie_value = "another";
    let why = refused(&launch).await;
    assert!(matches!(&why, LaunchError::Ended { status, .. } if status.code() == Some(1)), "{why}");
    assert!(why.to_string().ends_with("; it said: This is a plugin: an application starts it."), "{why}");
}

#[tokio::test]
async fn a_plugin_that_ends_at_once_is_quoted() {
    let why = refused(&launch("end-at-once")).await;
    assert!(matches!(&why, LaunchError::Ended { status, .. } if status.code() == Some(3)), "{why}");
    assert!(why.to_string().ends_with("; it said: starting / cannot read the settings"), "{why}");
}

#[tokio::test]
async fn a_plugin_that_prints_something_first_is_none() {
    let why = refused(&launch("print-first")).await;
    let LaunchError::Handshake { source: LineError::Unrecognized(line), .. } = &why else { panic!("{why}") };
    assert_eq!(line, "hello from a library");
}

#[tokio::test]
async fn a_plugin_that_hangs_is_given_up_and_killed() {
    let mut launch = launch("hang");
    launch.start_timeout = Duration::from_millis(500);
    let why = refused(&launch).await;
    assert!(matches!(why, LaunchError::Timeout { .. }), "{why}");
    assert!(why.to_string().ends_with("within 500ms; it said: waiting for a lock"), "{why}");
}

#[tokio::test]
async fn a_plugin_that_closes_its_stdout_and_lives_is_killed() {
    let why = refused(&launch("close-stdout")).await;
    assert!(matches!(why, LaunchError::Silent { .. }), "{why}");
    assert!(why.to_string().contains("closing stdout"), "{why}");
}

#[tokio::test]
async fn a_file_that_cannot_be_started_is_named() {
    let why = refused(&Launch::new("/nonexistent/plugin", HANDSHAKE)).await;
    assert!(why.to_string().starts_with("cannot start /nonexistent/plugin: "), "{why}");
}

#[tokio::test]
async fn an_application_that_speaks_another_version_gets_one_sentence() {
    let mut launch = launch("");
    launch.handshake.protocol_version = 8;
    let why = refused(&launch).await.to_string();
    assert!(
        why.contains("this plugin speaks protocol version 7, the application that started it accepts [8] only"),
        "{why}"
    );
}

#[tokio::test]
async fn a_directory_too_long_for_a_socket_gets_one_sentence() {
    let mut launch = launch("");
    launch.env.push(("TMPDIR".into(), format!("/{}", "d".repeat(100)).into()));
    let why = refused(&launch).await.to_string();
    assert!(why.contains("set TMPDIR to a shorter directory"), "{why}");
}

#[tokio::test]
async fn a_directory_that_is_missing_gets_one_sentence() {
    let mut launch = launch("");
    launch.env.push(("PLUGIN_UNIX_SOCKET_DIR".into(), "/nonexistent".into()));
    let why = refused(&launch).await.to_string();
    assert!(why.contains("cannot make a directory for the plugin's socket below /nonexistent"), "{why}");
}

#[tokio::test]
async fn a_plugin_nobody_wants_any_more_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = launch_in(directory.path(), "").start().await.unwrap();
    let (pid, mut log) = (plugin.pid(), plugin.log());
    drop(plugin);
    tokio::time::timeout(AGES, async { while log.next().await.is_some() {} }).await.unwrap();
    crate::common::eventually("its end", || !is_alive(pid)).await;
}

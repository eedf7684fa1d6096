//! A real plugin (`examples/echo.rs`), launched as an application does.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use common::launch;

#[tokio::test]
async fn a_plugin_introduces_itself_and_ends_when_asked() {
    let plugin = launch("").start().await.unwrap();
    plugin.ping().await.unwrap();
    let mut log = plugin.log();
    let line = log.find(|line| line.message == "serving").await.unwrap();
    println!("{line:?}");
    println!("{:?}", plugin.handshake_took());
    let ended = plugin.kill().await;
    println!("{ended:?}");
    assert!(ended.graceful && ended.status.success(), "{ended:?}");
}

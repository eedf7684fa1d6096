//! Where the plugin of these tests is, and how it is launched.

use std::path::PathBuf;

use yurt_go_plugin::Handshake;
use yurt_go_plugin::client::Launch;

pub(crate) const HANDSHAKE: Handshake =
    Handshake { cookie_key: "ECHO_PLUGIN_COOKIE", cookie_value: "a1b2c3", protocol_version: 7 };

/// `examples/echo.rs`, which cargo builds with the tests.
pub(crate) fn echo() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples/echo")
}

/// A launch of it that makes it do something.
pub(crate) fn launch(deed: &str) -> Launch {
    let mut launch = Launch::new(echo(), HANDSHAKE);
    launch.env.push(("ECHO_DO".into(), deed.into()));
    launch
}

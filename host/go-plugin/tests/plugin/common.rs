//! Where the plugin of these tests is, how it is launched, and what the system says of it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use yurt_go_plugin::Handshake;
use yurt_go_plugin::client::Launch;
use yurt_go_plugin::handshake::{Address, Line};

pub(crate) const HANDSHAKE: Handshake =
    Handshake { cookie_key: "ECHO_PLUGIN_COOKIE", cookie_value: "a1b2c3", protocol_version: 7 };

/// Long enough on any machine; a test that waits for so long has failed.
pub(crate) const AGES: Duration = Duration::from_secs(60);

/// `examples/echo.rs`, which cargo builds with the tests of this package.
pub(crate) fn echo() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let echo = tests.parent().unwrap().parent().unwrap().join("examples/echo");
    assert!(echo.exists(), "run `cargo build -p yurt-go-plugin --examples` first: {} is missing", echo.display());
    echo
}

/// A launch of it that makes it do something.
pub(crate) fn launch(deed: &str) -> Launch {
    let mut launch = Launch::new(echo(), HANDSHAKE);
    launch.env.push(("ECHO_DO".into(), deed.into()));
    launch
}

/// The same for one that will be killed and so leaves its socket behind.
pub(crate) fn launch_in(directory: &Path, deed: &str) -> Launch {
    let mut launch = launch(deed);
    launch.env.push(("TMPDIR".into(), directory.into()));
    launch
}

/// The plugin with a test for a parent that holds its pipes. Killed when dropped.
pub(crate) struct Raw {
    pub(crate) child: Child,
    pub(crate) line: Line,
    pub(crate) stdout: Option<BufReader<ChildStdout>>,
    pub(crate) stderr: Option<BufReader<ChildStderr>>,
}

impl Raw {
    pub(crate) fn start(deed: &str, environment: &[(&str, &Path)]) -> Raw {
        let mut command = Command::new(echo());
        command.env(HANDSHAKE.cookie_key, HANDSHAKE.cookie_value).env("ECHO_DO", deed);
        command.envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let stderr = child.stderr.take().map(BufReader::new);
        Raw { child, line: Line::parse(&line, &[7]).unwrap(), stdout: Some(stdout), stderr }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.line.address)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn socket(address: &Address) -> PathBuf {
    match address {
        Address::Unix(path) => path.clone(),
        Address::Tcp(address) => panic!("a unix socket was wanted, not {address}"),
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

pub(crate) fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// What each descriptor of a process is.
pub(crate) fn descriptors(pid: u32) -> BTreeMap<u32, PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let descriptor = |path: PathBuf| {
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        Some((number, std::fs::read_link(path).ok()?))
    };
    entries.filter_map(|entry| descriptor(entry.unwrap().path())).collect()
}

/// A set of signals as `/proc/<pid>/status` names it.
pub(crate) fn signals(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(":\t")).unwrap();
    u64::from_str_radix(set, 16).unwrap()
}

/// Waits until it holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let ends = tokio::time::Instant::now() + AGES;
    while !holds() {
        assert!(tokio::time::Instant::now() < ends, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

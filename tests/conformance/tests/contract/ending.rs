//! How a plugin ends, and of what it does not.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tonic::transport::{Channel, Endpoint};
use yurt_conformance::log;
use yurt_conformance::place::Place;
use yurt_conformance::process::{Process, killed};
use yurt_go_plugin::proto::grpc_broker_client::GrpcBrokerClient;
use yurt_go_plugin::proto::grpc_controller_client::GrpcControllerClient;
use yurt_go_plugin::proto::grpc_stdio_client::GrpcStdioClient;
use yurt_go_plugin::proto::{ConnInfo, Empty};
use yurt_nomad::client::{Base, Device};
use yurt_usb::sim::models;

use crate::agents::{EVERYTHING, evaluated, ids, refusal, until};

/// What an agent waits before it kills.
const GRACE: Duration = Duration::from_secs(2);

async fn shutdown(channel: Channel) {
    GrpcControllerClient::new(channel).shutdown(Empty {}).await.unwrap();
}

async fn configure(channel: &Channel, config: &str) {
    let mut base = Base::new(channel.clone());
    let schema = base.config_schema().await.unwrap().unwrap();
    base.set_config(&evaluated(config, &schema), None).await.unwrap();
}

#[tokio::test]
async fn it_ends_when_asked_with_every_stream_open_and_leaves_no_socket() {
    let place = Place::new();
    place.bus().plug("1-1", &models::cp2102()).unwrap();
    let process = Process::start(&mut place.command());
    let channel = process.channel().await;
    configure(&channel, EVERYTHING).await;
    let mut device = Device::new(channel.clone());
    let mut offers = device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    let mut figures = device.stats(Duration::from_millis(100)).await.unwrap();
    figures.next().await.unwrap();
    let _stdio = GrpcStdioClient::new(channel.clone()).stream_stdio(()).await.unwrap();
    let open = tokio_stream::pending::<ConnInfo>();
    let _broker = GrpcBrokerClient::new(channel.clone()).start_stream(open).await.unwrap();
    let _probe = UnixStream::connect(process.socket()).unwrap();

    let (socket, line) = (process.socket(), process.line().to_owned());
    shutdown(channel).await;
    let ended = process.wait();
    assert!(ended.status.success() && ended.took < GRACE, "{} after {:?}", ended.status, ended.took);
    assert!(!socket.exists() && !socket.parent().unwrap().exists(), "{}", socket.display());
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), format!("{line}\n"));
    log::all_valid(&lines(&ended.stderr));
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(bytes.to_vec()).expect("the log is UTF-8").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn it_ends_at_once_where_nothing_is_open() {
    let place = Place::new();
    for _ in 0..3 {
        let process = Process::start(&mut place.command());
        shutdown(process.channel().await).await;
        let ended = process.wait();
        assert!(ended.status.success() && ended.took < GRACE, "{} after {:?}", ended.status, ended.took);
    }
}

#[tokio::test]
async fn the_interrupt_from_the_agents_terminal_is_the_agents() {
    let place = Place::new();
    let mut process = Process::start(&mut place.command());
    for _ in 0..3 {
        process.signal(Signal::INT);
        Base::new(process.channel().await).plugin_info().await.unwrap();
    }
    process.signal(Signal::PIPE);
    Base::new(process.channel().await).plugin_info().await.unwrap();
    assert!(process.is_alive());
    // While that to terminate keeps its meaning.
    process.signal(Signal::TERM);
    let ended = process.wait();
    assert!(killed(ended.status) || ended.status.code().is_some(), "{}", ended.status);
    assert!(ended.took < GRACE, "{:?}", ended.took);
}

#[tokio::test]
async fn it_starts_no_process_and_no_process_could_inherit_its_pipes() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    let process = Process::start(&mut place.command());
    let channel = process.channel().await;
    configure(&channel, EVERYTHING).await;
    let mut device = Device::new(channel.clone());
    let mut offers = device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    device.reserve(vec!["sn-0001".into()]).await.unwrap();
    device.stats(Duration::from_millis(100)).await.unwrap().next().await.unwrap();
    bus.unplug("1-1").unwrap();
    until(&mut offers, |groups| groups.is_empty()).await;

    let pid = process.pid();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let children = task.unwrap().path().join("children");
        // Not every kernel has this file; those that have not are looked through below.
        assert_eq!(std::fs::read_to_string(children).unwrap_or_default(), "");
    }
    assert_eq!(children_of(pid), Vec::<u32>::new());
    // What was open in whoever started these tests is open in the plugin, too.
    let inherited = stay_open(std::process::id());
    for (number, target) in stay_open(pid) {
        let known = number <= 2 || inherited.contains(&(number, target.clone()));
        assert!(known, "{number} → {} stays open over exec", target.display());
    }
}

/// The open files of a process that a program it starts would inherit.
pub(crate) fn stay_open(pid: u32) -> Vec<(u32, PathBuf)> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
        let entry = entry.unwrap();
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        // Closed since.
        let Ok(info) = std::fs::read_to_string(entry.path()) else { continue };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let close_on_exec = u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 != 0;
        if !close_on_exec {
            open.push((number, std::fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default()));
        }
    }
    open
}

pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            (stat(pid)?.get(1)?.parse() == Ok(parent)).then_some(pid)
        })
        .collect()
}

/// State, parent and so on of `/proc/<pid>/stat`: what follows the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

/// Says to this test program that it is to be an agent: where the plugin is.
const AGENT: &str = "YURT_TEST_AGENT";

/// No test by itself: the agent that the next test starts and kills. It launches a plugin, says where it is, and waits.
#[test]
fn an_agent_that_will_be_killed() {
    let Some(program) = std::env::var_os(AGENT) else { return };
    let mut plugin = Command::new(program);
    let usb_root = std::env::var_os("YURT_TEST_USB_ROOT").unwrap();
    plugin.arg("--usb-root").arg(usb_root).env_remove(AGENT);
    plugin.env(yurt_nomad::HANDSHAKE.cookie_key, yurt_nomad::HANDSHAKE.cookie_value);
    let process = Process::start(&mut plugin);
    println!("\nPLUGIN {} {}", process.pid(), process.socket().display());
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// A plugin that is nobody's child; killed if a test fails.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        if is_running(self.0) {
            let pid = Pid::from_raw(i32::try_from(self.0).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// An agent in a process of its own, with a plugin below it.
fn agent_process(place: &Place) -> (std::process::Child, Orphan, PathBuf) {
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ending::an_agent_that_will_be_killed", "--nocapture"])
        .env(AGENT, place.program())
        .env("YURT_TEST_USB_ROOT", place.usb())
        .env("YURT_STATE_DIR", place.state())
        .env("TMPDIR", place.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().strip_prefix("PLUGIN ").map(str::to_owned)).expect("a plugin");
    let (pid, socket) = line.split_once(' ').unwrap();
    (agent, Orphan(pid.parse().unwrap()), socket.into())
}

async fn connect(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn an_agent_that_is_killed_leaves_a_plugin_that_lives_logs_and_ends_when_the_next_agent_says_so() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    let (mut agent, orphan, socket) = agent_process(&place);
    let channel = connect(&socket).await;
    configure(&channel, EVERYTHING).await;
    let mut device = Device::new(channel.clone());
    let mut offers = device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;

    agent.kill().unwrap();
    agent.wait().unwrap();

    // Each of these is a line in a log that nobody reads.
    for n in 0..50 {
        refusal(device.reserve(vec![format!("sn-of-an-orphan-{n}")]).await);
    }
    bus.plug("1-2", &models::yubikey()).unwrap();
    until(&mut offers, |groups| ids(groups).len() == 2).await;
    let kept = log_file(&place.state()).expect("a log file");
    let lines: Vec<String> = std::fs::read_to_string(&kept).unwrap().lines().map(str::to_owned).collect();
    log::all_valid(&lines);
    assert!(lines.iter().any(|line| line.contains("sn-of-an-orphan-49")), "{lines:?}");

    // The next agent probes it, starts copies of its own beside it, and then ends it.
    drop(UnixStream::connect(&socket).unwrap());
    let successor = Process::start(&mut place.command());
    Base::new(successor.channel().await).plugin_info().await.unwrap();
    let channel = connect(&socket).await;
    assert_eq!(Base::new(channel.clone()).plugin_info().await.unwrap().name, "usb");
    let asked = Instant::now();
    shutdown(channel).await;
    while is_running(orphan.0) {
        assert!(asked.elapsed() < GRACE, "the orphan does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Base::new(successor.channel().await).plugin_info().await.unwrap();
}

/// A process that nobody waits for is over, too.
fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat[0] != "Z" && stat[0] != "X")
}

fn log_file(state: &Path) -> Option<PathBuf> {
    let scopes = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    scopes.map(|scope| scope.join("usb.log")).find(|file| file.exists())
}

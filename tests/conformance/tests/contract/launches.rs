//! One binary, started again and again, under any name, beside copies of itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use yurt_conformance::log;
use yurt_conformance::place::Place;
use yurt_conformance::process::Process;
use yurt_nomad::client::{Agent, Base};
use yurt_usb::sim::models;

use crate::agents::{EVERYTHING, evaluated, ids, serving, until};

/// What the open files of a process lead to.
fn open_files(pid: u32) -> Vec<(u32, PathBuf)> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    // A file may have been closed since the directory was read.
    entries
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, std::fs::read_link(entry.path()).ok()?))
        })
        .collect()
}

/// The inodes of the netlink sockets of this network namespace.
fn netlink_sockets() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/net/netlink").unwrap();
    table.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().last().map(str::to_owned)).collect()
}

fn looks_at_hardware(pid: u32) -> Option<PathBuf> {
    let netlink = netlink_sockets();
    open_files(pid).into_iter().map(|(_, target)| target).find(|target| {
        let text = target.to_string_lossy();
        let socket = text.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        target.starts_with("/sys")
            || target.starts_with("/dev/bus")
            || socket.is_some_and(|inode| netlink.iter().any(|other| other == inode))
    })
}

#[tokio::test]
async fn a_copy_that_is_started_for_its_schema_touches_no_hardware() {
    let place = Place::new();
    place.bus();
    let events = place.usb().join("events.sock");
    // On the simulated bus the watcher binds a socket for events; on a real one it opens netlink sockets.
    for args in [place.args().map(Into::into).to_vec(), Vec::new()] {
        let real = args.is_empty();
        let mut launched = Agent { args, ..place.agent() }.launch().await.unwrap();
        let schema = launched.base.config_schema().await.unwrap().unwrap();
        launched.base.plugin_info().await.unwrap();
        let config = evaluated(EVERYTHING, &schema);
        launched.base.set_config(&config, None).await.unwrap();
        launched.base.set_config(&config, None).await.unwrap();
        assert!(!events.exists());
        assert_eq!(looks_at_hardware(launched.plugin.pid()), None);

        // The same look sees it as soon as there is something to see.
        let mut offers = launched.device.fingerprint().await.unwrap();
        offers.next().await.unwrap();
        let began = std::time::Instant::now();
        while if real { looks_at_hardware(launched.plugin.pid()).is_none() } else { !events.exists() } {
            assert!(began.elapsed().as_secs() < 20, "nothing to be seen even when it serves");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        launched.end().await;
    }
}

#[tokio::test]
async fn two_copies_serve_at_once_and_one_does_not_miss_the_other() {
    let place = Place::new();
    place.bus().plug("1-1", &models::cp2102()).unwrap();
    let mut first = serving(&place, EVERYTHING).await;
    let mut second = serving(&place, EVERYTHING).await;
    for launched in [&mut first, &mut second] {
        let mut offers = launched.device.fingerprint().await.unwrap();
        until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    }
    assert!(first.end().await.graceful);
    let mut offers = second.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    assert!(second.device.reserve(vec!["sn-0001".into()]).await.is_ok());
    assert!(second.end().await.graceful);
}

#[tokio::test]
async fn what_a_killed_copy_left_disturbs_nobody() {
    let place = Place::new();
    place.bus().plug("1-1", &models::cp2102()).unwrap();
    for _ in 0..3 {
        let mut launched = serving(&place, EVERYTHING).await;
        let mut offers = launched.device.fingerprint().await.unwrap();
        until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
        let pid = rustix::process::Pid::from_raw(i32::try_from(launched.plugin.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        launched.plugin.died().await;
    }
}

#[test]
fn the_guest_is_found_by_the_links_name_or_by_an_argument() {
    for name in ["usb", "example-device", "yurt-usb"] {
        let place = Place::named(name);
        drop(Process::start(&mut place.command()));
    }
    let place = Place::named("anything");
    drop(Process::start(place.command().args(["--guest", "usb"])));

    let ended = Process::refused(&mut place.command());
    let [line] = &log::all_valid(&ended.log())[..] else { panic!("{:?}", ended.log()) };
    assert!(!ended.status.success() && ended.stdout.is_empty());
    assert!(line.message.contains("\"anything\"") && line.message.contains("--guest"), "{}", line.message);
}

#[test]
fn arguments_that_are_none_of_ours_are_refused_in_one_sentence() {
    let place = Place::new();
    for args in [&["--gest", "usb"][..], &["serve"], &["--guest"], &["--guest", "nosuch"], &["--first-tier", "pulley"]]
    {
        let ended = Process::refused(place.command().args(args));
        let [line] = &log::all_valid(&ended.log())[..] else { panic!("{args:?}: {:?}", ended.log()) };
        assert!(!ended.status.success() && ended.stdout.is_empty(), "{args:?}");
        assert_eq!(line.level, "error");
        assert!(args.iter().any(|arg| line.message.contains(arg)), "{args:?}: {}", line.message);
    }
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_had_costs_a_warning_and_nothing_else() {
    let place = Place::new();
    place.bus().plug("1-1", &models::cp2102()).unwrap();
    let process = Process::start(place.command().env("YURT_STATE_DIR", "/proc/nowhere"));
    Base::new(process.channel().await).plugin_info().await.unwrap();
    process.says("state directory");
    let warnings = log::all_valid(&process.log());
    assert!(warnings.len() <= 2 && warnings.iter().all(|line| line.level == "warn"), "{warnings:?}");
    assert!(warnings.iter().any(|line| line.message.contains("state directory")), "{warnings:?}");
}

#[tokio::test]
async fn what_is_kept_is_for_this_user_only() {
    let place = Place::new();
    place.bus().plug("1-1", &models::cp2102()).unwrap();
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    launched.end().await;
    let mut files = 0;
    let mut directories: Vec<PathBuf> = children(&place.state());
    while let Some(path) = directories.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let wanted = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.permissions().mode() & 0o7777, wanted, "{}", path.display());
        if meta.is_dir() {
            directories.extend(children(&path));
        } else {
            files += 1;
        }
    }
    assert!(files > 0);
}

fn children(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

//! Guests that are not as they should be: before they serve, while they serve, and in what they want to hand out.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tonic::Code;
use yurt_conformance::log::{self, Line};
use yurt_conformance::place::Place;
use yurt_conformance::process::Process;
use yurt_nomad::client::{Base, Device};
use yurt_nomad::device::{Group, HEALTHY_COUNT, Health};
use yurt_usb::sim::models;

use crate::agents::{ids, instances, refusal, stays_open, until};
use crate::make::Guest;
use crate::offering::{
    Instance, Node, Offered, SORRY, Value, describes_itself, offered, offers, offers_once, reserves,
};

/// Not by a guest that serves, but by what the watcher needs to see.
const SOON: &str = "yurt { settle = \"20ms\" }";

/// A plugin called `acme`, and beside it the component of that name.
pub(crate) fn acme(component: &[u8]) -> Place {
    let place = Place::named("acme");
    put(&place, component);
    place
}

pub(crate) fn file(place: &Place) -> PathBuf {
    place.plugins().join("acme.wasm")
}

pub(crate) fn put(place: &Place, component: &[u8]) {
    let _ = fs::remove_file(file(place));
    fs::write(file(place), component).unwrap();
    set_mode(&file(place), 0o644);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A way to be unfit, and what must be said of it.
struct Unfit {
    what: &'static str,
    component: Vec<u8>,
    mode: u32,
    said: &'static str,
    /// It got as far as being read, so that there is a digest.
    read: bool,
}

fn unfit() -> Vec<Unfit> {
    let whole = Guest::quiet().component();
    let plain = |what, component, said| Unfit { what, component, mode: 0o644, said, read: true };
    let asks_for_more = Guest::new(
        "(import \"acme:net/http@1.2.0\" \"get\" (func $get))
         (func $check_config (param i32 i32) (result i32) (call $get) (i32.const 256))",
    )
    .beside("import acme:net/http@1.2.0;", "package acme:net@1.2.0 { interface http { get: func(); } }");
    vec![
        plain("empty", Vec::new(), "not a WebAssembly component"),
        plain("text", b"#!/bin/sh\n".to_vec(), "not a WebAssembly component"),
        plain("truncated", whole[..whole.len() / 2].to_vec(), "not a WebAssembly component"),
        plain("a core module", wat::parse_str("(module)").unwrap(), "core WebAssembly module"),
        plain(
            "of another world",
            wat::parse_str("(component (instance) (export \"acme:shop/till@1.0.0\" (instance 0)))").unwrap(),
            "it exports acme:shop/till@1.0.0",
        ),
        plain("of another version", Guest::quiet().of_version("0.2.0"), "usb-policy@0.2.0"),
        plain("asking for an import that nobody grants", asks_for_more.component(), "acme:net/http@1.2.0"),
        Unfit { what: "writable by others", component: whole.clone(), mode: 0o646, said: "chmod go-w it", read: false },
        Unfit { what: "writable by its group", component: whole, mode: 0o664, said: "chmod go-w it", read: false },
        plain("of a name that is none", Guest::hostile("rude-name").component(), "\"Bad Name!\""),
        plain("of no version", Guest::hostile("no-version").component(), "not a semantic version"),
        plain(
            "with a schema that is none",
            describes_itself(["acme", "1.0.0", "x", "attr without end {"]).component(),
            "schema",
        ),
        plain(
            "with a schema that could make an agent panic",
            describes_itself(["acme", "1.0.0", "x", "object {\n block_attrs \"x\" {\n type = any\n }\n}"]).component(),
            "any",
        ),
        plain(
            "with a schema that takes the host's own block",
            describes_itself(["acme", "1.0.0", "x", "object {\n attr \"yurt\" {\n type = string\n }\n}"]).component(),
            "\"yurt\"",
        ),
        plain("trapping at its start", Guest::hostile("trap-at-start").component(), "trapped"),
        plain("spinning at its start", Guest::hostile("spin-at-start").component(), "deadline"),
        plain("trapping in describe", Guest::hostile("trap-in-describe").component(), "trapped"),
        plain("trapping in its trial", Guest::hostile("trap").component(), "trapped"),
        plain("spinning in its trial", Guest::hostile("spin").component(), "deadline"),
        plain("answering too much", Guest::hostile("huge-text").component(), "limit transfer"),
        plain("answering nonsense", Guest::hostile("bad-variant").component(), "not of the contract's types"),
        plain("growing without end", Guest::hostile("grow").component(), "limit memory"),
    ]
}

/// One error, and it names the file, the digest once there is one, and the cause.
#[track_caller]
fn one_error(lines: &[String], place: &Place, unfit: &Unfit) -> Line {
    let lines = log::all_valid(lines);
    let mut errors = lines.into_iter().filter(|line| line.level == "error");
    let error = errors.next().unwrap_or_else(|| panic!("{}: no error", unfit.what));
    assert!(errors.next().is_none(), "{}: more than one error", unfit.what);
    let text = &error.message;
    assert!(text.contains(&file(place).display().to_string()), "{}: the file is not named: {text}", unfit.what);
    assert!(text.contains(unfit.said), "{}: no {:?} in: {text}", unfit.what, unfit.said);
    assert_eq!(text.contains("sha256 "), unfit.read, "{}: {text}", unfit.what);
    error
}

#[test]
fn an_unfit_guest_where_there_never_was_another_is_refused_in_one_sentence() {
    for unfit in unfit() {
        let place = acme(&unfit.component);
        set_mode(&file(&place), unfit.mode);
        let ended = Process::refused(&mut place.command());
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0), "{}: {:?}", unfit.what, ended.log());
        assert_eq!(ended.log().len(), 1, "{}: {:#?}", unfit.what, ended.log());
        one_error(&ended.log(), &place, &unfit);
    }
}

#[test]
fn a_guest_that_is_missing_is_refused_in_one_sentence() {
    let place = Place::named("acme");
    for argument in ["/nowhere/acme.wasm", "acme.wasm"] {
        let ended = Process::refused(place.command().args(["--guest", argument]));
        let [line] = &log::all_valid(&ended.log())[..] else { panic!("{:?}", ended.log()) };
        assert!(!ended.status.success() && ended.stdout.is_empty());
        assert!(line.message.contains(argument) && line.message.contains("cannot be read"), "{}", line.message);
    }
}

#[test]
fn a_guest_in_a_directory_that_others_may_write_to_is_refused() {
    let place = acme(&Guest::quiet().component());
    set_mode(&place.plugins(), 0o777);
    let ended = Process::refused(&mut place.command());
    let [line] = &log::all_valid(&ended.log())[..] else { panic!("{:?}", ended.log()) };
    assert!(!ended.status.success());
    assert!(line.message.contains(&format!("{} may be written by", place.plugins().display())), "{}", line.message);
}

#[tokio::test]
async fn the_last_good_guest_serves_instead_of_an_unfit_one_and_gives_way_to_the_next_good_one() {
    let good = describes_itself(["acme", "1.2.3", "The good one.", ""]);
    let place = acme(&good.component());
    let version = async |process: &Process| {
        let info = Base::new(process.channel().await).plugin_info().await.unwrap();
        assert_eq!(info.name, "acme");
        info.version
    };
    let process = Process::start(&mut place.command());
    assert_eq!(version(&process).await, "1.2.3");
    assert_eq!(log::all_valid(&process.log()).iter().filter(|line| line.level == "error").count(), 0);
    drop(process);

    for unfit in unfit() {
        put(&place, &unfit.component);
        set_mode(&file(&place), unfit.mode);
        let process = Process::start(&mut place.command());
        assert_eq!(version(&process).await, "1.2.3", "{}", unfit.what);
        process.says("the last good guest serves instead");
        one_error(&process.log(), &place, &unfit);
    }

    fs::remove_file(file(&place)).unwrap();
    let missing = Process::start(place.command().args(["--guest", "acme.wasm"]));
    assert_eq!(version(&missing).await, "1.2.3");

    put(&place, &describes_itself(["acme", "1.3.0", "The next one.", ""]).component());
    let process = Process::start(&mut place.command());
    assert_eq!(version(&process).await, "1.3.0");
    put(&place, b"");
    let process = Process::start(&mut place.command());
    assert_eq!(version(&process).await, "1.3.0");
}

#[test]
fn another_plugin_file_does_not_inherit_the_last_good_guest() {
    let place = acme(&Guest::quiet().component());
    drop(Process::start(&mut place.command()));
    std::os::unix::fs::symlink(place.program(), place.plugins().join("other")).unwrap();
    fs::write(place.plugins().join("other.wasm"), b"").unwrap();
    let mut command = std::process::Command::new(place.plugins().join("other"));
    command.env("YURT_STATE_DIR", place.state()).env("TMPDIR", place.root());
    command.env(yurt_nomad::HANDSHAKE.cookie_key, yurt_nomad::HANDSHAKE.cookie_value);
    let ended = Process::refused(&mut command);
    assert!(!ended.status.success(), "{:?}", ended.log());
}

/// Serves, with one device at 1-1.
async fn serving(place: &Place) -> (Process, Device) {
    let process = Process::start(&mut place.command());
    let channel = process.channel().await;
    let mut base = Base::new(channel.clone());
    let schema = base.config_schema().await.unwrap().unwrap();
    base.set_config(&crate::agents::evaluated(SOON, &schema), None).await.unwrap();
    (process, Device::new(channel))
}

#[tokio::test]
async fn a_guest_that_fails_later_leaves_the_last_good_offer_standing_and_says_so_in_its_health() {
    let good = [offered(["acme", "usb", "thing"], "thing-1", "1-1")];
    let nonsense = "(i32.store (i32.const 256) (i32.const 7)) (i32.const 256)";
    for (worst, said) in [
        ("(unreachable)", "trapped"),
        ("(loop $on (br $on)) (unreachable)", "deadline"),
        (nonsense, "not of the contract's types"),
        (SORRY, "the policy cannot decide: trial"),
    ] {
        let place = acme(&offers_once(&good, worst).component());
        let bus = place.bus();
        bus.plug("1-1", &models::cp2102()).unwrap();
        let (process, mut device) = serving(&place).await;
        let mut offers = device.fingerprint().await.unwrap();
        until(&mut offers, |groups| ids(groups) == ["thing-1"] && instances(groups)[0].health == Health::good()).await;

        bus.plug("1-2", &models::yubikey()).unwrap();
        let note = |groups: &[Group]| match &instances(groups)[0].health {
            Health::Healthy { note } => note.clone(),
            Health::Unhealthy { .. } => String::new(),
        };
        let groups = until(&mut offers, |groups| note(groups).contains(said)).await;
        assert_eq!(ids(&groups), ["thing-1"]);
        // What is there can be had all the same, as the offer says.
        device.reserve(vec!["thing-1".into()]).await.unwrap();
        stays_open(&mut offers).await;
        let errors = log::all_valid(&process.log()).into_iter().filter(|line| line.level == "error").count();
        assert_eq!(errors, 1, "{worst}: {:#?}", process.log());

        // It does not vouch for what went away.
        bus.unplug("1-1").unwrap();
        let groups = until(&mut offers, |groups| !instances(groups)[0].health.is_healthy()).await;
        assert_eq!(groups[0].attributes[HEALTHY_COUNT].value, yurt_nomad::attribute::Value::Integer(0));
        let (code, _) = refusal(device.reserve(vec!["thing-1".into()]).await);
        assert_eq!(code, Code::FailedPrecondition);
    }
}

#[tokio::test]
async fn a_group_that_would_make_the_agent_stop_the_plugin_is_left_out_and_named_and_the_rest_is_sent() {
    let named = |name| offered(name, "x-1", "1-2");
    let with = |attribute| Offered { attributes: vec![attribute], ..named(["acme", "usb", "attributes"]) };
    let instance = |instance| Offered { instances: vec![instance], ..named(["acme", "usb", "instances"]) };
    let good = || offered(["good", "usb", "thing"], "thing-1", "1-1");
    for (bad, said) in [
        (named(["", "usb", "name"]), "is empty"),
        (named(["acme", "usb", "a/b"]), "at which a request is split"),
        (named(["acme", "usb", "a\nb"]), "control character"),
        (named(["acme", "gpu", "name"]), "is not granted"),
        (with(("size", Value::Integer(1), Some("bit/s"))), "which Nomad does not know"),
        (with(("size", Value::Text("1"), Some("MiB"))), "only numbers may"),
        (with(("size", Value::Number(f64::NAN), None)), "no constraint can compare"),
        (with(("a b", Value::Integer(1), None)), "could not be named"),
        (instance(Instance { id: "0781", members: vec!["1-2"], share: None }), "reads as a number"),
        (instance(Instance { id: "a,b", members: vec!["1-2"], share: None }), "something else than letters"),
        (instance(Instance { id: "thing-1", members: vec!["1-2"], share: None }), "already"),
        (instance(Instance { id: "x", members: vec!["1-2", "1-2"], share: None }), "already"),
        (instance(Instance { id: "x", members: vec!["1-1"], share: None }), "already"),
        (instance(Instance { id: "x", members: vec!["1-9"], share: None }), "is in the facts"),
        (instance(Instance { id: "x", members: vec![], share: None }), "stands for no device"),
        (
            instance(Instance { id: "x", members: vec!["1-2"], share: Some("s") }),
            "takes yurt { grants { sharing = true } }",
        ),
    ] {
        let place = acme(&offers(&[good(), bad.clone()]).component());
        let bus = place.bus();
        bus.plug("1-1", &models::cp2102()).unwrap();
        bus.plug("1-2", &models::yubikey()).unwrap();
        let (process, mut device) = serving(&place).await;
        let mut offers = device.fingerprint().await.unwrap();
        let groups = until(&mut offers, |groups| !groups.is_empty()).await;
        assert_eq!(ids(&groups), ["thing-1"], "{bad:?}");
        assert_eq!(instances(&groups)[0].health, Health::good(), "{bad:?}");
        let line = log::read(&process.says(said)).unwrap();
        assert!(["warn", "error"].contains(&line.level.as_str()), "{line:?}");
        log::all_valid(&process.log());
    }
}

#[tokio::test]
async fn a_guest_can_be_wrong_but_it_cannot_widen_what_a_task_gets() {
    let own = Node { member: "1-1", node: 0, task_path: None };
    let good = [offered(["acme", "usb", "thing"], "thing-1", "1-1")];
    for (nodes, env, said) in [
        (&[Node { member: "1-2", ..own }][..], &[][..], "not a member"),
        (&[Node { member: "usb1", ..own }], &[], "not a member"),
        (&[Node { node: 2, ..own }], &[], "none of that number"),
        (&[Node { node: u32::MAX, ..own }], &[], "none of that number"),
        (&[Node { task_path: Some("/etc/shadow"), ..own }], &[], "below /dev"),
        (&[Node { task_path: Some("/dev/../etc/shadow"), ..own }], &[], "below /dev"),
        (&[Node { task_path: Some("/dev/a\nb"), ..own }], &[], "below /dev"),
        (&[own], &[("PATH", "/tmp")], "begin with YURT_"),
        (&[own], &[("LD_PRELOAD", "/tmp/x.so")], "begin with YURT_"),
        (&[own], &[("YURT_A=B", "x")], "only letters"),
        (&[own], &[("YURT_A", "x"), ("YURT_A", "y")], "twice"),
        (&[own], &[("YURT_A", "x\0y")], "no environment can hold"),
    ] {
        let place = acme(&reserves(&good, nodes, env).component());
        let bus = place.bus();
        bus.plug("1-1", &models::cp2102()).unwrap();
        bus.plug("1-2", &models::yubikey()).unwrap();
        let (_process, mut device) = serving(&place).await;
        let mut offers = device.fingerprint().await.unwrap();
        until(&mut offers, |groups| ids(groups) == ["thing-1"]).await;
        let (code, text) = refusal(device.reserve(vec!["thing-1".into()]).await);
        assert_eq!(code, Code::Internal, "{text}");
        assert!(text.contains(said), "{nodes:?} {env:?}: {text}");
    }
    // The guest is as a guest may be.
    let place = acme(&reserves(&good, &[own], &[("YURT_A", "x")]).component());
    place.bus().plug("1-1", &models::cp2102()).unwrap();
    let (_process, mut device) = serving(&place).await;
    let reservation = device.reserve(vec!["thing-1".into()]).await.unwrap();
    assert_eq!(reservation.devices[0].host_path, "/dev/bus/usb/001/002");
    assert_eq!(reservation.envs["YURT_A"], "x");
}

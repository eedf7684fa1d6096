//! Guests and rules that are exchanged while the plugin serves.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use yurt_conformance::log;
use yurt_conformance::place::Place;
use yurt_conformance::process::{PATIENCE, Process};
use yurt_nomad::client::{Base, Device, Offers};
use yurt_nomad::device::{Group, Health};
use yurt_usb::sim::{Bus, models};

use crate::agents::{evaluated, ids, instances, stays_open, until};
use crate::ending::{children_of, stay_open};
use crate::guests::{acme, file, put};
use crate::make::Guest;
use crate::offering::{Offered, SORRY, describes_itself, offered, reserves_after};

/// Two things in a group of this name; a reservation says it in `YURT_V`. Asked to reserve what stands in a group of another name, it
/// refuses.
pub(crate) fn version(name: &'static str) -> Guest {
    version_with(name, "", "")
}

pub(crate) fn version_with(name: &'static str, first_group: &str, first_reserve: &str) -> Guest {
    let first = name.as_bytes()[0];
    let own = format!(
        "{first_reserve} (if (i32.ne (i32.load8_u (local.get 11)) (i32.const {first})) (then (return (block (result i32) {SORRY}))))"
    );
    reserves_after((first_group, &own), &things(name), &[], &[("YURT_V", name)])
}

fn things(name: &'static str) -> [Offered; 1] {
    let mut both = offered(["acme", "usb", name], "thing-1", "1-1");
    both.instances.extend(offered(["acme", "usb", name], "thing-2", "1-2").instances);
    [both]
}

/// A plugin that serves.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) device: Device,
    pub(crate) offers: Offers,
    pub(crate) bus: Bus,
    pub(crate) place: Place,
}

/// With two devices, and this configuration.
pub(crate) async fn served(place: Place, config: &str) -> Served {
    served_with(place, config, &[]).await
}

/// The same with further arguments in the stanza.
async fn served_with(place: Place, config: &str, arguments: &[String]) -> Served {
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::yubikey()).unwrap();
    let process = Process::start(place.command().args(arguments));
    let channel = process.channel().await;
    let mut base = Base::new(channel.clone());
    let schema = base.config_schema().await.unwrap().unwrap();
    base.set_config(&evaluated(config, &schema), None).await.unwrap();
    let mut device = Device::new(channel);
    let mut offers = device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups).len() == 2).await;
    Served { process, device, offers, bus, place }
}

impl Served {
    async fn reserved(&mut self, ids: &[&str]) -> String {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        self.device.reserve(ids).await.unwrap().envs["YURT_V"].clone()
    }

    async fn until_group(&mut self, name: &str) {
        until(&mut self.offers, |groups| groups.iter().any(|group| group.name == name)).await;
    }

    /// Candidates that were refused so far.
    pub(crate) fn refusals(&self) -> usize {
        let log = self.process.log();
        log.iter().filter(|line| line.contains("does not serve, and what served before still does")).count()
    }

    /// Waits until more than so many were refused.
    pub(crate) async fn refused_after(&self, before: usize) {
        let end = Instant::now() + PATIENCE;
        while self.refusals() == before {
            assert!(Instant::now() < end, "nothing was refused");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `yurt guest <verb> --json`.
    fn asks(&self, verb: &str) -> Value {
        let mut command = Command::new(yurt_conformance::binary::binary());
        command.args(["guest", verb, "--json"]).env("YURT_RUNTIME_DIR", self.place.runtime());
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|why| panic!("{why}: {} {}", text(&output.stdout), text(&output.stderr)))
    }

    fn status(&self) -> Value {
        self.asks("status")["status"].clone()
    }

    /// The newest attempt once it is of this outcome.
    fn attempt(&self, outcome: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            let last = status["attempts"].as_array().unwrap().last().cloned().unwrap_or_default();
            if last["outcome"] == outcome {
                return last;
            }
            assert!(Instant::now() < end, "no attempt was {outcome}: {status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whole at once, as a careful deployment does it.
pub(crate) fn replace(file: &Path, bytes: &[u8]) {
    let draft = file.with_extension("draft");
    fs::write(&draft, bytes).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(&draft, file).unwrap();
}

#[tokio::test]
async fn a_new_guest_serves_in_the_same_process_and_says_what_is_different() {
    let mut served = served(acme(&version("alpha").component()), "yurt { settle = \"20ms\" }").await;
    assert_eq!(served.reserved(&["thing-1"]).await, "alpha");
    replace(&file(&served.place), &version("beta").component());
    served.until_group("beta").await;
    assert_eq!(served.reserved(&["thing-1"]).await, "beta");
    let attempt = served.attempt("served");
    let changes = attempt["changes"].to_string();
    assert!(changes.contains("group acme/usb/alpha: is gone, with thing-1, thing-2"), "{changes}");
    assert!(changes.contains("group acme/usb/beta: is new, with thing-1, thing-2"), "{changes}");
    let status = served.status();
    assert!(status["on_probation_seconds"].as_u64().is_some_and(|left| left > 500), "{status}");
    let errors = log::all_valid(&served.process.log()).into_iter().filter(|line| line.level == "error").count();
    assert_eq!(errors, 0, "{:#?}", served.process.log());
}

#[tokio::test]
async fn a_directory_of_versions_is_followed_by_its_link() {
    let place = Place::named("acme");
    let versions = place.root().join("versions");
    for (name, guest) in [("1", version("alpha")), ("2", version("beta"))] {
        fs::create_dir_all(versions.join(name)).unwrap();
        fs::write(versions.join(name).join("acme.wasm"), guest.component()).unwrap();
    }
    let link = |to: &str| {
        let next = versions.join("next");
        symlink(to, &next).unwrap();
        fs::rename(next, versions.join("current")).unwrap();
    };
    link("1/acme.wasm");
    symlink(versions.join("current"), file(&place)).unwrap();
    let mut served = served(place, "yurt { settle = \"20ms\" }").await;
    link("2/acme.wasm");
    served.until_group("beta").await;
    link("1/acme.wasm");
    served.until_group("alpha").await;
}

/// `ln -sfn TO DIRECTORY/current`, as an operator types it.
fn ln_sfn(to: &str, directory: &Path) {
    let done = Command::new("ln").args(["-sfn", to]).arg(directory.join("current")).status().unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn a_directory_of_versions_serves_what_current_leads_to_and_back_again() {
    let place = Place::named("acme");
    let versions = place.root().join("versions");
    fs::create_dir(&versions).unwrap();
    for (name, guest) in [("1.0.0.wasm", version("alpha")), ("1.1.0.wasm", version("beta"))] {
        fs::write(versions.join(name), guest.component()).unwrap();
    }
    ln_sfn("1.0.0.wasm", &versions);
    let arguments = ["--guest".to_owned(), versions.display().to_string()];
    let mut served = served_with(place, "yurt { settle = \"20ms\" }", &arguments).await;
    assert_eq!(served.reserved(&["thing-1"]).await, "alpha");
    let status = served.status();
    assert!(status["serving"]["origin"].as_str().unwrap().ends_with("versions/1.0.0.wasm"), "{status}");

    ln_sfn("1.1.0.wasm", &versions);
    served.until_group("beta").await;
    // What leads nowhere, or elsewhere, is told and changes nothing.
    let outside = served.place.root().join("elsewhere.wasm");
    fs::write(&outside, version("alpha").component()).unwrap();
    for (to, said) in [("2.0.0.wasm", "which is not there: ln -sfn VERSION"), ("../elsewhere.wasm", "out of")] {
        ln_sfn(to, &versions);
        let end = Instant::now() + PATIENCE;
        while !served.attempt("refused")["reason"].as_str().unwrap().contains(said) {
            assert!(Instant::now() < end, "no {said:?}: {:#}", served.status());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(served.reserved(&["thing-1"]).await, "beta", "{to}");
    }
    ln_sfn("1.0.0.wasm", &versions);
    served.until_group("alpha").await;
    // The version itself may be replaced, too.
    replace(&versions.join("1.0.0.wasm"), &version("beta").component());
    served.until_group("beta").await;
    stays_open(&mut served.offers).await;
}

fn digest(component: &[u8]) -> String {
    let digits: String = Sha256::digest(component).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

#[tokio::test]
async fn a_guest_that_is_pinned_in_the_arguments_is_the_only_one_that_serves() {
    let [alpha, beta] = ["alpha", "beta"].map(|name| version(name).component());
    let place = acme(&beta);
    let arguments = ["--guest-digest".to_owned(), digest(&alpha)];
    let refused = Process::refused(place.command().args(&arguments));
    let said = refused.log().join("\n");
    assert!(
        said.contains(&digest(&alpha)) && said.contains(&digest(&beta)) && said.contains("--guest-digest"),
        "{said}"
    );

    put(&place, &alpha);
    let mut served = served_with(place, "yurt { settle = \"20ms\" }", &arguments).await;
    replace(&file(&served.place), &beta);
    let reason = served.attempt("refused")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(&digest(&alpha)) && reason.contains(&digest(&beta)), "{reason}");
    assert_eq!(served.reserved(&["thing-1"]).await, "alpha");

    // Nor does it serve at the next start: the pinned one was kept.
    let Served { place, process, .. } = served;
    drop(process);
    let process = Process::start(place.command().args(&arguments));
    process.says("the last good guest serves instead");
}

#[tokio::test]
async fn a_guest_that_is_pinned_in_the_configuration_is_the_only_one_that_serves() {
    let [alpha, beta] = ["alpha", "beta"].map(|name| version(name).component());
    let pinned = |component: &[u8]| format!("yurt {{\n settle = \"20ms\"\n guest_digest = {:?}\n}}", digest(component));
    let configured = async |process: &Process, config: &str| {
        let mut base = Base::new(process.channel().await);
        let schema = base.config_schema().await.unwrap().unwrap();
        base.set_config(&evaluated(config, &schema), None).await
    };
    let place = acme(&beta);
    let process = Process::start(&mut place.command());
    let why = configured(&process, &pinned(&alpha)).await.unwrap_err().to_string();
    assert!(why.contains(&digest(&alpha)) && why.contains(&digest(&beta)) && why.contains("guest_digest"), "{why}");
    drop(process);

    put(&place, &alpha);
    let mut served = served(place, &pinned(&alpha)).await;
    replace(&file(&served.place), &beta);
    let reason = served.attempt("refused")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(&digest(&alpha)) && reason.contains(&digest(&beta)), "{reason}");
    assert_eq!(served.reserved(&["thing-1"]).await, "alpha");

    // A start with the other one in its place does not stop the agent, and one with the other one pinned lets it serve.
    let Served { place, process, .. } = served;
    drop(process);
    for (wanted, serves) in [(&alpha, "alpha"), (&beta, "beta")] {
        let process = Process::start(&mut place.command());
        process.says("the last good guest serves instead");
        configured(&process, &pinned(wanted)).await.unwrap();
        let mut device = Device::new(process.channel().await);
        let mut offers = device.fingerprint().await.unwrap();
        until(&mut offers, |groups| groups.iter().any(|group| group.name == serves)).await;
    }
}

#[tokio::test]
async fn a_candidate_that_fails_any_stage_changes_nothing_and_status_says_why() {
    let mut served = served(acme(&version("alpha").component()), "yurt { settle = \"20ms\" }").await;
    let whole = version("beta").component();
    let fails_in_the_shadow =
        version_with("beta", "(if (i32.gt_u (local.get 4) (i32.const 2)) (then (unreachable)))", "");
    served.reserved(&["thing-1"]).await;
    for (component, said) in [
        (whole[..whole.len() / 2].to_vec(), "stage component"),
        (Guest::hostile("spin").component(), "stage trial"),
        (describes_itself(["other", "1.0.0", "x", ""]).component(), "Nomad knows this plugin as"),
        (fails_in_the_shadow.component(), "in the shadow run: guest"),
        (Guest::hostile_driver("trap-in-plan").component(), "failed in plan"),
    ] {
        // Written in place, and slowly: not before it is still is it looked at.
        let (first, second) = component.split_at(component.len() / 3);
        put(&served.place, first);
        std::thread::sleep(Duration::from_millis(30));
        let both = [first, second].concat();
        fs::write(file(&served.place), both).unwrap();
        let end = Instant::now() + PATIENCE;
        while !served.attempt("refused")["reason"].as_str().unwrap().contains(said) {
            assert!(Instant::now() < end, "no {said:?}: {:#}", served.status());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(served.reserved(&["thing-2"]).await, "alpha", "{said}");
    }
    stays_open(&mut served.offers).await;
    assert_eq!(served.status()["turn"], 2, "SetConfig was the second");
}

#[tokio::test]
async fn a_guest_that_takes_too_long_to_compile_is_refused_in_one_sentence_while_the_plugin_serves_on() {
    let config = "yurt {\n settle = \"20ms\"\n limits {\n compile_deadline = 1000\n }\n}";
    let mut served = served(acme(&version("alpha").component()), config).await;
    replace(&file(&served.place), &Guest::slow_to_compile().component());
    let compiling = std::thread::spawn({
        let pid = served.process.pid();
        move || worker_of(pid)
    });
    // Neither before nor after it is there anything to be noticed.
    let attempt = loop {
        assert_eq!(served.reserved(&["thing-1"]).await, "alpha");
        let status = served.status();
        if let Some(last) = status["attempts"].as_array().unwrap().last().filter(|last| last["outcome"] == "refused") {
            break last.clone();
        }
    };
    let reason = attempt["reason"].as_str().unwrap();
    assert!(
        reason.ends_with(
            "refused at stage compile: it cannot be compiled: it took longer than 1000 ms (limit compile_deadline)"
        ),
        "{reason}"
    );
    let worker = compiling.join().unwrap();
    assert!(worker.environment.is_empty(), "{worker:?}");
    // Whoever started these tests may have left something open for everybody.
    let inherited: Vec<u32> = stay_open(served.process.pid()).into_iter().map(|(number, _)| number).collect();
    assert!(worker.files.iter().all(|number| *number <= 2 || inherited.contains(number)), "{worker:?}");
    assert!(!Path::new(&format!("/proc/{}", worker.pid)).exists(), "{worker:?}");
    assert_eq!(served.reserved(&["thing-2"]).await, "alpha");
    assert_eq!(served.status()["turn"], 2, "SetConfig was the second");
}

/// A process that compiles for a plugin.
#[derive(Debug)]
struct Worker {
    pid: u32,
    environment: Vec<u8>,
    /// Numbers of its open files.
    files: Vec<u32>,
}

/// The next one of this plugin, once it compiles.
fn worker_of(plugin: u32) -> Worker {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "no worker");
        for pid in children_of(plugin) {
            let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            if !read("comm").starts_with(b"yurt-compiler") {
                continue;
            }
            // What it opens by itself meanwhile is not meant.
            let files = stay_open(pid).into_iter().map(|(number, _)| number).collect::<Vec<u32>>();
            if !files.is_empty() {
                return Worker { pid, environment: read("environ"), files };
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[tokio::test]
async fn a_schema_may_grow_and_not_shrink() {
    let schema = |keys: &[&str]| {
        let keys: String = keys.iter().map(|key| format!("attr \"{key}\" {{\n type = string\n}}\n")).collect();
        format!("object {{\n{keys}}}")
    };
    let place = acme(&describes_itself(["acme", "1.0.0", "x", &schema(&["one", "two"])]).component());
    let process = Process::start(&mut place.command());
    let channel = process.channel().await;
    let mut base = Base::new(channel.clone());
    let known = base.config_schema().await.unwrap().unwrap();
    base.set_config(&evaluated("two = \"2\"", &known), None).await.unwrap();
    let mut device = Device::new(channel);
    let _offers = device.fingerprint().await.unwrap();
    replace(&file(&place), &describes_itself(["acme", "1.0.1", "x", &schema(&["one"])]).component());
    process.says("two is gone");
    replace(&file(&place), &describes_itself(["acme", "1.1.0", "x", &schema(&["one", "two", "three"])]).component());
    process.says("serves from now on");
    assert_eq!(base.plugin_info().await.unwrap().version, "1.1.0");
}

#[tokio::test]
async fn a_guest_that_fails_after_its_trial_is_rolled_back_within_one_call_that_does_not_fail() {
    let mut served = served(acme(&version("alpha").component()), "yurt { settle = \"20ms\" }").await;
    let broken = version_with("beta", "", "(if (i32.gt_u (local.get 14) (i32.const 1)) (then (unreachable)))");
    replace(&file(&served.place), &broken.component());
    served.until_group("beta").await;
    assert_eq!(served.reserved(&["thing-1"]).await, "beta");
    assert_eq!(served.reserved(&["thing-1", "thing-2"]).await, "alpha");
    served.until_group("alpha").await;
    let attempt = served.attempt("rolled-back");
    assert!(attempt["reason"].as_str().unwrap().contains("trapped"), "{attempt}");

    // Nor does it come back by a touch, or by a restart.
    let again = fs::read(file(&served.place)).unwrap();
    replace(&file(&served.place), &again);
    stays_open(&mut served.offers).await;
    assert_eq!(served.attempt("rolled-back"), attempt);
    let Served { place, process, .. } = served;
    drop(process);
    let process = Process::start(&mut place.command());
    process.says("it was rolled back: guest trial");
    process.says("the last good guest serves instead");
}

#[tokio::test]
async fn a_policy_that_fails_about_new_devices_gives_way_before_anybody_notices() {
    let mut served = served(acme(&version("alpha").component()), "yurt { settle = \"20ms\" }").await;
    let broken = version_with("beta", "(if (i32.gt_u (local.get 4) (i32.const 3)) (then (unreachable)))", "");
    replace(&file(&served.place), &broken.component());
    served.until_group("beta").await;
    served.bus.plug("1-3", &models::memory_stick()).unwrap();
    served.until_group("alpha").await;
    assert_eq!(served.reserved(&["thing-1"]).await, "alpha");
    let noted = |groups: &[Group]| instances(groups).iter().any(|one| one.health != Health::good());
    let more = tokio::time::timeout(Duration::from_millis(500), until(&mut served.offers, noted)).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn what_waits_for_approval_waits_over_restarts_and_a_rollback_by_hand_holds() {
    let config = "yurt {\n settle = \"20ms\"\n swap {\n mode = \"approve\"\n }\n}";
    let mut served = served(acme(&version("alpha").component()), config).await;
    assert!(served.asks("approve")["nothing"].as_str().unwrap().contains("nothing waits"));
    replace(&file(&served.place), &version("beta").component());
    let waits = served.attempt("waits");
    assert!(waits["changes"].to_string().contains("beta: is new"), "{waits}");
    assert_eq!(served.reserved(&["thing-1"]).await, "alpha");

    // The plugin is killed, and the agent starts it again.
    let Served { place, process, bus, .. } = served;
    drop(process);
    let mut served = {
        let process = Process::start(&mut place.command());
        process.says("it waits for `yurt guest approve`");
        let channel = process.channel().await;
        let mut base = Base::new(channel.clone());
        let schema = base.config_schema().await.unwrap().unwrap();
        base.set_config(&evaluated(config, &schema), None).await.unwrap();
        let mut device = Device::new(channel);
        let offers = device.fingerprint().await.unwrap();
        Served { process, device, offers, bus, place }
    };
    served.until_group("alpha").await;
    served.attempt("waits");
    assert_eq!(served.asks("approve")["done"]["outcome"], "served");
    served.until_group("beta").await;
    assert_eq!(served.asks("rollback")["done"]["outcome"], "rolled-back");
    served.until_group("alpha").await;
    assert_eq!(served.reserved(&["thing-1"]).await, "alpha");
}

#[tokio::test]
async fn what_the_operator_does_not_want_is_refused_by_name() {
    let config = "yurt {\n settle = \"20ms\"\n swap {\n refuse_if = [\"loses-devices\"]\n }\n}";
    let mut served = served(acme(&version("alpha").component()), config).await;
    let fewer = reserves_after(("", ""), &[offered(["acme", "usb", "alpha"], "thing-1", "1-1")], &[], &[]);
    replace(&file(&served.place), &fewer.component());
    let refused = served.attempt("refused");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("loses-devices") && reason.contains("loses id thing-2"), "{reason}");
    assert_eq!(served.reserved(&["thing-2"]).await, "alpha");
}

/// The built-in policy with a policy file.
async fn ruled(rules: &str) -> (Served, PathBuf) {
    let place = Place::new();
    let rules_file = place.root().join("usb.hcl");
    replace(&rules_file, rules.as_bytes());
    let config =
        format!("rule {{}}\nyurt {{\n settle = \"20ms\"\n policy_file = {:?}\n}}", rules_file.display().to_string());
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::yubikey()).unwrap();
    let process = Process::start(&mut place.command());
    let channel = process.channel().await;
    let mut base = Base::new(channel.clone());
    let schema = base.config_schema().await.unwrap().unwrap();
    base.set_config(&evaluated(&config, &schema), None).await.unwrap();
    let mut device = Device::new(channel);
    let offers = device.fingerprint().await.unwrap();
    (Served { process, device, offers, bus, place }, rules_file)
}

#[tokio::test]
async fn a_rule_changes_by_saving_a_file() {
    let (mut served, file) = ruled("rule {\n vendor = \"0x10c4\"\n}\n").await;
    until(&mut served.offers, |groups| ids(groups) == ["sn-0001"]).await;
    let saved = Instant::now();
    replace(&file, b"rule {}\n");
    until(&mut served.offers, |groups| ids(groups).len() == 2).await;
    println!("from saving to the offer: {:?}", saved.elapsed());
    // Nothing of the file is left: the agent's own rule holds.
    fs::remove_file(&file).unwrap();
    served.attempt("served");
    assert_eq!(served.status()["rules"], Value::Null);
}

#[tokio::test]
async fn a_typo_in_the_policy_file_changes_nothing_and_is_told_with_its_line() {
    let (mut served, file) = ruled("rule {}\n").await;
    until(&mut served.offers, |groups| ids(groups).len() == 2).await;
    for (text, said) in [
        (
            "rule {\n  vendro = \"0x10c4\"\n}\n",
            ":2:3: no key or block is called \"vendro\" here; did you mean \"vendor\"?",
        ),
        ("rule {\n  vendor = \"x\"\n}\n", ":2:3: rule[0].vendor"),
        ("rule {", ":1:"),
    ] {
        replace(&file, text.as_bytes());
        let end = Instant::now() + PATIENCE;
        while !served.attempt("refused")["reason"].as_str().unwrap().contains(said) {
            assert!(Instant::now() < end, "no {said:?}: {:#}", served.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    served.process.says("chmod go-w");
    stays_open(&mut served.offers).await;
    served.bus.plug("1-3", &models::memory_stick()).unwrap();
    until(&mut served.offers, |groups| ids(groups).len() == 3).await;
}

#[tokio::test]
async fn a_policy_file_that_is_wrong_at_the_start_is_no_reason_not_to_start() {
    let (mut served, _file) = ruled("rul {}\n").await;
    served.process.says("the policy file is left out");
    until(&mut served.offers, |groups| ids(groups).len() == 2).await;
}

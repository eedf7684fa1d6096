//! Directories that follow a device over replugs, fixtures as one instance, shares: what a rule and a grant make possible.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::{CapabilitySet, capabilities};
use serde_json::Value as Json;
use yurt_conformance::place::Place;
use yurt_nomad::attribute::Value;
use yurt_nomad::device::{Group, Health};
use yurt_usb::sim::{Model, models};

use crate::agents::{ids, instances, refusal, serving, until};

/// Whether this test can run: directories take the right to mount.
pub(crate) fn may_mount() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::MKNOD;
    let may = capabilities(None).is_ok_and(|have| have.effective.contains(needed));
    assert!(may || std::env::var_os("CI").is_none(), "directories for tasks take the right to mount and to make nodes");
    may
}

fn told(directory: &str) -> Json {
    serde_json::from_str(&fs::read_to_string(Path::new(directory).join("manifest.json")).unwrap()).unwrap()
}

/// What a directory's file comes to say, which takes no more than a second.
async fn comes_to(directory: &str, what: impl Fn(&Json) -> bool) -> Json {
    let since = Instant::now();
    loop {
        let now = told(directory);
        if what(&now) {
            return now;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "{now:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_rule_may_mount_a_directory_which_follows_its_device_over_replugs_and_restarts() {
    if !may_mount() {
        return;
    }
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    let config = "rule {\n expose = \"both\"\n}\nyurt {\n settle = \"20ms\"\n node_mode = \"0666\"\n}";
    let mut launched = serving(&place, config).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    let reservation = launched.device.reserve(vec!["sn-0001".into()]).await.unwrap();
    let [mount] = reservation.mounts.as_slice() else { panic!("{reservation:?}") };
    assert!(mount.read_only && mount.task_path == mount.host_path, "{mount:?}");
    let directory = mount.host_path.clone();
    let tty = format!("{directory}/tty");
    assert_eq!(reservation.envs["YURT_USB_SN_0001_DIR"], directory);
    assert_eq!(reservation.envs["YURT_USB_SN_0001_TTY"], tty);
    assert_eq!(reservation.devices.len(), 2);
    let usb = |directory: &str| fs::metadata(format!("{directory}/usb")).unwrap();
    assert_eq!(usb(&directory).mode() & 0o7777, 0o666);
    let (before, generation) = (usb(&directory).rdev(), told(&directory)["devices"][0]["generation"].clone());

    bus.unplug("1-1").unwrap();
    comes_to(&directory, |now| now["devices"][0]["present"] == false).await;
    assert!(!Path::new(&tty).exists());
    bus.plug("1-1", &models::cp2102()).unwrap();
    let now = comes_to(&directory, |now| now["devices"][0]["nodes"][1]["node"].is_object()).await;
    assert_ne!(usb(&directory).rdev(), before);
    assert!(now["devices"][0]["generation"].as_u64() > generation.as_u64(), "{now:#}");

    // Another process of the plugin goes on, and another device at the port is nobody's who did not ask for it.
    drop(launched);
    let mut launched = serving(&place, config).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    bus.unplug("1-1").unwrap();
    bus.plug("1-1", &models::memory_stick()).unwrap();
    comes_to(&directory, |now| now["devices"][0]["present"] == false).await;
    assert!(!Path::new(&tty).exists());
}

#[tokio::test]
async fn a_device_that_turns_into_another_stays_one_where_a_rule_says_so() {
    if !may_mount() {
        return;
    }
    let place = Place::new();
    let bus = place.bus();
    // As a Coral accelerator: without and with its firmware.
    let of = |vendor_id, product_id| Model { vendor_id, product_id, ..models::no_strings() };
    let (before, after) = (of(0x1a6e, 0x089a), of(0x18d1, 0x9302));
    bus.plug("1-1", &before).unwrap();
    let config = "rule {
        modes       = [\"0x1a6e:0x089a\", \"0x18d1:0x9302\"]
        vendor_name = \"google\"
        group       = \"coral\"
        expose      = \"both\"
    }
    yurt {
        settle = \"20ms\"
        grace  = \"5s\"
    }";
    let mut launched = serving(&place, config).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let groups = until(&mut offers, |groups| ids(groups) == ["port-1-1"]).await;
    assert_eq!((groups[0].vendor.as_str(), groups[0].name.as_str()), ("google", "coral"));
    let reservation = launched.device.reserve(vec!["port-1-1".into()]).await.unwrap();
    let directory = reservation.mounts[0].host_path.clone();

    bus.unplug("1-1").unwrap();
    comes_to(&directory, |now| now["devices"][0]["present"] == false).await;
    bus.plug("1-1", &after).unwrap();
    comes_to(&directory, |now| now["devices"][0]["nodes"][0]["node"].is_object()).await;
    let healthy = |groups: &[Group]| {
        let of_product = |group: &Group| group.attributes["product_id"].value == Value::Text("0x9302".into());
        groups.iter().any(of_product) && matches!(instances(groups)[0].health, Health::Healthy { .. })
    };
    let groups = until(&mut offers, healthy).await;
    assert_eq!((groups[0].name.as_str(), ids(&groups)), ("coral", vec!["port-1-1"]));

    bus.unplug("1-1").unwrap();
    bus.plug("1-1", &of(0x18d1, 0x9303)).unwrap();
    comes_to(&directory, |now| now["devices"][0]["present"] == false).await;
}

#[tokio::test]
async fn where_no_directory_can_be_made_devices_are_handed_out_all_the_same_and_health_says_so() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    fs::write(place.root().join("run-devices"), "in the way").unwrap();
    let config = |expose: &str| {
        format!("fingerprint_period = \"100ms\"\nrule {{\n expose = {expose:?}\n}}\nyurt {{\n settle = \"20ms\"\n}}")
    };
    let mut launched = serving(&place, &config("both")).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    let reservation = launched.device.reserve(vec!["sn-0001".into()]).await.unwrap();
    assert_eq!((reservation.mounts.len(), reservation.devices.len()), (0, 2));
    assert_eq!(reservation.envs["YURT_USB_SN_0001_TTY"], "/dev/ttyUSB0");
    until(&mut offers, |groups| match &instances(groups)[0].health {
        Health::Healthy { note } => note.starts_with("no node directory below "),
        Health::Unhealthy { reason } => panic!("{reason}"),
    })
    .await;
    drop(launched);

    let mut launched = serving(&place, &config("mount")).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    let (code, why) = refusal(launched.device.reserve(vec!["sn-0001".into()]).await);
    assert_eq!(code, tonic::Code::FailedPrecondition);
    assert!(why.contains("no node directory below ") && why.contains("in no other way"), "{why}");
}

#[tokio::test]
async fn a_fixture_is_one_device_and_incomplete_when_a_part_is_missing() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::hub(4)).unwrap();
    bus.plug("1-1.1", &models::cp2102()).unwrap();
    bus.plug("1-1.2", &models::memory_stick()).unwrap();
    let config = "rule {\n behind = \"1-1\"\n as_one = true\n members = 2\n group = \"fixture\"\n}\nyurt {\n settle = \"20ms\"\n}";
    let mut launched = serving(&place, config).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let whole = |wanted: bool| {
        move |groups: &[Group]| {
            instances(groups).first().is_some_and(|one| matches!(one.health, Health::Healthy { .. }) == wanted)
        }
    };
    let offered = until(&mut offers, whole(true)).await;
    assert_eq!((offered[0].name.as_str(), ids(&offered)), ("fixture", vec!["port-1-1"]));
    let reservation = launched.device.reserve(vec!["port-1-1".into()]).await.unwrap();
    let paths: Vec<&str> = reservation.devices.iter().map(|device| device.host_path.as_str()).collect();
    assert!(paths.contains(&"/dev/ttyUSB0") && paths.contains(&"/dev/sda"), "{paths:?}");

    bus.unplug("1-1.2").unwrap();
    let offered = until(&mut offers, whole(false)).await;
    let Health::Unhealthy { reason } = &instances(&offered)[0].health else { panic!("{offered:?}") };
    assert_eq!(reason, "incomplete: 1 of 2 devices are below 1-1");
}

#[tokio::test]
async fn several_tasks_may_have_one_device_if_the_operator_grants_it() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::memory_stick()).unwrap();
    let config = |granted: bool| {
        format!(
            "rule {{\n driver = \"cp210x\"\n shares = 3\n}}\nrule {{}}\nyurt {{\n settle = \"20ms\"\n grants {{\n sharing = {granted}\n }}\n}}"
        )
    };
    let mut launched = serving(&place, &config(true)).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let offered = until(&mut offers, |groups| ids(groups).len() == 4).await;
    assert!(ids(&offered).contains(&"sn-0001.share-3"), "{offered:?}");
    for id in ["sn-0001.share-1", "sn-0001.share-3"] {
        let reservation = launched.device.reserve(vec![id.into()]).await.unwrap();
        assert_eq!(reservation.devices[1].host_path, "/dev/ttyUSB0");
    }
    // Two shares for one task are one device.
    let both = launched.device.reserve(vec!["sn-0001.share-1".into(), "sn-0001.share-2".into()]).await.unwrap();
    assert_eq!(both.devices.len(), 2);
    drop(launched);

    let mut launched = serving(&place, &config(false)).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let offered = until(&mut offers, |groups| !groups.is_empty()).await;
    assert_eq!(ids(&offered).len(), 1, "{offered:?}");
}

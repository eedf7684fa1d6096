//! Ids → what a task gets.

use std::collections::BTreeSet;
use std::fs;

use tonic::Code;
use yurt_conformance::place::Place;
use yurt_nomad::attribute::Value;
use yurt_nomad::device::Reservation;
use yurt_usb::sim::models;

use crate::agents::{EVERYTHING, adapter_and_key, ids, refusal, serving, until};

fn one(id: &str) -> Vec<String> {
    vec![id.to_owned()]
}

fn host_paths(reservation: &Reservation) -> Vec<&str> {
    reservation.devices.iter().map(|device| device.host_path.as_str()).collect()
}

#[tokio::test]
async fn a_task_gets_the_nodes_of_its_device_and_of_no_other() {
    let mut agent = adapter_and_key().await;

    let adapter = agent.launched.device.reserve(one("sn-0001")).await.unwrap();
    assert_eq!(host_paths(&adapter), ["/dev/bus/usb/001/002", "/dev/ttyUSB0"]);
    let key = agent.launched.device.reserve(one("port-1-2")).await.unwrap();
    assert_eq!(host_paths(&key), ["/dev/bus/usb/001/003", "/dev/hidraw0", "/dev/hidraw1"]);
    for reservation in [&adapter, &key] {
        assert_eq!(reservation.mounts, []);
        for device in &reservation.devices {
            assert!(device.task_path.starts_with("/dev/"), "{device:?}");
            let letters: BTreeSet<char> = device.permissions.chars().collect();
            assert!(
                letters.len() == device.permissions.len() && letters.iter().all(|c| "rwm".contains(*c)),
                "{device:?}"
            );
        }
        for name in reservation.envs.keys() {
            assert!(name.starts_with("YURT_"), "{name}");
        }
    }
    assert_eq!(adapter.envs["YURT_USB_SN_0001_NODE"], "/dev/bus/usb/001/002");
    assert_eq!(adapter.envs["YURT_USB_SN_0001_TTY"], "/dev/ttyUSB0");
    // Two device blocks of one task: nothing of one overwrites the other's.
    let names = |reservation: &Reservation| reservation.envs.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&adapter).intersection(&names(&key)).count(), 0);
}

#[tokio::test]
async fn a_rule_finds_devices_by_what_the_kernel_knows_and_says_which_nodes_a_task_gets() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::hub(4)).unwrap();
    bus.plug("1-1.2", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::memory_stick()).unwrap();
    let config = r#"rule {
        behind = "1-1"
        driver = "cp210*"
        nodes = ["tty"]
        attributes {
            rack = "b2"
        }
    }"#;
    let mut launched = serving(&place, config).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let offered = until(&mut offers, |groups| !ids(groups).is_empty()).await;
    let [group] = offered.as_slice() else { panic!("{offered:?}") };
    assert_eq!(group.attributes["rack"].value, Value::Text("b2".into()));
    let id = group.instances[0].id.clone();
    let reservation = launched.device.reserve(vec![id]).await.unwrap();
    assert_eq!(host_paths(&reservation), ["/dev/ttyUSB0"]);
}

#[tokio::test]
async fn several_instances_of_a_group_come_in_one_reservation() {
    let place = Place::new();
    let bus = place.bus();
    for (port, serial) in [("1-1", "AA01"), ("1-2", "BB02"), ("1-3", "CC03")] {
        bus.plug(port, &models::memory_stick().with_serial(serial)).unwrap();
    }
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups).len() == 3).await;
    let reservation = launched.device.reserve(vec!["sn-CC03".into(), "sn-AA01".into()]).await.unwrap();
    assert_eq!(reservation.envs["YURT_USB_MEMOREX_PRODUCTS_INC_TRAVELDRIVE_2007_FLASH_DRIVE_IDS"], "sn-CC03,sn-AA01");
    let paths = host_paths(&reservation);
    assert!(paths.contains(&"/dev/sda") && paths.contains(&"/dev/sdc") && !paths.contains(&"/dev/sdb"), "{paths:?}");
}

#[tokio::test]
async fn two_dozen_of_a_group_can_be_had_at_once() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::hub(12)).unwrap();
    bus.plug("1-2", &models::hub(12)).unwrap();
    for port in 0..24 {
        let model = models::memory_stick().with_serial(format!("SERIAL{port:04}"));
        bus.plug(&format!("1-{}.{}", 1 + port / 12, 1 + port % 12), &model).unwrap();
    }
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let offered = until(&mut offers, |groups| ids(groups).len() == 24).await;
    let all: Vec<String> = ids(&offered).into_iter().map(str::to_owned).collect();
    let reservation = launched.device.reserve(all).await.unwrap();
    // The usbfs node, the disk, its partition.
    assert_eq!(reservation.devices.len(), 3 * 24);
    assert!(reservation.envs.contains_key("YURT_USB_SN_SERIAL0023_NODE"));
}

#[tokio::test]
async fn nothing_reserved_is_an_empty_reservation_and_not_a_missing_one() {
    let place = Place::new();
    let mut launched = serving(&place, EVERYTHING).await;
    // The client refuses an answer without the container's part.
    assert_eq!(launched.device.reserve(Vec::new()).await.unwrap(), Reservation::default());
}

#[tokio::test]
async fn what_is_not_offered_is_not_found_and_the_plugin_never_seems_dead() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    let many: Vec<String> = (0..5000).map(|n| format!("sn-{n}")).collect();
    for asked in [
        one("sn-0002"),
        one(""),
        one("sn-0001 "),
        one("SN-0001"),
        one("../../etc/passwd"),
        one("a\nb\u{1b}[31m\"'\\"),
        one(&"x".repeat(1 << 20)),
        vec!["sn-0001".into(), "sn-0002".into()],
        many,
    ] {
        let (code, text) = refusal(launched.device.reserve(asked.clone()).await);
        assert_eq!(code, Code::NotFound, "{text}");
        assert!(!text.contains(char::is_control) && text.len() < 8192, "{text:?}");
    }
    assert!(launched.device.reserve(one("sn-0001")).await.is_ok());
}

#[tokio::test]
async fn a_reservation_that_makes_no_sense_is_refused_in_words() {
    let mut agent = adapter_and_key().await;
    for (asked, word) in
        [(vec!["sn-0001".to_owned(), "sn-0001".into()], "twice"), (vec!["sn-0001".into(), "port-1-2".into()], "group")]
    {
        let (code, text) = refusal(agent.launched.device.reserve(asked).await);
        assert_eq!(code, Code::InvalidArgument, "{text}");
        assert!(text.contains(word), "{text}");
    }
}

#[tokio::test]
async fn a_device_that_left_is_not_handed_out_nor_is_one_that_took_its_port() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::no_strings()).unwrap();
    // So slow to settle that what was offered stands while the bus moves on.
    let mut launched = serving(&place, "rule {}\nyurt {\n settle = \"2s\"\n}").await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["port-1-1"] && groups[0].instances[0].health.is_healthy()).await;
    assert!(launched.device.reserve(one("port-1-1")).await.is_ok());

    bus.unplug("1-1").unwrap();
    bus.plug("1-1", &models::cp2102()).unwrap();
    // Whichever of the two it knows of by now: never the nodes of the newcomer.
    let (code, text) = loop {
        match launched.device.reserve(one("port-1-1")).await {
            // The events are on their way; the old node is gone, and its number is not used again.
            Ok(reservation) => assert_eq!(host_paths(&reservation), ["/dev/bus/usb/001/002"]),
            refused => break refusal(refused),
        }
    };
    assert!([Code::NotFound, Code::FailedPrecondition].contains(&code), "{code:?} {text}");
    assert!(text.contains("port-1-1"), "{text}");
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
}

#[tokio::test]
async fn a_fresh_process_that_is_asked_before_it_has_looked_looks() {
    let place = Place::new();
    place.bus().plug("1-1", &models::cp2102()).unwrap();
    let mut launched = serving(&place, EVERYTHING).await;
    let reservation = launched.device.reserve(one("sn-0001")).await.unwrap();
    assert_eq!(host_paths(&reservation), ["/dev/bus/usb/001/002", "/dev/ttyUSB0"]);
}

#[tokio::test]
async fn many_at_once_are_all_answered() {
    let place = Place::new();
    place.bus().plug("1-1", &models::cp2102()).unwrap();
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let mut device = launched.device.clone();
            tokio::spawn(async move { device.reserve(one("sn-0001")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().devices.len(), 2);
    }
}

#[tokio::test]
async fn a_disk_that_this_machine_has_taken_since_it_was_offered_is_refused() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::memory_stick()).unwrap();
    // Nothing looks again by itself.
    let config = "fingerprint_period = \"24h\"\nrule {}\nyurt {\n settle = \"20ms\"\n}";
    let mut launched = serving(&place, config).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["sn-5B1C07A2"]).await;
    launched.device.reserve(vec!["sn-5B1C07A2".into()]).await.unwrap();
    fs::create_dir_all(place.usb().join("proc")).unwrap();
    fs::write(place.usb().join("proc/swaps"), "Filename Type Size Used Priority\n/dev/sda1 partition 8188 0 -2\n")
        .unwrap();
    let (code, why) = refusal(launched.device.reserve(vec!["sn-5B1C07A2".into()]).await);
    assert_eq!(code, Code::FailedPrecondition, "{why}");
    assert!(why.contains("/dev/sda") && why.contains("in use on this machine"), "{why}");
}

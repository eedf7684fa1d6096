//! What QEMU emulates: hubs below hubs, a keyboard, a disk.

use std::fs;
use std::process::Command;

use serde_json::json;
use yurt_nomad::attribute::Value;
use yurt_nomad::device::{Group, Health, Instance};
use yurt_vm_usb::{Monitor, load};

use crate::stage::{healthy, instances, node_of, serving};

/// The bus of QEMU's controller. It has two: USB 2 before USB 3.
fn bus() -> u32 {
    load().expect("the VM's modules");
    let buses = fs::read_dir("/sys/bus/usb/devices").unwrap().flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.strip_prefix("usb")?.parse().ok()?;
        let controller = fs::canonicalize(entry.path()).ok()?;
        controller.to_str()?.contains("/pci0000:00/").then_some(number)
    });
    buses.min().expect("QEMU's controller")
}

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn a_keyboard_below_three_hubs_is_known_by_all_of_its_port_path() {
    let (mut monitor, bus) = (Monitor::open().unwrap(), bus());
    let config = format!(
        "rule {{\n class = \"hid\"\n behind = \"{bus}-1\"\n}}\nrule {{\n class = \"hub\"\n group = \"hubs\"\n}}"
    );
    let mut stage = serving(&config).await;
    for hub in ["1", "1.2", "1.2.3"] {
        monitor.plug("usb-hub", hub, json!({})).unwrap();
    }
    monitor.plug("usb-kbd", "1.2.3.4", json!({})).unwrap();
    let keyboard = format!("{bus}-1.2.3.4");
    let offered = stage
        .until(|groups| {
            let found = instances(groups);
            let there = |port: &str| found.iter().any(|instance| instance.id.contains(port) && healthy(instance));
            found.len() == 4 && found.iter().all(|instance| healthy(instance)) && there("1.2.3.4")
        })
        .await;
    // QEMU gives each a serial number made of its place, which Yurt has no reason to doubt.
    let group = offered.iter().find(|group| group.name != "hubs").unwrap();
    assert_eq!(group.attributes["ports"].value, Value::Text(keyboard.clone()));
    let reservation = stage.launched.device.reserve(vec![group.instances[0].id.clone()]).await.unwrap();
    let event = node_of(&keyboard, "hidraw");
    assert!(reservation.devices.iter().any(|device| device.host_path == event.to_str().unwrap()), "{reservation:?}");

    // The farthest hub takes all with it.
    monitor.unplug("1").unwrap();
    stage.until_healthy(&[]).await;
}

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn a_disk_comes_late_and_is_handed_out_unless_this_machine_uses_it() {
    let mut monitor = Monitor::open().unwrap();
    let mut stage = serving("rule {\n class = \"storage\"\n}").await;
    monitor.plug("usb-storage", "3", json!({"drive": "disk", "serial": "STICK42"})).unwrap();
    let offered = stage.until_healthy(&["sn-STICK42"]).await;
    // It may be on either side of the controller.
    let Value::Text(port) = &offered[0].attributes["ports"].value else { panic!("{offered:?}") };
    let disk = node_of(port, "block");
    // Which the driver finds a second after it has bound the device.
    let text = |group: &Group| match group.attributes.get("nodes").map(|nodes| &nodes.value) {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    };
    stage.until(|groups| groups.iter().any(|group| text(group).split(',').any(|kind| kind == "block"))).await;
    let reservation = stage.launched.device.reserve(vec!["sn-STICK42".into()]).await.unwrap();
    assert_eq!(reservation.envs["YURT_USB_SN_STICK42_BLOCK"], disk.to_str().unwrap());

    run("mkswap", &disk);
    run("swapon", &disk);
    let refused = stage.launched.device.reserve(vec!["sn-STICK42".into()]).await.unwrap_err().to_string();
    assert!(refused.contains("swap"), "{refused}");
    let swapped = |one: &Instance| matches!(&one.health, Health::Unhealthy { reason } if reason.contains("swap"));
    stage.until(|groups| instances(groups).into_iter().any(swapped)).await;
    run("swapoff", &disk);
    stage.until_healthy(&["sn-STICK42"]).await;
    monitor.unplug("3").unwrap();
    stage.until_healthy(&[]).await;
}

fn run(program: &str, disk: &std::path::Path) {
    let status = Command::new(program).arg(disk).status().unwrap();
    assert!(status.success(), "{program}: {status}");
}

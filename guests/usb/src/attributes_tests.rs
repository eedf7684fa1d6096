use yurt_sdk::Value;
use yurt_sdk::facts::{Presence, SerialQuality};
use yurt_sdk::offer::DeviceGroup;
use yurt_sdk::offer::Health;
use yurt_sdk::testing::{self, Device, snapshot};

use crate::DefaultPolicy;

fn one_group(devices: Vec<Device>) -> DeviceGroup {
    let config = r#"{"rule":[{"group":"all","vendor_name":"lab"}]}"#;
    testing::group::<DefaultPolicy>(config, &snapshot(devices)).unwrap().groups.remove(0)
}

fn value(group: &DeviceGroup, name: &str) -> Option<Value> {
    group.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.value.clone())
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.into()))
}

fn stick(port: &str) -> Device {
    Device::new(port, 0x1050, 0x0120)
        .names("Yubico.com", "Key, blue")
        .strings("Yubico", "2000")
        .interface(8, 6, 0x50, "usb-storage")
        .interface(3, 1, 2, "usbhid")
        .node("block", "/dev/sda")
        .node("hidraw", "/dev/hidraw0")
}

#[test]
fn attributes_are_typed_and_every_text_can_be_matched_by_a_literal() {
    let group = one_group(vec![stick("1-1.4").serial("0781", SerialQuality::Unique)]);
    for (name, want) in [
        ("vendor_id", text("0x1050")),
        ("vendor_id_number", Some(Value::Integer(0x1050))),
        ("product_id", text("0x0120")),
        ("vendor_name", text("Yubico.com")),
        ("product_name", text("Key; blue")),
        ("product", text("=2000")),
        ("serials", text("=0781")),
        ("ids", text("sn-0781")),
        ("classes", text("hid,storage")),
        ("class_codes", text("03/01/02,08/06/50")),
        ("drivers", text("usb-storage,usbhid")),
        ("nodes", text("block,hidraw")),
        ("ports", text("1-1.4")),
        ("controller", text("0000:00:14.0")),
        ("speed_mbit", Some(Value::Integer(480))),
        ("usb_version", Some(Value::Number(2.0))),
        ("device_release", text("0x0100")),
        ("link_degraded", Some(Value::Flag(false))),
        ("removable", None),
        ("numa_node", None),
    ] {
        assert_eq!(value(&group, name), want, "{name}");
    }
    for attribute in &group.attributes {
        assert_eq!(attribute.unit, None);
        if let Value::Text(text) = &attribute.value {
            assert!(yurt_sdk::attribute::reads_as_text(text), "{} = {text}", attribute.name);
        }
    }
    let names: Vec<&String> = group.attributes.iter().map(|attribute| &attribute.name).collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[test]
fn where_members_differ_texts_are_joined_and_numbers_are_left_out() {
    let other = Device::new("1-2", 0x12f7, 0x1e23).serial("B,1", SerialQuality::Unique).with(|d| d.link.mbit = 12);
    let group = one_group(vec![stick("1-1").serial("A", SerialQuality::Unique), other]);
    for (name, want) in [
        ("vendor_id", text("0x1050,0x12f7")),
        ("vendor_id_number", None),
        ("speed_mbit", None),
        ("ids", text(&format!("sn-A,{}", group.instances[1].id))),
        ("serials", text("A,B;1")),
        ("max_milliamps", Some(Value::Integer(100))),
        ("vendor_name", text("Yubico.com")),
    ] {
        assert_eq!(value(&group, name), want, "{name}");
    }
}

#[test]
fn usb_versions_compare_as_numbers() {
    for (release, want) in [(0x0100, 1.0), (0x0110, 1.1), (0x0200, 2.0), (0x0210, 2.1), (0x0300, 3.0), (0x0320, 3.2)] {
        let group = one_group(vec![stick("1-1").with(|d| d.usb_release = release)]);
        assert_eq!(value(&group, "usb_version"), Some(Value::Number(want)));
    }
}

#[test]
fn attributes_do_not_change_with_what_changes_by_itself() {
    let before = one_group(vec![stick("1-1")]);
    let after = one_group(vec![stick("1-1").with(|d| {
        d.life.for_milliseconds += 10_000;
        d.life.generation += 1;
        d.place.address += 1;
        d.nodes[0].path = "/dev/bus/usb/001/099".into();
        d.nodes[1].path = "/dev/sdb".into();
        d.power.state = yurt_sdk::facts::PowerState::Suspended;
    })]);
    assert_eq!(before, after);
}

#[test]
fn health_says_why() {
    type Change = fn(&mut yurt_sdk::facts::UsbDevice);
    let table: [(&str, Change); 12] = [
        ("", |_| {}),
        ("", |d| d.link.degraded = true),
        ("unplugged", |d| d.life.presence = Presence::Absent),
        ("settling", |d| d.life.presence = Presence::Settling),
        ("not authorised", |d| d.access.authorised = false),
        ("over-current", |d| d.access.over_current = true),
        ("not configured", |d| d.configuration = None),
        ("power management failed", |d| d.power.state = yurt_sdk::facts::PowerState::Failed),
        ("no permission: /dev/bus/usb/", |d| d.access.openable = false),
        ("no permission: it has no node", |d| d.nodes.clear()),
        ("no permission: it has no node", |d| drop(d.nodes.remove(0))),
        ("in use on this machine: /dev/sda", |d| d.nodes[1].in_use = true),
    ];
    for (want, change) in table {
        let group = one_group(vec![stick("1-1").with(change)]);
        match (&group.instances[0].health, want) {
            (Health::Healthy, "") => {}
            (Health::Unhealthy(reason), want) if !want.is_empty() && reason.starts_with(want) => {}
            (other, want) => panic!("{want:?}: {other:?}"),
        }
    }
}

#[test]
fn a_rule_says_what_else_makes_a_device_unhealthy_or_does_not() {
    type Change = fn(&mut yurt_sdk::facts::UsbDevice);
    let table: [(&str, &str, Change); 10] = [
        (r#""unhealthy_if":["degraded"]"#, "degraded", |d| d.link.degraded = true),
        (r#""unhealthy_if":["degraded"]"#, "", |d| d.access.over_current = true),
        (r#""unhealthy_if":[]"#, "", |d| d.nodes[1].in_use = true),
        (r#""unhealthy_if":["duplicate_serial"]"#, "duplicate serial", |d| d.serial_quality = SerialQuality::Shared),
        (r#""unhealthy_if":["no_serial"]"#, "no serial number", |d| d.serial_quality = SerialQuality::Placeholder),
        // Useless is useless.
        (r#""unhealthy_if":[]"#, "not authorised", |d| d.access.authorised = false),
        // What a task does not get does not matter to it.
        (r#""nodes":["hidraw"]"#, "", |d| d.access.openable = false),
        (r#""nodes":["hidraw"]"#, "", |d| d.nodes[1].in_use = true),
        (r#""nodes":["usb"]"#, "in use", |d| d.nodes[1].in_use = true),
        (r#""nodes":["tty","net"]"#, "nothing to hand out: no driver made a node of tty, net", |_| {}),
    ];
    for (keys, want, change) in table {
        let facts = snapshot([stick("1-1").serial("A1", SerialQuality::Unique).with(change)]);
        let offer = testing::group::<DefaultPolicy>(&format!(r#"{{"rule":[{{{keys}}}]}}"#), &facts).unwrap();
        match (&offer.groups[0].instances[0].health, want) {
            (Health::Healthy, "") => {}
            (Health::Unhealthy(reason), want) if !want.is_empty() && reason.starts_with(want) => {}
            (other, want) => panic!("{keys}: {want:?}: {other:?}"),
        }
    }
}

#[test]
fn it_asks_to_be_asked_again_after_the_period() {
    let offer = testing::group::<DefaultPolicy>(r#"{"fingerprint_period":"2s","rule":[{}]}"#, &snapshot([])).unwrap();
    assert_eq!(offer.ask_again_milliseconds, Some(2000));
}

#[test]
fn a_list_of_many_members_is_cut_between_values_and_still_changes_with_each_of_them() {
    let group = |count: usize| {
        let member = |at: usize| stick(&format!("1-{at}")).serial(&format!("SERIAL{at:04}"), SerialQuality::Unique);
        one_group((1..=count).map(member).collect())
    };
    let ids = |count: usize| match value(&group(count), "ids") {
        Some(Value::Text(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(ids(70).split(',').count(), 70);
    let (many, more) = (ids(200), ids(201));
    for (text, count) in [(&many, 200), (&more, 201)] {
        assert!(text.len() <= 1024, "{}", text.len());
        let (kept, rest) = text.rsplit_once(',').unwrap();
        let kept = kept.split(',').count();
        assert!(kept > 60 && kept < count && text.starts_with("sn-SERIAL0001,"), "{text}");
        assert!(rest.starts_with(&format!("and-{}-more-", count - kept)), "{rest}");
    }
    assert_ne!(many, more);
}

#[test]
fn nodes_are_those_that_a_task_gets() {
    let by = |nodes: &str| {
        let config = format!(r#"{{"rule":[{{"nodes":[{nodes}]}}]}}"#);
        let facts = snapshot([stick("1-1.4").serial("A", SerialQuality::Unique)]);
        value(&testing::group::<DefaultPolicy>(&config, &facts).unwrap().groups.remove(0), "nodes")
    };
    assert_eq!(by("\"hidraw\""), text("hidraw"));
    assert_eq!(by("\"hidraw\",\"block\",\"usb\""), text("block,hidraw"));
    assert_eq!(by("\"usb\""), None);
}

#[test]
fn a_rule_adds_attributes_and_never_one_that_every_group_has() {
    let config = r#"{"rule":[{"port":"1-1.4","group":"all","vendor_name":"lab","attributes":{"rack":"b2","row":"one"}},
        {"group":"all","vendor_name":"lab","attributes":{"rack":"a1"}}]}"#;
    let full = stick("1-1.4").serial("A", SerialQuality::Unique).with(|d| {
        d.place.removable = yurt_sdk::facts::Removable::Fixed;
        d.place.numa_node = Some(0);
    });
    let facts = snapshot([full, stick("1-1.5").serial("B", SerialQuality::Unique)]);
    let group = testing::group::<DefaultPolicy>(config, &facts).unwrap().groups.remove(0);
    assert_eq!((value(&group, "rack"), value(&group, "row")), (text("a1,b2"), text("one")));
    let mut names: Vec<&str> = group.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    names.retain(|name| !["rack", "row"].contains(name));
    // The host's own is not among a guest's answer.
    names.push("healthy_count");
    names.sort_unstable();
    let reserved: Vec<&str> = super::NAMES.into_iter().filter(|name| names.contains(name)).collect();
    assert_eq!(names, reserved);
    let missing: Vec<&str> = super::NAMES.into_iter().filter(|name| !names.contains(name)).collect();
    assert_eq!(missing, ["numa_node"], "a number is left out where members differ");
}

use yurt_sdk::facts::{ClassCodes, Snapshot, UsbInterface};
use yurt_sdk::testing::{self, Device, snapshot};

use super::*;
use crate::DefaultPolicy;

/// Ports of the devices that these rules offer.
fn offered(rules: &str, facts: &Snapshot) -> Vec<String> {
    let config = format!(r#"{{"rule":{rules}}}"#);
    let offer = testing::group::<DefaultPolicy>(&config, facts).unwrap();
    let mut ports: Vec<String> =
        offer.groups.into_iter().flat_map(|group| group.instances).flat_map(|instance| instance.members).collect();
    ports.sort();
    ports
}

fn interface(number: u8, base: u8, driver: Option<&str>) -> UsbInterface {
    UsbInterface {
        number,
        alternate: 0,
        codes: ClassCodes { base, sub: 0, protocol: 0 },
        name: None,
        function: None,
        driver: driver.map(str::to_owned),
        endpoints: Vec::new(),
    }
}

/// A hub with a keyboard and a fast adapter behind it, and a composite device elsewhere.
fn bus() -> Snapshot {
    let mut facts = snapshot([
        Device::new("1-1", 0x1a40, 0x0101).with(|d| {
            d.is_hub = true;
            d.codes.base = 9;
        }),
        Device::new("1-1.1", 0x04d9, 0x1603).with(|d| {
            d.parent = Some("1-1".into());
            d.interfaces = vec![interface(0, 3, Some("usbhid"))];
            d.link.mbit = 12;
            d.place.removable = Removable::Fixed;
        }),
        Device::new("1-1.2", 0x10c4, 0xea60).node("tty", "/dev/ttyUSB0").with(|d| {
            d.parent = Some("1-1".into());
            d.interfaces = vec![interface(0, 0xff, Some("cp210x"))];
            d.link.mbit = 480;
        }),
        Device::new("2-4", 0x046d, 0x082d).with(|d| {
            d.interfaces = vec![interface(0, 0x0e, Some("uvcvideo")), interface(1, 0x01, Some("snd-usb-audio"))];
            d.link.mbit = 5000;
            d.place.removable = Removable::Removable;
        }),
    ]);
    facts.devices.sort_by(|a, b| a.key.cmp(&b.key));
    facts
}

#[test]
fn a_condition_looks_at_any_fact() {
    let facts = bus();
    for (rule, want) in [
        (r#"{"driver":"cp210?"}"#, &["1-1.2"][..]),
        (r#"{"driver":"*"}"#, &["1-1.1", "1-1.2", "2-4"]),
        (r#"{"subsystem":"tty"}"#, &["1-1.2"]),
        (r#"{"subsystem":"usb*"}"#, &[]),
        (r#"{"class":"audio"}"#, &["2-4"]),
        (r#"{"class_all":"audio"}"#, &[]),
        (r#"{"class_all":"hid"}"#, &["1-1.1"]),
        (r#"{"class_none":"hid"}"#, &["1-1.2", "2-4"]),
        (r#"{"behind":"1-1"}"#, &["1-1.1", "1-1.2"]),
        (r#"{"behind":"1-*"}"#, &["1-1.1", "1-1.2"]),
        (r#"{"behind":"0x1a40:0x0101"}"#, &["1-1.1", "1-1.2"]),
        (r#"{"behind":"0x1a40:0x0102"}"#, &[]),
        (r#"{"min_speed":480}"#, &["1-1.2", "2-4"]),
        (r#"{"removable":"fixed"}"#, &["1-1.1"]),
        (r#"{"behind":"1-1","class_none":"hid","min_speed":"480"}"#, &["1-1.2"]),
    ] {
        assert_eq!(offered(&format!("[{rule}]"), &facts), want, "{rule}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_whatever_it_looks_at() {
    let facts = bus();
    assert_eq!(offered(r#"[{"behind":"1-1","driver":"usbhid","action":"deny"},{}]"#, &facts), ["1-1.2", "2-4"]);
    // Everything: hubs stay out.
    assert_eq!(offered("[{}]", &facts), ["1-1.1", "1-1.2", "2-4"]);
}

#[test]
fn a_circle_of_parents_ends() {
    let mut facts = bus();
    facts.devices[0].parent = Some("1-1.1".into());
    assert_eq!(offered(r#"[{"behind":"9-9"}]"#, &facts), Vec::<String>::new());
    assert_eq!(offered(r#"[{"behind":"1-1"}]"#, &facts), ["1-1.1", "1-1.2"]);
}

#[test]
fn names_and_nodes_are_no_conditions() {
    let named = Rule { group: Some("x".into()), nodes: Some(vec!["tty".into()]), ..Rule::default() };
    assert!(!named.has_condition());
    assert!(Rule { behind: Some(Hub::Port("1-1".into())), ..named }.has_condition());
}

#[test]
fn a_rule_that_decides_about_nothing_is_said_once() {
    let facts = bus();
    let config = r#"{"rule":[{"driver":"option"},{"class":"hid"},{}],"target_vendor_id":1,"target_product_id":1}"#;
    let said = || -> Vec<String> { testing::logged().into_iter().map(|(_, line)| line).collect() };
    let first = testing::group::<DefaultPolicy>(config, &facts).unwrap();
    assert_eq!(said(), ["rule[0] decides about no device that is here"]);
    let again = testing::group_again::<DefaultPolicy>(config, &facts, first.memory).unwrap();
    assert_eq!(said(), Vec::<String>::new());
    // It finds one and loses it: that was no typing error.
    let mut found = bus();
    found.devices[3].interfaces[0].driver = Some("option".into());
    let found = testing::group_again::<DefaultPolicy>(config, &found, again.memory).unwrap();
    let lost = testing::group_again::<DefaultPolicy>(config, &facts, found.memory).unwrap();
    assert_eq!(said(), Vec::<String>::new());
    // Another rule in its place is another one.
    let other = config.replace("option", "qcserial");
    testing::group_again::<DefaultPolicy>(&other, &facts, lost.memory).unwrap();
    assert_eq!(said(), ["rule[0] decides about no device that is here"]);
}

//! `yurt devices`: what is here, what of it is offered, and both again from a file.

use std::fs;

use yurt_conformance::place::Place;
use yurt_usb::facts::Snapshot;
use yurt_usb::sim::models;

/// What it prints; an error is the text that it ends with.
fn devices(place: &Place, arguments: &[&str]) -> Result<String, String> {
    let output = place.bare_command().arg("devices").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn bus() -> Place {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::hub(4)).unwrap();
    bus.plug("1-1.2", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::memory_stick()).unwrap();
    bus.set_attribute("1-2", "authorized", "0\n").unwrap();
    fs::write(place.root().join("rules.hcl"), "rule {\n driver = \"cp210x\"\n group = \"console\"\n}\nrule {}\n")
        .unwrap();
    place
}

#[test]
fn the_tree_says_by_port_what_is_offered_and_why_something_is_not_healthy() {
    let place = bus();
    let [usb, root] = place.args();
    let rules = place.root().join("rules.hcl").display().to_string();
    let tree = devices(&place, &[&usb, &root, "--config", &rules]).unwrap();
    let line = |key: &str| tree.lines().find(|line| line.trim_start().starts_with(&format!("{key} "))).unwrap();
    assert!(line("1-1.2").starts_with("    1-1.2"), "{tree}");
    assert!(line("1-1.2").ends_with("-> silicon-labs/usb/console  sn-0001"), "{tree}");
    assert!(line("1-2").contains(": not authorised"), "{tree}");
    assert!(!line("1-1").contains("->"), "{tree}");
    // Without rules there is nothing to say of offers.
    assert!(!devices(&place, &[&usb, &root]).unwrap().contains("->"));
}

#[test]
fn what_was_recorded_is_seen_again_elsewhere_without_serial_numbers_if_so_asked() {
    let place = bus();
    let [usb, root] = place.args();
    let file = |name: &str| place.root().join(name).display().to_string();
    let (plain, hashed, rules) = (file("plain.json"), file("hashed.json"), file("rules.hcl"));
    let said = devices(&place, &["record", &plain, &usb, &root]).unwrap();
    assert!(said.contains("4 devices"), "{said}");
    devices(&place, &["record", &hashed, "--hash-serials", &usb, &root]).unwrap();

    let here = devices(&place, &[&usb, &root, "--config", &rules]).unwrap();
    assert_eq!(devices(&place, &["--replay", &plain, "--config", &rules]).unwrap(), here);
    let facts: Snapshot = serde_json::from_str(&fs::read_to_string(&plain).unwrap()).unwrap();
    let serial = facts.devices.iter().find(|device| device.key == "1-2").unwrap().serial.clone().unwrap().text;
    let text = fs::read_to_string(&hashed).unwrap();
    assert!(!text.contains(&serial), "{text}");
    let tree = devices(&place, &["--replay", &hashed, "--config", &rules]).unwrap();
    assert!(tree.contains("silicon-labs/usb/console") && tree.contains("not authorised"), "{tree}");
    let explained = place.bare_command().args(["explain", "1-1.2", "--replay", &hashed]).output().unwrap();
    assert!(String::from_utf8(explained.stdout).unwrap().contains("offered as"));

    // A file is never written over, and one that is no record is told.
    assert!(devices(&place, &["record", &plain, &usb, &root]).unwrap_err().contains("plain.json"));
    let why = devices(&place, &["--replay", &rules]).unwrap_err();
    assert!(why.contains("rules.hcl") && why.contains("yurt devices record"), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");
}

use yurt_sdk::Value;
use yurt_sdk::facts::{Presence, SerialQuality, Snapshot};
use yurt_sdk::offer::{Health, Instance};
use yurt_sdk::testing::{self, Device, snapshot};

use crate::DefaultPolicy;

fn offered(rules: &str, facts: &Snapshot) -> Vec<Instance> {
    let config = format!(r#"{{"rule":{rules}}}"#);
    let offer = testing::group::<DefaultPolicy>(&config, facts).unwrap();
    offer.groups.into_iter().flat_map(|group| group.instances).collect()
}

/// Each instance as `id: members`.
fn units(rules: &str, facts: &Snapshot) -> Vec<String> {
    offered(rules, facts).iter().map(|one| format!("{}: {}", one.id, one.members.join(" "))).collect()
}

fn hub(port: &str, vendor: u16) -> Device {
    Device::new(port, vendor, 0x0101).class(9, 0, 0).with(|d| d.is_hub = true)
}

fn serial(port: &str, product: u16) -> Device {
    Device::new(port, 0x0403, product)
}

/// A fixture of two hubs, one in the other, with three devices; a device of the same kind elsewhere.
fn fixture() -> Vec<Device> {
    vec![
        hub("usb1", 0x1d6b),
        hub("1-1", 0x1a40),
        serial("1-1.1", 0x6001),
        hub("1-1.2", 0x1a40),
        serial("1-1.2.1", 0x6001),
        serial("1-1.2.2", 0x6010),
        serial("1-2", 0x6001),
    ]
}

#[test]
fn as_one_gathers_what_is_below_one_hub() {
    let facts = snapshot(fixture());
    for (rules, want) in [
        // The hub that a device is plugged into; a root hub makes no unit.
        (r#"[{"as_one":true}]"#, vec!["port-1-1.2: 1-1.2.1 1-1.2.2", "port-1-1: 1-1.1", "port-1-2: 1-2"]),
        // The farthest of those that `behind` names.
        (r#"[{"as_one":true,"behind":"0x1a40:0x0101"}]"#, vec!["port-1-1: 1-1.1 1-1.2.1 1-1.2.2"]),
        (r#"[{"as_one":true,"behind":"1-1"}]"#, vec!["port-1-1: 1-1.1 1-1.2.1 1-1.2.2"]),
        (
            r#"[{"as_one":true,"behind":"1-1.2"},{}]"#,
            vec!["port-1-1.1: 1-1.1", "port-1-1.2: 1-1.2.1 1-1.2.2", "port-1-2: 1-2"],
        ),
        // Several rules may bring their devices into one unit, and a hub that is offered is a member.
        (
            r#"[{"as_one":true,"behind":"1-1","product":"0x6010"},{"as_one":true,"behind":"1-1"}]"#,
            vec!["port-1-1: 1-1.1 1-1.2.1 1-1.2.2"],
        ),
        (
            r#"[{"class":"hub","port":"1-1"},{"as_one":true,"behind":"1-1"}]"#,
            vec!["port-1-1: 1-1 1-1.1 1-1.2.1 1-1.2.2"],
        ),
    ] {
        let mut have = units(rules, &facts);
        have.sort();
        assert_eq!(have, want, "{rules}");
    }
}

#[test]
fn the_hub_names_the_unit_the_first_rule_speaks_for_it_and_each_member_goes_by_its_own() {
    let mut devices = fixture();
    devices[1] = hub("1-1", 0x1a40).serial("FIX7", SerialQuality::Unique);
    devices[2] = serial("1-1.1", 0x6001).node("tty", "/dev/ttyUSB0");
    let facts = snapshot(devices);
    let config = r#"{"rule":[
        {"as_one":true,"behind":"1-1","product":"0x6001","group":"fixture","nodes":["tty","usb"],"attributes":{"rack":"b2"}},
        {"as_one":true,"behind":"1-1","group":"other"}]}"#;
    let group = testing::group::<DefaultPolicy>(config, &facts).unwrap().groups.remove(0);
    assert_eq!(group.name.name, "fixture");
    let [one] = group.instances.as_slice() else { panic!("{group:?}") };
    assert_eq!(one.id, "sn-FIX7");
    let value = |name: &str| group.attributes.iter().find(|a| a.name == name).map(|a| a.value.clone());
    assert_eq!(value("ports"), Some(Value::Text("1-1.1,1-1.2.1,1-1.2.2".into())));
    assert_eq!(value("rack"), Some(Value::Text("b2".into())));
}

#[test]
fn a_unit_is_as_well_as_its_members_and_no_better_when_some_are_missing() {
    let rules = r#"[{"as_one":true,"behind":"1-1","members":3}]"#;
    let health = |change: fn(&mut Vec<Device>)| {
        let mut devices = fixture();
        change(&mut devices);
        match offered(rules, &snapshot(devices)).remove(0).health {
            Health::Healthy => String::new(),
            Health::Unhealthy(reason) => reason,
        }
    };
    assert_eq!(health(|_| {}), "");
    assert_eq!(health(|all| drop(all.remove(2))), "incomplete: 2 of 3 devices are below 1-1");
    assert_eq!(health(|all| all[5].0.life.presence = Presence::Absent), "1-1.2.2: unplugged");
    assert!(health(|all| all[4].0.access.authorised = false).starts_with("1-1.2.1: not authorised"));
}

#[test]
fn shares_are_instances_of_the_same_device() {
    let stick = Device::new("1-1", 0x0781, 0x5581).serial("AB1", SerialQuality::Unique);
    let facts = snapshot([stick, Device::new("1-2", 0x0781, 0x5581)]);
    let all = offered(r#"[{"shares":3,"port":"1-1"},{}]"#, &facts);
    let ids: Vec<&str> = all.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["sn-AB1.share-1", "sn-AB1.share-2", "sn-AB1.share-3", "port-1-2"]);
    assert!(all[..3].iter().all(|one| one.share.as_deref() == Some("sn-AB1") && one.members == ["1-1"]));
    assert_eq!(all[3].share, None);
}

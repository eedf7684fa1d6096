//! What every offer goes through before an agent sees it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;

use yurt_nomad::attribute::{Attribute, Value};
use yurt_nomad::device::{Checked, Group, HEALTHY_COUNT, Health, Instance, validate};

fn instance(id: &str) -> Instance {
    Instance { id: id.to_owned(), health: Health::good(), pci_bus_id: None }
}

fn unhealthy(id: &str) -> Instance {
    Instance { health: Health::Unhealthy { reason: "gone".to_owned() }, ..instance(id) }
}

fn group(vendor: &str, kind: &str, name: &str, instances: Vec<Instance>) -> Group {
    Group {
        vendor: vendor.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        attributes: BTreeMap::new(),
        instances,
    }
}

fn good() -> Group {
    group("acme", "usb", "good", vec![instance("SN-good")])
}

fn with_attribute(name: &str, attribute: Attribute) -> Group {
    let mut group = group("acme", "usb", "bad", vec![instance("SN1")]);
    group.attributes.insert(name.to_owned(), attribute);
    group
}

fn count(group: &Group) -> Option<&Value> {
    group.attributes.get(HEALTHY_COUNT).map(|attribute| &attribute.value)
}

/// The bad group is refused with this reason, and the good ones on both sides of it are offered.
#[track_caller]
fn refused(bad: Group, reason: &str) {
    let other = group("zeta", "usb", "good", vec![instance("SN-other")]);
    let Checked { groups, refused } = validate(vec![good(), bad, other]);
    let names: Vec<&str> = groups.iter().map(|group| group.vendor.as_str()).collect();
    assert_eq!(names, ["acme", "zeta"], "{refused:?}");
    assert_eq!(groups[0].name, "good");
    let [refusal] = refused.as_slice() else { panic!("{refused:?}") };
    assert!(refusal.reason.contains(reason), "{refusal:?} should say {reason:?}");
    assert!(
        !refusal.group.chars().any(char::is_control) && !refusal.reason.chars().any(char::is_control),
        "{refusal:?}"
    );
}

#[test]
fn a_group_without_a_full_name_is_refused() {
    refused(group("", "usb", "x", vec![]), "its vendor \"\" is empty");
    refused(group("v", "", "x", vec![]), "its kind \"\" is empty");
    refused(group("v", "usb", "", vec![]), "its name \"\" is empty");
}

#[test]
fn a_name_that_a_request_could_not_say_is_refused() {
    refused(group("a/b", "usb", "x", vec![]), "vendor \"a/b\" holds a `/`");
    refused(group("a", "u/b", "x", vec![]), "kind \"u/b\" holds a `/`");
    refused(group("a", "usb", "x/y", vec![]), "name \"x/y\" holds a `/`");
    refused(group("a\u{1b}[31m", "usb", "x", vec![]), "control character");
    refused(group("a", "usb\n", "x", vec![]), "control character");
    refused(group("a", "usb", " x", vec![]), "begins or ends with a blank");
    refused(group("a", "usb", &"x".repeat(129), vec![]), "longer than 128");
}

#[test]
fn an_id_that_a_constraint_could_not_name_is_refused() {
    let with = |id: &str| group("acme", "usb", "bad", vec![instance("SN0"), instance(id)]);
    refused(with(""), "has no id");
    for id in ["a,b", "a b", "a/b", "a\n", "ä", "${x}", "a:b"] {
        refused(with(id), "holds something else than letters");
    }
    for id in ["1234", "0781", "03e7", "1e23", "2.00", "-5", "1_000", "inf", "NaN", "true", "T", "f", "5W", "12MB", "0"]
    {
        refused(with(id), "reads as a number or boolean");
    }
    refused(with(&"x".repeat(129)), "longer than 128");
    for id in ["0x0781", "046d", "SN.1_a-b", "12f7", "usb-1234"] {
        let checked = validate(vec![with(id)]);
        assert_eq!(checked.refused, [], "{id}");
    }
}

#[test]
fn an_id_stands_once_on_the_whole_node() {
    refused(group("acme", "usb", "bad", vec![instance("SN1"), instance("SN1")]), "the id \"SN1\" stands in it twice");
    refused(group("acme", "usb", "bad", vec![instance("SN-good")]), "\"SN-good\" stands in another group already");
    // Also in a second part of the same group.
    refused(good(), "\"SN-good\" stands in another group already");
    // A refused group takes no ids.
    let checked =
        validate(vec![group("", "usb", "x", vec![instance("SN1")]), group("a", "usb", "x", vec![instance("SN1")])]);
    assert_eq!((checked.groups.len(), checked.refused.len()), (1, 1));
}

#[test]
fn an_attribute_that_would_stop_the_plugin_is_refused() {
    refused(
        with_attribute("speed", Attribute::integer(480).in_unit("Mbit/s")),
        "\"Mbit/s\", which Nomad does not know",
    );
    refused(with_attribute("speed", Attribute::float(1.0).in_unit("")), "the unit \"\"");
    refused(with_attribute("model", Attribute::text("x").in_unit("W")), "is text and has a unit");
    refused(with_attribute("model", Attribute::flag(true).in_unit("W")), "is true or false and has a unit");
    refused(with_attribute("x", Attribute::float(f64::NAN)), "is NaN");
    refused(with_attribute("x", Attribute::float(f64::NEG_INFINITY)), "is -inf");
    refused(with_attribute("x", Attribute::text("a\u{0}b")), "control character");
    refused(with_attribute("x", Attribute::text("x".repeat(1025))), "longer than 1024");
    for name in ["", "a b", "a\tb", "a}", "${x}"] {
        refused(with_attribute(name, Attribute::integer(1)), "attribute");
    }
    refused(with_attribute(&"x".repeat(129), Attribute::integer(1)), "longer than 128");
    let mut many = good();
    many.name = "many".to_owned();
    many.instances.clear();
    many.attributes = (0..129).map(|n| (format!("a{n}"), Attribute::integer(n))).collect();
    refused(many, "more than 128 attributes");
}

#[test]
fn every_unit_of_nomad_is_taken_on_a_number() {
    for unit in yurt_nomad::attribute::UNITS {
        let checked = validate(vec![with_attribute("x", Attribute::integer(1).in_unit(unit.name))]);
        assert_eq!(checked.refused, [], "{}", unit.name);
    }
}

#[test]
fn too_many_groups_or_instances_are_refused_and_the_first_ones_stay() {
    let groups = (0..1030).map(|n| group("acme", "usb", &format!("g{n}"), vec![])).collect();
    let checked = validate(groups);
    assert_eq!((checked.groups.len(), checked.refused.len()), (1024, 6));
    let big = (0..4096).map(|n| instance(&format!("SN{n}"))).collect();
    let checked = validate(vec![group("acme", "usb", "big", big), good()]);
    assert_eq!(checked.groups.len(), 1);
    assert!(checked.refused[0].reason.contains("more than 4096 instances"), "{:?}", checked.refused);
}

#[test]
fn groups_of_one_name_are_merged() {
    let mut first = group("acme", "usb", "stick", vec![instance("b"), instance("a")]);
    first.attributes.insert("speed".to_owned(), Attribute::integer(480));
    let mut second = group("acme", "usb", "stick", vec![instance("c")]);
    second.attributes.insert("speed".to_owned(), Attribute::integer(480));
    second.attributes.insert("colour".to_owned(), Attribute::text("red"));
    let checked = validate(vec![first.clone(), second.clone()]);
    assert_eq!(checked.refused, []);
    let [merged] = checked.groups.as_slice() else { panic!("{checked:?}") };
    let ids: Vec<&str> = merged.instances.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(merged.attributes.keys().collect::<Vec<_>>(), ["colour", HEALTHY_COUNT, "speed"]);
    assert_eq!(count(merged), Some(&Value::Integer(3)));

    second.attributes.insert("speed".to_owned(), Attribute::integer(12));
    let checked = validate(vec![first, second]);
    assert_eq!(checked.groups[0].instances.len(), 2);
    assert!(checked.refused[0].reason.contains("\"speed\" has another value"), "{:?}", checked.refused);
}

#[test]
fn the_healthy_count_changes_the_group_when_health_does_and_stays_when_none_is_healthy() {
    let at = |instances| validate(vec![group("acme", "usb", "stick", instances)]).groups;
    let both = at(vec![instance("a"), instance("b")]);
    let one = at(vec![unhealthy("a"), instance("b")]);
    let none = at(vec![unhealthy("a"), unhealthy("b")]);
    assert_eq!(count(&both[0]), Some(&Value::Integer(2)));
    assert_eq!(count(&one[0]), Some(&Value::Integer(1)));
    assert_eq!(count(&none[0]), Some(&Value::Integer(0)));
    assert_ne!(one[0].attributes, none[0].attributes);
}

#[test]
fn the_healthy_count_is_the_hosts_whatever_the_plugin_says() {
    let mut lying = good();
    lying.attributes.insert(HEALTHY_COUNT.to_owned(), Attribute::text("many\n"));
    let checked = validate(vec![lying]);
    assert_eq!(checked.refused, []);
    assert_eq!(count(&checked.groups[0]), Some(&Value::Integer(1)));
}

#[test]
fn an_offer_is_the_same_whatever_its_order_and_checking_it_again_changes_nothing() {
    let groups = vec![
        group("b", "usb", "x", vec![instance("b1"), unhealthy("b2")]),
        group("a", "usb", "y", vec![instance("a2"), instance("a1")]),
        group("a", "usb", "x", vec![]),
    ];
    let mut reversed = groups.clone();
    reversed.reverse();
    reversed.iter_mut().for_each(|group| group.instances.reverse());
    let checked = validate(groups);
    assert_eq!(checked, validate(reversed));
    let names: Vec<String> = checked.groups.iter().map(|g| format!("{}/{}", g.vendor, g.name)).collect();
    assert_eq!(names, ["a/x", "a/y", "b/x"]);
    assert_eq!(validate(checked.groups.clone()), checked);
}

#[test]
fn health_texts_are_cleaned_and_bounded() {
    let mut one = good();
    one.instances = vec![
        Instance { health: Health::Unhealthy { reason: "over\u{1b}[31m\ncurrent".to_owned() }, ..instance("a") },
        Instance { health: Health::Healthy { note: "x".repeat(4096) }, ..instance("b") },
    ];
    let checked = validate(vec![one]);
    let [a, b] = checked.groups[0].instances.as_slice() else { panic!("{checked:?}") };
    assert_eq!(a.health, Health::Unhealthy { reason: "over [31m current".to_owned() });
    let Health::Healthy { note } = &b.health else { panic!("{b:?}") };
    assert!(note.chars().count() == 160 && note.ends_with('…'), "{note}");
}

#[test]
fn only_a_pci_bus_id_is_handed_on_as_one() {
    let mut one = good();
    let ids = [
        Some("0000:00:14.0"),
        Some("00:1f.7"),
        Some("10000:e1:00.0"),
        Some("usb1"),
        Some("0000:00:14.0\n"),
        Some(""),
        None,
    ];
    one.instances = ids
        .iter()
        .enumerate()
        .map(|(at, id)| Instance { pci_bus_id: id.map(str::to_owned), ..instance(&format!("i{at}")) })
        .collect();
    let checked = validate(vec![one]);
    let kept: Vec<Option<&str>> = checked.groups[0].instances.iter().map(|i| i.pci_bus_id.as_deref()).collect();
    assert_eq!(kept, [Some("0000:00:14.0"), Some("00:1f.7"), Some("10000:e1:00.0"), None, None, None, None]);
}

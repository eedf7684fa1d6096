use yurt_sdk::offer::Health;
use yurt_sdk::testing::{Device, group_again, snapshot};

use super::*;
use crate::DefaultPolicy;

const ALL: &str = r#"{"rule":[{}]}"#;

fn stick(port: &str, serial: &str, quality: SerialQuality) -> Device {
    Device::new(port, 0x12f7, 0x1e23).serial(serial, quality)
}

/// Ids by port, and the memory for the next look.
fn look(devices: Vec<Device>, memory: Option<String>) -> (Vec<(String, String)>, Option<String>) {
    let offer = group_again::<DefaultPolicy>(ALL, &snapshot(devices), memory).unwrap();
    let mut ids: Vec<(String, String)> =
        offer.groups.iter().flat_map(|g| &g.instances).map(|i| (i.members[0].clone(), i.id.clone())).collect();
    ids.sort();
    let mut unique: Vec<&String> = ids.iter().map(|(_, id)| id).collect();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "ids are unique: {ids:?}");
    for (_, id) in &ids {
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{id}");
        assert!(yurt_sdk::attribute::reads_as_text(id), "{id}");
    }
    (ids, offer.memory)
}

fn pairs(ids: &[(&str, &str)]) -> Vec<(String, String)> {
    ids.iter().map(|(port, id)| ((*port).to_owned(), (*id).to_owned())).collect()
}

#[test]
fn only_a_trusted_serial_makes_an_id_all_else_goes_by_its_place() {
    for (serial, quality, want) in [
        ("4C530001", SerialQuality::Unique, "sn-4C530001"),
        ("0781", SerialQuality::Unique, "sn-0781"),
        ("1e23", SerialQuality::Unique, "sn-1e23"),
        ("4C530001", SerialQuality::Shared, "port-1-1.4"),
        ("00000000", SerialQuality::Placeholder, "port-1-1.4"),
        ("", SerialQuality::Absent, "port-1-1.4"),
    ] {
        assert_eq!(
            look(vec![stick("1-1.4", serial, quality)], None).0,
            pairs(&[("1-1.4", want)]),
            "{serial} {quality:?}"
        );
    }
}

#[test]
fn a_device_that_changes_its_ids_stays_the_same_at_its_port() {
    let config = r#"{"rule":[{"modes":["0x12f7:0x1e23","0x12f7:0x1e24"],"vendor_name":"lab","group":"board"}]}"#;
    let boot = stick("1-1.4", "BOOT", SerialQuality::Unique);
    let runs = Device::new("1-1.4", 0x12f7, 0x1e24).serial("4C53", SerialQuality::Unique);
    let mut memory = None;
    for device in [boot.clone(), runs, boot] {
        let offer = group_again::<DefaultPolicy>(config, &snapshot(vec![device]), memory).unwrap();
        assert_eq!(
            (offer.groups[0].name.name.as_str(), offer.groups[0].instances[0].id.as_str()),
            ("board", "port-1-1.4")
        );
        memory = offer.memory;
    }
}

#[test]
fn serials_with_other_characters_stay_apart() {
    let ids: Vec<String> = ["A B", "A:B", "A_B", "Ä", "${x}", &"x".repeat(126), &"x".repeat(125)]
        .into_iter()
        .map(|serial| look(vec![stick("1-1", serial, SerialQuality::Unique)], None).0[0].1.clone())
        .collect();
    let mut distinct = ids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    assert_eq!(ids[2], "sn-A_B");
    assert!(ids.iter().all(|id| id.len() <= 80), "{ids:?}");
}

#[test]
fn an_id_by_serial_follows_the_device_to_another_port() {
    let (first, memory) = look(vec![stick("1-1", "S1", SerialQuality::Unique)], None);
    let (moved, _) = look(vec![stick("2-3", "S1", SerialQuality::Unique)], memory);
    assert_eq!((first, moved), (pairs(&[("1-1", "sn-S1")]), pairs(&[("2-3", "sn-S1")])));
}

#[test]
fn a_twin_never_takes_or_changes_the_id_of_the_one_that_was_there() {
    let (_, memory) = look(vec![stick("1-1", "S1", SerialQuality::Unique)], None);
    let both = || vec![stick("1-1", "S1", SerialQuality::Shared), stick("1-2", "S1", SerialQuality::Shared)];
    let (ids, memory) = look(both(), memory);
    assert_eq!(ids, pairs(&[("1-1", "sn-S1"), ("1-2", "port-1-2")]));
    // The first leaves, the plugin restarts and takes the twin's serial for a unique one: it stays what it was.
    let (ids, memory) = look(vec![stick("1-2", "S1", SerialQuality::Unique)], memory);
    assert_eq!(ids, pairs(&[("1-2", "port-1-2")]));
    // At a third port nobody can say which of the two it is.
    let (ids, memory) = look(vec![stick("1-3", "S1", SerialQuality::Unique)], memory);
    assert_eq!(ids, pairs(&[("1-3", "port-1-3")]));
    // The first is back at its port.
    let (ids, _) = look(both(), memory);
    assert_eq!(ids, pairs(&[("1-1", "sn-S1"), ("1-2", "port-1-2")]));
}

#[test]
fn twins_that_come_together_both_go_by_their_place() {
    let both = vec![stick("1-1", "S1", SerialQuality::Shared), stick("1-2", "S1", SerialQuality::Shared)];
    assert_eq!(look(both, None).0, pairs(&[("1-1", "port-1-1"), ("1-2", "port-1-2")]));
}

#[test]
fn two_products_with_one_serial_have_different_ids_that_last() {
    let other = || Device::new("1-2", 0x0781, 0x5567).serial("S1", SerialQuality::Unique);
    let (_, memory) = look(vec![stick("1-1", "S1", SerialQuality::Unique)], None);
    let (ids, memory) = look(vec![stick("1-1", "S1", SerialQuality::Unique), other()], memory);
    assert_eq!(ids, pairs(&[("1-1", "sn-S1"), ("1-2", "sn-S1.0781.5567")]));
    let (ids, memory) = look(vec![other()], memory);
    assert_eq!(ids, pairs(&[("1-2", "sn-S1.0781.5567")]));
    let (ids, _) = look(vec![stick("1-4", "S1", SerialQuality::Unique), other()], memory);
    assert_eq!(ids, pairs(&[("1-2", "sn-S1.0781.5567"), ("1-4", "sn-S1")]));
}

#[test]
fn memory_is_bounded_and_forgets_the_absent_first() {
    let mut memory = None;
    for round in 0..6 {
        let devices =
            (0..100).map(|n| stick(&format!("1-{n}"), &format!("{round}-{n:0>100}"), SerialQuality::Unique)).collect();
        memory = look(devices, memory).1;
    }
    let kept = memory.unwrap();
    assert!(kept.len() < 64 * 1024, "{}", kept.len());
    assert!(kept.contains(&format!("5-{:0>100}", 99)) && !kept.contains(&format!("3-{:0>100}", 99)));
}

#[test]
fn memory_of_another_version_counts_as_none() {
    for memory in ["[]", "7", "{\"ids\":7}", "{\"ids\":[{\"v\":70000}]}", "{", "{\"later\":true}"] {
        let (ids, _) = look(vec![stick("1-1", "S1", SerialQuality::Unique)], Some(memory.into()));
        assert_eq!(ids, pairs(&[("1-1", "sn-S1")]), "{memory}");
    }
}

#[test]
fn an_absent_device_keeps_its_id() {
    let absent =
        stick("1-1", "S1", SerialQuality::Unique).with(|d| d.life.presence = yurt_sdk::facts::Presence::Absent);
    let offer = group_again::<DefaultPolicy>(ALL, &snapshot([absent]), None).unwrap();
    assert_eq!(offer.groups[0].instances[0].id, "sn-S1");
    assert_eq!(offer.groups[0].instances[0].health, Health::Unhealthy("unplugged".into()));
}

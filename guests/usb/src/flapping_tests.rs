use yurt_sdk::facts::{Presence, Snapshot};
use yurt_sdk::offer::Health;
use yurt_sdk::testing::{self, Device, snapshot};

use crate::DefaultPolicy;

const RULES: &str = r#"{"rule":[{"unhealthy_if":["flapping"]}]}"#;

/// A device at 1-1 that has been there for so long, in this generation; none: it is not there.
fn at(generation: u32, milliseconds: u32) -> Snapshot {
    snapshot([Device::new("1-1", 0x0403, 0x6001).with(|d| {
        d.life.generation = generation;
        d.life.for_milliseconds = milliseconds;
    })])
}

/// Health after each of these looks, the memory handed on.
fn watched(looks: &[Snapshot]) -> Vec<Option<String>> {
    let mut memory = None;
    let mut all = Vec::new();
    for facts in looks {
        let offer = testing::group_again::<DefaultPolicy>(RULES, facts, memory.take()).unwrap();
        memory = offer.memory;
        let health = offer.groups.first().map(|group| group.instances[0].health.clone());
        all.push(match health {
            Some(Health::Unhealthy(reason)) => Some(reason),
            Some(Health::Healthy) => None,
            None => Some("not there".into()),
        });
    }
    all
}

#[test]
fn three_comings_and_goings_without_rest_are_flapping_until_a_minute_of_rest() {
    let looks =
        [at(1, 90_000), at(3, 100), at(5, 100), snapshot([]), at(7, 100), at(7, 59_000), at(7, 60_000), at(9, 5)];
    let seen = watched(&looks);
    let flaps: Vec<bool> = seen.iter().map(|why| why.as_ref().is_some_and(|why| why.starts_with("flapping"))).collect();
    assert_eq!(flaps, [false, false, false, false, true, true, false, false]);
    // The text does not change with the time.
    assert_eq!(seen[4], seen[5]);
}

#[test]
fn slow_changes_and_a_plugin_that_counts_anew_are_no_flapping() {
    let slow: Vec<Snapshot> = (0..20).map(|n| at(1 + 2 * n, 61_000)).collect();
    assert!(watched(&slow).iter().all(Option::is_none));
    let anew: Vec<Snapshot> = (0..20).map(|n| at(if n % 2 == 0 { 3 } else { 1 }, 100)).collect();
    assert_eq!(watched(&anew[..6]), vec![None; 6]);
}

#[test]
fn nothing_is_remembered_where_no_rule_asks_and_not_more_than_there_is_room_for() {
    let offer = testing::group::<DefaultPolicy>(r#"{"rule":[{}]}"#, &at(5, 1)).unwrap();
    assert!(!offer.memory.unwrap().contains("flapping"));
    let mut memory = None;
    for port in 1..=250 {
        let facts = snapshot([Device::new(&format!("1-{port}"), 1, 2)]);
        memory = testing::group_again::<DefaultPolicy>(RULES, &facts, memory).unwrap().memory;
    }
    let memory = memory.unwrap();
    assert!(memory.contains("\"1-250\"") && !memory.contains("\"1-1\"") && memory.len() < 20_000, "{}", memory.len());
}

#[test]
fn an_absent_device_says_that_first() {
    let facts = snapshot([Device::new("1-1", 1, 2).with(|d| d.life.presence = Presence::Absent)]);
    assert_eq!(watched(&[facts]), [Some("unplugged".to_owned())]);
}

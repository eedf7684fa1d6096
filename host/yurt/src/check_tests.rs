use super::*;

use std::sync::LazyLock;

use yurt_usb::sim::{Bus, models};
use yurt_usb::{Roots, scan};

/// A root hub with a serial adapter at 1-1 and a stick at 1-2.
static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots::simulated(dir.path());
    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::memory_stick()).unwrap();
    scan(&roots)
});

fn instance(id: &str, members: &[&str]) -> wit::Instance {
    wit::Instance {
        id: id.into(),
        members: members.iter().map(|key| (*key).to_owned()).collect(),
        share: None,
        health: wit::Health::Healthy,
    }
}

fn group(kind: &str, instances: Vec<wit::Instance>) -> wit::DeviceGroup {
    let name = wit::GroupName { vendor: "acme".into(), kind: kind.into(), name: "board".into() };
    wit::DeviceGroup { name, attributes: Vec::new(), instances }
}

fn answer(groups: Vec<wit::DeviceGroup>) -> wit::Offer {
    wit::Offer { groups, memory: None, ask_again_milliseconds: None }
}

/// Ids that were let through, and the reasons why others were not.
fn outcome(groups: Vec<wit::DeviceGroup>) -> (Vec<String>, String) {
    outcome_with(groups, Grants::default())
}

fn outcome_with(groups: Vec<wit::DeviceGroup>, grants: Grants) -> (Vec<String>, String) {
    let (offer, refused) = offer(&answer(groups), &SNAPSHOT, grants);
    let ids: Vec<String> =
        offer.groups.iter().flat_map(|group| &group.instances).map(|instance| instance.id.clone()).collect();
    assert_eq!(offer.instances.keys().cloned().collect::<Vec<_>>(), ids);
    (ids, refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn an_offer_of_devices_that_are_there_is_let_through_with_their_locality() {
    let facts = &*SNAPSHOT;
    let (offer, refused) = offer(
        &answer(vec![group("usb", vec![instance("a", &["1-1"]), instance("b", &["1-2"])])]),
        facts,
        Grants::default(),
    );
    assert_eq!(refused, []);
    let [group] = offer.groups.as_slice() else { panic!("{offer:?}") };
    assert_eq!(group.instances[0].pci_bus_id.as_deref(), Some("0000:00:14.0"));
    assert!(offer.instances["a"].members[0].holds_in(facts));
}

#[test]
fn a_kind_that_is_not_granted_is_refused_by_name() {
    let (ids, why) = outcome(vec![group("gpu", vec![instance("a", &["1-1"])])]);
    assert!(ids.is_empty() && why.contains("acme/gpu/board") && why.contains("\"gpu\" is not granted"), "{why}");
}

#[test]
fn instances_that_stand_for_nothing_for_strangers_or_for_somebody_elses_device_are_left_out_alone() {
    let (ids, why) = outcome(vec![group(
        "usb",
        vec![
            instance("good", &["1-1"]),
            instance("none", &[]),
            instance("stranger", &["2-1"]),
            instance("taken", &["1-1"]),
            instance("twice", &["1-2", "1-2"]),
            wit::Instance { share: Some("s".into()), ..instance("shared", &["1-2"]) },
            instance("hub", &["usb1"]),
        ],
    )]);
    assert_eq!(ids, ["good"]);
    for (id, word) in [
        ("none", "no device"),
        ("stranger", "\"2-1\""),
        ("taken", "another instance"),
        ("twice", "another instance"),
        ("shared", "grants { sharing = true }"),
        ("hub", "grants { root_hubs = true }"),
    ] {
        assert!(why.lines().any(|line| line.contains(&format!("{id:?}")) && line.contains(word)), "{id}: {why}");
    }
}

#[test]
fn with_a_grant_a_device_may_be_shared_within_one_share_and_a_root_hub_offered() {
    let share = |id: &str, of: Option<&str>| wit::Instance { share: of.map(str::to_owned), ..instance(id, &["1-1"]) };
    let offered = vec![group(
        "usb",
        vec![
            share("a", Some("s")),
            share("b", Some("s")),
            share("c", Some("other")),
            share("d", None),
            instance("hub", &["usb1"]),
        ],
    )];
    let (ids, why) = outcome_with(offered, Grants::ALL);
    assert_eq!(ids, ["a", "b", "hub"]);
    for id in ["\"c\"", "\"d\""] {
        assert!(why.lines().any(|line| line.contains(id) && line.contains("another instance")), "{why}");
    }
}

#[test]
fn an_instance_of_a_group_that_nomad_would_not_take_cannot_be_reserved_either() {
    let mut bad = group("usb", vec![instance("1234", &["1-1"])]);
    bad.name.name = "other".into();
    let (ids, why) = outcome(vec![bad, group("usb", vec![instance("b", &["1-2"])])]);
    assert_eq!(ids, ["b"]);
    assert!(why.contains("acme/usb/other"), "{why}");
}

#[test]
fn while_the_policy_fails_the_last_offer_stands_says_why_and_vouches_only_for_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots::simulated(dir.path());
    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::memory_stick()).unwrap();
    let (good, _) = offer(
        &answer(vec![group("usb", vec![instance("a", &["1-1"]), instance("b", &["1-2"])])]),
        &scan(&roots),
        Grants::default(),
    );

    bus.unplug("1-2").unwrap();
    let stands = standing(&good, &scan(&roots), "the policy cannot decide: full moon");
    let [group] = stands.groups.as_slice() else { panic!("{stands:?}") };
    let health: Vec<&Health> = group.instances.iter().map(|instance| &instance.health).collect();
    assert_eq!(health[0], &Health::Healthy { note: "the policy cannot decide: full moon".into() });
    let Health::Unhealthy { reason } = health[1] else { panic!("{health:?}") };
    assert!(reason.starts_with("unplugged"), "{reason}");
    assert_eq!(group.attributes["healthy_count"], yurt_nomad::attribute::Attribute::integer(1));
    assert_eq!(standing(&stands, &scan(&roots), "the policy cannot decide: full moon").groups, stands.groups);
}

#[test]
fn another_device_at_the_same_port_is_not_the_one_that_was_offered() {
    let facts = &*SNAPSHOT;
    let mut swapped = facts.clone();
    let at = swapped.devices.iter().position(|device| device.key == "1-1").unwrap();
    for change in [
        |device: &mut Device| device.life.generation += 1,
        |device: &mut Device| device.product_id += 1,
        |device: &mut Device| device.serial = None,
        |device: &mut Device| device.life.presence = Presence::Absent,
    ] {
        swapped.devices = facts.devices.clone();
        let device = std::sync::Arc::make_mut(&mut swapped.devices[at]);
        let before = Identity::of(device);
        change(device);
        assert!(before.holds_in(facts) && !before.holds_in(&swapped));
    }
}

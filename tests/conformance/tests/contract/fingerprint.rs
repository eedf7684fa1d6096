//! The stream of offers: at once, complete, in order, for ever.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use yurt_conformance::place::Place;
use yurt_nomad::attribute::{Value, matchable, unit};
use yurt_nomad::device::{Group, HEALTHY_COUNT, Health};
use yurt_usb::sim::{Bus, models};

use crate::agents::{EVERYTHING, ids, instances, next, serving, stays_open, until};

/// One of everything, two of one thing.
fn zoo(bus: &Bus) {
    bus.plug("1-1", &models::hub(4)).unwrap();
    for (port, model) in [
        ("1-1.1", models::cp2102()),
        ("1-1.2", models::memory_stick()),
        ("1-1.3", models::yubikey()),
        ("1-2", models::webcam()),
        ("1-3", models::network()),
        ("1-4", models::no_strings()),
        ("1-5", models::memory_stick().with_serial("0781")),
        ("1-6", models::memory_stick().with_serial("00E04C")),
    ] {
        bus.plug(port, &model).unwrap();
    }
}

fn name(group: &Group) -> (String, String, String) {
    (group.vendor.clone(), group.kind.clone(), group.name.clone())
}

#[tokio::test]
async fn without_a_bus_the_first_message_comes_at_once_is_empty_and_nothing_follows() {
    let place = Place::new();
    let mut launched = serving(&place, EVERYTHING).await;
    let called = Instant::now();
    let mut offers = launched.device.fingerprint().await.unwrap();
    assert_eq!(next(&mut offers).await, []);
    // Milliseconds; an agent's node is not registered before.
    assert!(called.elapsed() < Duration::from_secs(2), "{:?}", called.elapsed());
    stays_open(&mut offers).await;
}

#[tokio::test]
async fn the_first_message_comes_at_once_with_a_bus_too() {
    let place = Place::new();
    zoo(&place.bus());
    let mut launched = serving(&place, EVERYTHING).await;
    let called = Instant::now();
    let mut offers = launched.device.fingerprint().await.unwrap();
    next(&mut offers).await;
    assert!(called.elapsed() < Duration::from_secs(2), "{:?}", called.elapsed());
}

#[tokio::test]
async fn groups_and_instances_are_in_order_each_once_and_named_as_jobs_can_name_them() {
    let place = Place::new();
    zoo(&place.bus());
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let groups = until(&mut offers, |groups| instances(groups).len() == 8).await;

    let names: Vec<_> = groups.iter().map(name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    for group in &groups {
        assert!(group.instances.windows(2).all(|pair| pair[0].id < pair[1].id), "{group:#?}");
        for part in [&group.vendor, &group.kind, &group.name] {
            assert!(!part.is_empty() && !part.contains(['/', ' ', '$', '{']), "{part:?}");
        }
    }
    let all = ids(&groups);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    for id in all {
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{id:?}");
        let attribute = yurt_nomad::attribute::parse_literal(id);
        assert!(matches!(attribute.value, Value::Text(_)), "{id:?} reads as {attribute:?}");
    }
    let sticks = groups.iter().find(|group| group.vendor == "memorex-products-inc").expect("the sticks");
    assert_eq!(ids(std::slice::from_ref(sticks)), ["sn-00E04C", "sn-0781", "sn-5B1C07A2"]);
}

#[tokio::test]
async fn every_attribute_can_be_matched_by_a_literal_and_every_unit_is_nomads() {
    let place = Place::new();
    zoo(&place.bus());
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let groups = until(&mut offers, |groups| instances(groups).len() == 8).await;
    for group in &groups {
        assert!(group.attributes.len() > 5, "{group:#?}");
        for (name, attribute) in &group.attributes {
            assert!(matchable(attribute), "{name} = {attribute:?} of {:?}", self::name(group));
            assert!(attribute.unit.as_deref().is_none_or(|name| unit(name).is_some()), "{name} = {attribute:?}");
            assert!(!name.starts_with("unique."), "{name} would not count for the node's class");
        }
        let id = |name: &str| group.attributes.get(name).map(|attribute| attribute.value.clone());
        let Some(Value::Text(vendor)) = id("vendor_id") else { panic!("{group:#?}") };
        let Some(Value::Integer(number)) = id("vendor_id_number") else { panic!("{group:#?}") };
        assert_eq!(vendor, format!("0x{number:04x}"));
    }
}

#[tokio::test]
async fn the_number_of_healthy_instances_stands_in_the_group() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::memory_stick().with_serial("AA01")).unwrap();
    bus.plug("1-2", &models::memory_stick().with_serial("BB02")).unwrap();
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let healthy = |groups: &[Group], wanted: i64| match groups {
        [group] => group.attributes.get(HEALTHY_COUNT).is_some_and(|count| count.value == Value::Integer(wanted)),
        _ => false,
    };
    until(&mut offers, |groups| healthy(groups, 2)).await;

    for (text, wanted) in [("0", 1), ("1", 2)] {
        bus.set_attribute("1-2", "authorized", text).unwrap();
        bus.send("change", &bus.devpath("1-2").unwrap(), "usb", "DEVTYPE=usb_device").unwrap();
        let groups = until(&mut offers, |groups| healthy(groups, wanted)).await;
        let Health::Unhealthy { reason } = &groups[0].instances[1].health else { continue };
        assert!(wanted == 1 && reason.contains("not authorised"), "{reason}");
    }
}

#[tokio::test]
async fn a_hundred_of_a_kind_are_one_group() {
    let place = Place::new();
    let bus = place.bus();
    bus.set_pause(Duration::ZERO);
    for hub in 1..=7 {
        bus.plug(&format!("1-{hub}"), &models::hub(15)).unwrap();
    }
    for at in 0..100 {
        let model = models::cp2102().with_serial(format!("A-SERIAL-OF-SOME-LENGTH-{at:04}"));
        bus.plug(&format!("1-{}.{}", 1 + at / 15, 1 + at % 15), &model).unwrap();
    }
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let groups = until(&mut offers, |groups| instances(groups).len() == 100).await;
    assert_eq!(groups.len(), 1);
}

#[tokio::test]
async fn two_models_under_one_name_are_one_group() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::yubikey()).unwrap();
    let mut launched = serving(
        &place,
        "rule {\n vendor = \"0x10c4\"\n vendor_name = \"acme\"\n group = \"bench\"\n}\nrule {\n vendor_name = \"acme\"\n group = \"bench\"\n}",
    )
    .await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let groups = until(&mut offers, |groups| instances(groups).len() == 2).await;
    assert_eq!(groups.iter().map(name).collect::<Vec<_>>(), [("acme".into(), "usb".into(), "bench".into())]);
    assert_eq!(ids(&groups), ["port-1-2", "sn-0001"]);
}

#[tokio::test]
async fn the_locality_is_the_host_controllers() {
    let place = Place::new();
    place.bus().plug("1-1", &models::cp2102()).unwrap();
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let groups = until(&mut offers, |groups| instances(groups).len() == 1).await;
    assert_eq!(instances(&groups)[0].pci_bus_id.as_deref(), Some("0000:00:14.0"));
}

#[tokio::test]
async fn plug_unplug_and_replug_are_told_and_an_id_comes_back_with_its_device() {
    let place = Place::new();
    let bus = place.bus();
    let mut launched = serving(&place, EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    assert_eq!(next(&mut offers).await, []);
    for port in ["1-1", "1-7", "1-1"] {
        bus.plug(port, &models::memory_stick()).unwrap();
        until(&mut offers, |groups| ids(groups) == ["sn-5B1C07A2"] && instances(groups)[0].health.is_healthy()).await;
        bus.unplug(port).unwrap();
        until(&mut offers, <[Group]>::is_empty).await;
    }
    stays_open(&mut offers).await;
}

#[tokio::test]
async fn what_does_not_change_is_not_told_again() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    let mut launched = serving(&place, &format!("{EVERYTHING}\nfingerprint_period = \"100ms\"")).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| instances(groups).iter().any(|instance| instance.health.is_healthy())).await;
    // Some looks later, and after events that mean nothing.
    for _ in 0..20 {
        bus.send("change", &bus.devpath("1-1").unwrap(), "usb", "DEVTYPE=usb_device").unwrap();
    }
    stays_open(&mut offers).await;
}

#[tokio::test]
async fn every_stream_begins_with_the_offer_of_the_moment_and_one_more_harms_none() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    let mut launched = serving(&place, "rule {}").await;
    let mut first = launched.device.fingerprint().await.unwrap();
    let offered = until(&mut first, |groups| instances(groups).iter().any(|i| i.health.is_healthy())).await;
    let mut second = launched.device.fingerprint().await.unwrap();
    assert_eq!(next(&mut second).await, offered);
    drop(first);
    bus.plug("1-2", &models::yubikey()).unwrap();
    // Told early, a device has no nodes yet and a further message will say so.
    let complete = |group: &Group| group.attributes.contains_key("nodes") && group.attributes.contains_key("drivers");
    until(&mut second, |groups| groups.len() == 2 && groups.iter().all(complete)).await;
    drop(second);
    let mut third = launched.device.fingerprint().await.unwrap();
    assert_eq!(ids(&next(&mut third).await).len(), 2);
    stays_open(&mut third).await;
}

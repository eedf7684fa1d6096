//! What must hold of the built-in policy whatever devices there are: the compiled guest, held against the host's own checks.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use yurt_guest::{Runtime, Trial, UsbPolicy, usb as wit};
use yurt_usb::facts::{
    ClassCodes, Device, Interface, Label, NetworkInterface, Node, NodeKind, Presence, Removable, SerialQuality,
    Snapshot,
};
use yurt_usb::sim::{Bus, models};
use yurt_usb::{Roots, scan};

use crate::check::{self, Grants};
use crate::{choice, convert};

/// Everything but hubs is offered; one rule has names and attributes, one only some nodes.
const CONFIG: &str = r#"{"fingerprint_period":"10s","target_vendor_id":0,"target_product_id":0,"rule":[
    {"class":"hid","action":"deny"},
    {"subsystem":"tty","nodes":["tty"],"attributes":{"rack":"b2"},"group":"console","vendor_name":"lab"},
    {"behind":"1-8","min_speed":1,"group":"shelf","vendor_name":"lab","attributes":{"rack":"a1"}},
    {}]}"#;

/// What makes one instance of several devices, several of one, and a directory of nodes.
const UNITS: &str = r#"{"fingerprint_period":"10s","target_vendor_id":0,"target_product_id":0,"rule":[
    {"as_one":true,"behind":"1-8","members":2,"vendor_name":"lab","group":"fixture","expose":"mount"},
    {"subsystem":"hidraw","shares":3,"expose":"both"},
    {"unhealthy_if":["busy","degraded","duplicate_serial","flapping","no_serial","over_current","power_failed"],"expose":"both"}]}"#;

const CONFIGS: [&str; 2] = [CONFIG, UNITS];

static POLICY: LazyLock<UsbPolicy> = LazyLock::new(|| {
    let runtime = Runtime::new(yurt_guest::Options::default()).unwrap();
    let loaded = runtime.open(&choice::built_in("usb", false).unwrap()).unwrap();
    loaded.activate(&Trial { config: CONFIG }).unwrap()
});

/// A device as the reader makes it, to be changed.
static PLAIN: LazyLock<Device> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots::simulated(dir.path());
    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    bus.plug("1-1", &models::cp2102()).unwrap();
    Device::clone(scan(&roots).devices.iter().find(|device| device.key == "1-1").unwrap())
});

/// Strings that people's devices have, and worse.
fn text() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 13] =
        ["0001", "00000000", "A", "a", "sn-A", "5", "1e5", "true", "x,y", "${node}", "a/b c", "é漢", "12GB"];
    prop_oneof![
        4 => select(&KNOWN[..]).prop_map(str::to_owned),
        1 => "[ -~]{1,126}".prop_map(|text| text.trim().to_owned()),
        1 => "\\PC{1,40}".prop_map(|text| text.trim().to_owned()),
    ]
    .prop_filter("a label is not empty", |text| !text.is_empty())
}

fn label() -> impl Strategy<Value = Option<Label>> {
    option::of((text(), any::<bool>()).prop_map(|(text, cleaned)| Label { text, cleaned }))
}

fn nodes() -> impl Strategy<Value = Vec<(&'static str, u8)>> {
    vec((select(&["tty", "hidraw", "block", "video4linux", "input", "usbmisc"][..]), 0..4_u8), 0..6)
}

prop_compose! {
    /// A device somewhere; where that is comes later.
    fn device()(
        (vendor_id, product_id) in (select(&[0, 0x10c4, 0x1050, 0xffff][..]), select(&[0, 0x0001, 0xea60][..])),
        (manufacturer, product, serial) in (label(), label(), label()),
        (vendor_name, product_name) in (option::of(text()), option::of(text())),
        bases in vec(select(&[0_u8, 3, 8, 9, 0x0e, 0xff][..]), 0..5),
        nodes in nodes(),
        net in any::<bool>(),
        is_hub in prop::bool::weighted(0.1),
        (mbit, degraded, usb_release) in (select(&[0_u32, 12, 480, 5000][..]), any::<bool>(), any::<u16>()),
        removable in select(&[Removable::Unknown, Removable::Fixed, Removable::Removable][..]),
        presence in select(&[Presence::Present, Presence::Present, Presence::Settling, Presence::Absent][..]),
        (authorised, openable, configured) in (prop::bool::weighted(0.9), prop::bool::weighted(0.9), prop::bool::weighted(0.9)),
        numa_node in option::of(0..2_u32),
    ) -> Device {
        let mut device = PLAIN.clone();
        let usbfs = device.nodes[0].clone();
        device.nodes = vec![usbfs];
        device.nodes.extend(nodes.iter().enumerate().map(|(at, (subsystem, interface))| Node {
            path: format!("/dev/{subsystem}{at}"),
            kind: if *subsystem == "block" { NodeKind::Block } else { NodeKind::Character },
            subsystem: (*subsystem).to_owned(),
            of_interface: Some(*interface),
            position: u32::try_from(at).unwrap(),
            ..PLAIN.nodes[0].clone()
        }));
        device.interfaces = (0..).zip(&bases).map(|(number, base)| Interface {
            number,
            codes: ClassCodes { base: *base, sub: 0, protocol: 0 },
            ..PLAIN.interfaces[0].clone()
        }).collect();
        device.network = net.then(|| NetworkInterface { name: "eth1".into(), mac: "02:00:00:00:00:01".into(), of_interface: 0 })
            .into_iter().collect();
        device.codes = ClassCodes { base: if is_hub { 9 } else { 0 }, sub: 0, protocol: 0 };
        device.link.mbit = mbit;
        device.link.degraded = degraded;
        device.place.removable = removable;
        device.place.numa_node = numa_node;
        device.life.presence = presence;
        device.access.authorised = authorised;
        device.access.openable = openable;
        if !configured {
            device.configuration = None;
        }
        Device { vendor_id, product_id, usb_release, manufacturer, product, serial, vendor_name, product_name, is_hub, ..device }
    }
}

/// Each at a port of its own, in nobody's order; some of them behind a hub at 1-8.
fn plugged() -> impl Strategy<Value = Vec<Device>> {
    let bus = |bus: u8| (1..8_u8).map(move |port| (bus, vec![port]));
    let ports: Vec<(u8, Vec<u8>)> = bus(1).chain(bus(2)).chain((1..8).map(|port| (1, vec![8, port]))).collect();
    let ports = Just(ports).prop_shuffle();
    (vec(device(), 0..16), ports).prop_map(|(devices, ports)| {
        devices.into_iter().zip(ports).map(|(device, (bus, ports))| at(device, bus, &ports)).collect()
    })
}

fn at(mut device: Device, bus: u8, ports: &[u8]) -> Device {
    let key = |ports: &[u8]| match ports {
        [] => format!("usb{bus}"),
        ports => format!("{bus}-{}", ports.iter().map(u8::to_string).collect::<Vec<_>>().join(".")),
    };
    device.key = key(ports);
    device.parent = ports.split_last().map(|(_, above)| key(above));
    (device.place.bus, device.place.ports) = (bus, ports.to_vec());
    device
}

/// The hubs that are always there.
fn hubs() -> Vec<Device> {
    let mut hub = Device { is_hub: true, serial: None, ..PLAIN.clone() };
    hub.codes.base = 9;
    [(1, &[][..]), (2, &[]), (1, &[8])].map(|(bus, ports)| at(hub.clone(), bus, ports)).into()
}

/// As the reader would tell of these: in order, serials judged by each other.
fn facts(devices: &[Device]) -> Snapshot {
    let mut devices = [devices, &hubs()].concat();
    let serials: Vec<_> =
        devices.iter().map(|device| (device.vendor_id, device.product_id, device.serial.clone())).collect();
    for device in &mut devices {
        let own = (device.vendor_id, device.product_id, device.serial.clone());
        device.serial_quality = match &device.serial {
            None => SerialQuality::Absent,
            Some(serial) if serial.text.chars().all(|c| c == '0') => SerialQuality::Placeholder,
            Some(_) if serials.iter().filter(|other| **other == own).count() > 1 => SerialQuality::Shared,
            Some(_) => SerialQuality::Unique,
        };
    }
    devices.sort_by(|a, b| a.key.cmp(&b.key));
    Snapshot { number: 1, devices: devices.into_iter().map(Arc::new).collect(), trouble: Vec::new() }
}

fn asked(config: &str, facts: &Snapshot, memory: Option<&str>) -> wit::Offer {
    POLICY.group(config, &convert::snapshot(facts), memory).unwrap().unwrap()
}

/// By port.
fn ids(offer: &wit::Offer) -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in offer.groups.iter().flat_map(|group| &group.instances) {
        for key in &one.members {
            ids.entry(key.clone()).or_default().push(one.id.clone());
        }
    }
    ids
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_plugged_the_offer_is_one_that_nomad_takes(devices in plugged(), config in select(&CONFIGS[..])) {
        let facts = facts(&devices);
        let answer = asked(config, &facts, None);
        let (offer, refused) = check::offer(&answer, &facts, Grants { sharing: true, ..Grants::default() });
        prop_assert_eq!(refused, []);
        let offered: usize = answer.groups.iter().map(|group| group.instances.len()).sum();
        // By their ids, so none is there twice.
        prop_assert_eq!(offer.instances.len(), offered);
        for group in &offer.groups {
            prop_assert!(group.attributes.contains_key("healthy_count"));
        }
    }

    #[test]
    fn the_order_in_which_devices_are_told_of_is_nothing_to_their_ids(
        (devices, order) in plugged().prop_flat_map(|devices| {
            let all: Vec<usize> = (0..devices.len() + hubs().len()).collect();
            (Just(devices), Just(all).prop_shuffle())
        }),
        config in select(&CONFIGS[..]),
    ) {
        let first = facts(&devices);
        let shuffled = order.iter().map(|at| Arc::clone(&first.devices[*at])).collect();
        let other = Snapshot { devices: shuffled, ..first.clone() };
        prop_assert_eq!(ids(&asked(config, &first, None)), ids(&asked(config, &other, None)));
    }

    #[test]
    fn an_id_stays_with_its_device_while_others_come_and_go(
        devices in plugged(),
        gone in any::<Index>(),
        config in select(&CONFIGS[..]),
    ) {
        let mut memory: Option<String> = None;
        let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for count in 1..=devices.len() {
            let offer = asked(config, &facts(&devices[..count]), memory.as_deref());
            let now = ids(&offer);
            for (port, id) in &known {
                prop_assert_eq!(now.get(port), Some(id), "after {} came", &devices[count - 1].key);
            }
            (known, memory) = (now, offer.memory);
        }
        if !devices.is_empty() {
            let gone = gone.index(devices.len());
            let mut rest = devices.clone();
            rest.remove(gone);
            let without = asked(config, &facts(&rest), memory.as_deref());
            let again = asked(config, &facts(&devices), without.memory.as_deref());
            prop_assert_eq!(ids(&again), known, "after {} was plugged again", &devices[gone].key);
        }
    }

    #[test]
    fn a_reservation_names_nothing_but_its_members_nodes(
        devices in plugged(),
        which in any::<Index>(),
        config in select(&CONFIGS[..]),
    ) {
        let facts = facts(&devices);
        let answer = asked(config, &facts, None);
        let all: Vec<_> = answer.groups.iter().flat_map(|group| group.instances.iter().map(move |one| (group, one))).collect();
        if all.is_empty() {
            return Ok(());
        }
        let (group, instance) = all[which.index(all.len())];
        let asked = convert::snapshot(&facts);
        let Ok(reservation) = POLICY.reserve(config, &asked, &group.name, std::slice::from_ref(instance)).unwrap() else {
            // Whoever is not well is not handed out.
            prop_assert!(matches!(instance.health, wit::Health::Unhealthy(_)));
            return Ok(());
        };
        for node in &reservation.nodes {
            prop_assert!(instance.members.contains(&node.member), "{}", node.member);
            let member = facts.device(&node.member).unwrap();
            let granted = member.nodes.get(usize::try_from(node.node).unwrap());
            prop_assert!(granted.is_some());
            if group.name.name == "console" {
                prop_assert_eq!(granted.map(|node| node.subsystem.as_str()), Some("tty"));
            }
        }
        for env in &reservation.env {
            if let wit::EnvValue::NodePath(at) = env.value {
                prop_assert!(usize::try_from(at).unwrap() < reservation.nodes.len());
            }
        }
    }
}

/// The properties are about these rules, so each of them has to decide about something.
#[test]
fn each_rule_of_the_properties_finds_its_devices() {
    let of = |change: &dyn Fn(&mut Device), bus, ports: &[u8]| {
        let mut device = at(PLAIN.clone(), bus, ports);
        change(&mut device);
        let groups = asked(CONFIG, &facts(&[device]), None).groups;
        groups.into_iter().map(|group| group.name.name).collect::<Vec<_>>()
    };
    let raw = |device: &mut Device| device.nodes.truncate(1);
    assert_eq!(of(&|device| device.interfaces[0].codes.base = 3, 1, &[1]), Vec::<String>::new());
    assert_eq!(of(&|_| {}, 1, &[8, 1]), ["console"]);
    assert_eq!(of(&raw, 1, &[8, 1]), ["shelf"]);
    assert!(!["shelf", "console"].contains(&of(&raw, 1, &[1])[0].as_str()));

    let members: Vec<Device> = [1, 2].map(|port| at(PLAIN.clone(), 1, &[8, port])).into();
    let shared = Device {
        nodes: vec![Node { subsystem: "hidraw".into(), of_interface: Some(0), ..PLAIN.nodes[0].clone() }],
        ..at(PLAIN.clone(), 1, &[1])
    };
    let offer = asked(UNITS, &facts(&[members, vec![shared]].concat()), None);
    let instances: Vec<_> = offer.groups.iter().flat_map(|group| &group.instances).collect();
    assert_eq!(instances.iter().filter(|one| one.members.len() == 2).count(), 1, "{instances:?}");
    assert_eq!(instances.iter().filter(|one| one.id.contains(".share-")).count(), 3, "{instances:?}");
}

use yurt_sdk::facts::{SerialQuality, Snapshot};
use yurt_sdk::offer::{EnvValue, GroupName, Health, Instance, Reservation};
use yurt_sdk::testing::{self, Device, snapshot};

use crate::DefaultPolicy;

fn group() -> GroupName {
    GroupName { vendor: "memorex".into(), kind: "usb".into(), name: "td-2b".into() }
}

fn instance(id: &str, key: &str) -> Instance {
    Instance { id: id.into(), members: vec![key.into()], share: None, health: Health::Healthy }
}

fn reserve(facts: &Snapshot, reserved: &[Instance]) -> Result<Reservation, String> {
    testing::reserve::<DefaultPolicy>(r#"{"rule":[{}]}"#, facts, &group(), reserved)
}

/// The variable as the task sees it.
fn env(reservation: &Reservation, facts: &Snapshot, name: &str) -> Option<String> {
    let value = &reservation.env.iter().find(|env| env.name == name)?.value;
    Some(match value {
        EnvValue::Text(text) => text.clone(),
        EnvValue::NodePath(place) => {
            let grant = &reservation.nodes[*place as usize];
            facts.devices.iter().find(|d| d.key == grant.member).unwrap().nodes[grant.node as usize].path.clone()
        }
        EnvValue::MountPath(place) => format!("mount {place}"),
    })
}

fn modem(port: &str) -> Device {
    Device::new(port, 0x12f7, 0x1e23).node("tty", "/dev/ttyACM0").node("tty", "/dev/ttyACM1").with(|d| {
        d.network.push(yurt_sdk::facts::NetworkInterface {
            name: "wwan0".into(),
            mac: "02:00:00:00:00:01".into(),
            of_interface: 2,
        });
    })
}

#[test]
fn a_task_gets_every_node_and_variables_named_after_the_id() {
    let facts = snapshot([modem("1-1.4").serial("AB-1", SerialQuality::Unique)]);
    let reservation = reserve(&facts, &[instance("sn-AB-1", "1-1.4")]).unwrap();
    assert_eq!(
        reservation.nodes.iter().map(|n| (n.node, n.read, n.write, n.mknod)).collect::<Vec<_>>(),
        [(0, true, true, false), (1, true, true, false), (2, true, true, false)]
    );
    assert!(reservation.mounts.is_empty());
    for (name, want) in [
        ("YURT_USB_SN_AB_1_NODE", facts.devices[0].nodes[0].path.as_str()),
        ("YURT_USB_SN_AB_1_TTY", "/dev/ttyACM0"),
        ("YURT_USB_SN_AB_1_TTY_2", "/dev/ttyACM1"),
        ("YURT_USB_SN_AB_1_NET", "wwan0"),
        ("YURT_USB_SN_AB_1_PORT", "1-1.4"),
        ("YURT_USB_SN_AB_1_SERIAL", "AB-1"),
        ("YURT_USB_MEMOREX_TD_2B_IDS", "sn-AB-1"),
    ] {
        assert_eq!(env(&reservation, &facts, name).as_deref(), Some(want), "{name}");
    }
    let manifest = env(&reservation, &facts, "YURT_USB_MANIFEST_SN_AB_1").unwrap();
    let manifest: yurt_sdk::json::Value = yurt_sdk::json::from_str(&manifest).unwrap();
    assert_eq!(manifest["version"], 1);
    assert_eq!(manifest["group"], "memorex/usb/td-2b");
    assert_eq!(manifest["devices"][0]["id"], "sn-AB-1");
    assert_eq!(manifest["devices"][0]["nodes"][1]["path"], "/dev/ttyACM0");
    assert_eq!(manifest["devices"][0]["nodes"][0]["interface"], yurt_sdk::json::Value::Null);
}

#[test]
fn names_of_variables_are_fit_for_a_shell_and_never_twice_the_same() {
    let facts = snapshot([modem("1-1"), modem("1-2"), modem("1-3")]);
    let reserved = [instance("sn-a.b", "1-1"), instance("sn-A-B", "1-2"), instance("port-1-3", "1-3")];
    let reservation = reserve(&facts, &reserved).unwrap();
    let mut names: Vec<&str> = reservation.env.iter().map(|env| env.name.as_str()).collect();
    assert!(
        names.iter().all(|n| n.starts_with("YURT_USB_")
            && n.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
    );
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
    assert_eq!(env(&reservation, &facts, "YURT_USB_SN_A_B_2_PORT").as_deref(), Some("1-2"));
    assert_eq!(env(&reservation, &facts, "YURT_USB_MEMOREX_TD_2B_IDS").as_deref(), Some("sn-a.b,sn-A-B,port-1-3"));
}

#[test]
fn two_device_blocks_of_one_task_share_no_variable_but_the_groups_list() {
    let facts = snapshot([modem("1-1"), modem("1-2")]);
    let one = reserve(&facts, &[instance("port-1-1", "1-1")]).unwrap();
    let two = reserve(&facts, &[instance("port-1-2", "1-2")]).unwrap();
    let shared: Vec<&str> =
        one.env.iter().map(|e| e.name.as_str()).filter(|n| two.env.iter().any(|e| e.name == *n)).collect();
    assert_eq!(shared, ["YURT_USB_MEMOREX_TD_2B_IDS"]);
}

#[test]
fn what_left_or_broke_since_the_offer_is_refused_by_name() {
    let facts = snapshot([modem("1-1").with(|d| d.access.authorised = false)]);
    assert_eq!(reserve(&facts, &[instance("sn-X", "1-9")]).unwrap_err(), "sn-X: the device at 1-9 is gone");
    let broken = reserve(&facts, &[instance("port-1-1", "1-1")]).unwrap_err();
    assert!(broken.starts_with("port-1-1: the device at 1-1 cannot be used: not authorised"), "{broken}");
}

#[test]
fn nothing_reserved_is_nothing_granted() {
    let reservation = reserve(&snapshot([]), &[]).unwrap();
    assert!(reservation.env.is_empty() && reservation.nodes.is_empty() && reservation.mounts.is_empty());
}

#[test]
fn what_nomad_would_expand_reaches_the_task_in_the_manifest_only_and_as_it_is() {
    let facts = snapshot([modem("1-1.4").serial("a${node.id}b", SerialQuality::Unique)]);
    let reservation = reserve(&facts, &[instance("sn-a", "1-1.4")]).unwrap();
    assert_eq!(env(&reservation, &facts, "YURT_USB_SN_A_SERIAL"), None);
    let manifest = env(&reservation, &facts, "YURT_USB_MANIFEST_SN_A").unwrap();
    assert!(!manifest.contains("${"), "{manifest}");
    let manifest: yurt_sdk::json::Value = yurt_sdk::json::from_str(&manifest).unwrap();
    assert_eq!(manifest["devices"][0]["serial"], "a${node.id}b");
}

#[test]
fn a_manifest_too_long_for_a_variable_is_left_out_and_the_devices_are_not() {
    let ports: Vec<String> = (1..=99).map(|at| format!("1-{at}")).collect();
    let facts = snapshot(ports.iter().map(|port| modem(port)));
    let reserved: Vec<Instance> = ports.iter().map(|port| instance(&format!("port-{port}"), port)).collect();
    testing::logged();
    let reservation = reserve(&facts, &reserved).unwrap();
    assert_eq!(reservation.nodes.len(), 3 * 99);
    assert!(!reservation.env.iter().any(|env| env.name.contains("MANIFEST")));
    assert_eq!(testing::logged().len(), 1);
}

#[test]
fn a_rule_says_which_nodes_are_handed_out() {
    let facts = snapshot([modem("1-1.4")]);
    let by = |nodes: &str| {
        let config = format!(r#"{{"rule":[{{"vendor":"0x12f7","nodes":{nodes}}}]}}"#);
        testing::reserve::<DefaultPolicy>(&config, &facts, &group(), &[instance("sn-a", "1-1.4")]).unwrap()
    };
    let paths = |reservation: &Reservation| -> Vec<String> {
        let path = |node: u32| facts.devices[0].nodes[node as usize].path.clone();
        reservation.nodes.iter().map(|grant| path(grant.node)).collect()
    };
    let ttys = by(r#"["tty"]"#);
    assert_eq!(paths(&ttys), ["/dev/ttyACM0", "/dev/ttyACM1"]);
    assert_eq!(env(&ttys, &facts, "YURT_USB_SN_A_TTY_2").as_deref(), Some("/dev/ttyACM1"));
    assert_eq!(env(&ttys, &facts, "YURT_USB_SN_A_NODE"), None);
    assert_eq!(env(&ttys, &facts, "YURT_USB_SN_A_NET"), None);
    let manifest = env(&ttys, &facts, "YURT_USB_MANIFEST_SN_A").unwrap();
    assert!(
        manifest.contains("ttyACM1") && !manifest.contains("/dev/bus") && !manifest.contains("wwan0"),
        "{manifest}"
    );

    let raw = by(r#"["usb","net"]"#);
    assert_eq!(raw.nodes.len(), 1);
    assert_eq!(env(&raw, &facts, "YURT_USB_SN_A_NET").as_deref(), Some("wwan0"));
    assert!(env(&raw, &facts, "YURT_USB_SN_A_NODE").is_some());
}

#[test]
fn what_no_rule_offers_any_more_is_not_handed_out() {
    let facts = snapshot([modem("1-1.4")]);
    let config = r#"{"rule":[{"vendor":"0x12f7","driver":"option"}]}"#;
    let why = testing::reserve::<DefaultPolicy>(config, &facts, &group(), &[instance("sn-a", "1-1.4")]).unwrap_err();
    assert_eq!(why, "sn-a: no rule offers the device at 1-1.4 as it is now");
}

#[test]
fn a_rule_may_mount_a_directory_instead_of_devices_or_beside_them() {
    let facts = snapshot([modem("1-1.4"), modem("1-1.5")]);
    for (expose, devices) in [("mount", false), ("both", true)] {
        let config = format!(r#"{{"rule":[{{"port":"1-1.4"}},{{"expose":"{expose}"}}]}}"#);
        let reserved = [instance("port-1-1.4", "1-1.4"), instance("port-1-1.5", "1-1.5")];
        let reservation = testing::reserve::<DefaultPolicy>(&config, &facts, &group(), &reserved).unwrap();
        let [mount] = reservation.mounts.as_slice() else { panic!("{:?}", reservation.mounts) };
        assert_eq!((mount.instance_id.as_str(), mount.read_only, mount.devices), ("port-1-1.5", true, devices));
        assert_eq!(env(&reservation, &facts, "YURT_USB_PORT_1_1_5_DIR").as_deref(), Some("mount 0"));
        assert_eq!(env(&reservation, &facts, "YURT_USB_PORT_1_1_4_DIR"), None);
        // Granted either way: the host puts them where the mount says.
        assert_eq!(reservation.nodes.len(), 6);
    }
}

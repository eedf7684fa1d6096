use super::*;

use std::sync::LazyLock;

use crate::check;
use yurt_usb::sim::{Bus, models};
use yurt_usb::{Roots, scan};

/// A hub at 1-1 with a stick at 1-1.3 and a serial adapter at 1-1.1; the stick was offered as `stick`.
static OFFERED: LazyLock<(Snapshot, Offer)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots::simulated(dir.path());
    let bus = Bus::create(&roots).unwrap();
    bus.plug("usb1", &models::root_hub(4)).unwrap();
    bus.plug("1-1", &models::hub(4)).unwrap();
    bus.plug("1-1.1", &models::cp2102()).unwrap();
    bus.plug("1-1.3", &models::memory_stick()).unwrap();
    let facts = scan(&roots);
    let instance =
        wit::Instance { id: "stick".into(), members: vec!["1-1.3".into()], share: None, health: wit::Health::Healthy };
    let name = wit::GroupName { vendor: "acme".into(), kind: "usb".into(), name: "stick".into() };
    let answer = wit::Offer {
        groups: vec![wit::DeviceGroup { name, attributes: Vec::new(), instances: vec![instance] }],
        memory: None,
        ask_again_milliseconds: None,
    };
    let (offer, refused) = check::offer(&answer, &facts, Grants::default());
    assert_eq!(refused, []);
    (facts, offer)
});

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn grant(member: &str, node: u32) -> wit::NodeGrant {
    wit::NodeGrant { member: member.into(), node, task_path: None, read: true, write: true, mknod: true }
}

fn env(name: &str, value: wit::EnvValue) -> wit::GrantedEnv {
    wit::GrantedEnv { name: name.into(), value }
}

fn checked(answer: &wit::Reservation) -> Result<Reservation, String> {
    held_against(answer, Rights { grants: Grants::default(), folders: Some("/run/y") })
        .map(|checked| checked.reservation)
}

fn held_against(answer: &wit::Reservation, rights: Rights<'_>) -> Result<Checked, String> {
    let (facts, current) = &*OFFERED;
    let picked = pick(current, facts, &ids(&["stick"])).unwrap();
    let facts = wit::Snapshot { number: 1, devices: relevant(facts, &picked), trouble: Vec::new() };
    check(answer, &facts, &picked, rights)
}

fn directory() -> wit::MountGrant {
    wit::MountGrant { instance_id: "stick".into(), task_path: None, read_only: true, devices: true, modes: vec![] }
}

fn text(text: &str) -> wit::EnvValue {
    wit::EnvValue::Text(text.into())
}

fn nothing() -> wit::Reservation {
    wit::Reservation { env: Vec::new(), nodes: Vec::new(), mounts: Vec::new() }
}

#[test]
fn ids_that_are_unknown_repeated_or_stale_are_refused_by_name() {
    let (facts, current) = &*OFFERED;
    let mut facts = facts.clone();
    let refusal = |facts: &Snapshot, wanted: &[&str]| pick(current, facts, &ids(wanted)).unwrap_err().to_string();
    assert!(refusal(&facts, &["other"]).contains("\"other\""));
    assert!(refusal(&facts, &["stick", "stick"]).contains("twice"));
    facts.devices.retain(|device| device.key != "1-1.3");
    assert!(refusal(&facts, &["stick"]).contains("unplugged or replaced at port 1-1.3"));
}

#[test]
fn the_policy_is_told_of_the_members_and_the_hubs_above_them_only() {
    let (facts, current) = &*OFFERED;
    let picked = pick(current, facts, &ids(&["stick"])).unwrap();
    let keys: Vec<String> = relevant(facts, &picked).into_iter().map(|device| device.key).collect();
    assert_eq!(keys, ["1-1", "1-1.3", "usb1"]);
}

#[test]
fn nodes_and_their_paths_reach_the_task() {
    let answer = wit::Reservation {
        env: vec![env("YURT_NODE", wit::EnvValue::NodePath(0)), env("YURT_NOTE", text("$5 {x} ${} ${not closed"))],
        nodes: vec![
            grant("1-1.3", 0),
            wit::NodeGrant { task_path: Some("/dev/stick".into()), write: false, mknod: false, ..grant("1-1.3", 1) },
        ],
        mounts: Vec::new(),
    };
    let reservation = checked(&answer).unwrap();
    let [usb, disk] = reservation.devices.as_slice() else { panic!("{reservation:?}") };
    assert_eq!((usb.permissions.as_str(), disk.permissions.as_str()), ("rwm", "r"));
    assert_eq!((usb.task_path.as_str(), disk.task_path.as_str()), (usb.host_path.as_str(), "/dev/stick"));
    assert_eq!(reservation.envs["YURT_NODE"], usb.task_path);
    assert_eq!(disk.host_path, "/dev/sda");
}

#[test]
fn with_a_directory_nodes_have_paths_that_stay() {
    let answer = |devices: bool| wit::Reservation {
        env: vec![
            env("YURT_DIR", wit::EnvValue::MountPath(0)),
            env("YURT_NODE", wit::EnvValue::NodePath(0)),
            env("YURT_DISK", wit::EnvValue::NodePath(1)),
        ],
        nodes: vec![grant("1-1.3", 0), grant("1-1.3", 1)],
        mounts: vec![wit::MountGrant { devices, ..directory() }],
    };
    let with = |devices, folders| held_against(&answer(devices), Rights { grants: Grants::default(), folders });
    for (devices, nodes) in [(true, 2), (false, 0)] {
        let Checked { reservation, folders } = with(devices, Some("/run/y")).unwrap();
        let mount = Mount { task_path: "/run/y/stick".into(), host_path: "/run/y/stick".into(), read_only: true };
        assert_eq!((reservation.mounts, reservation.devices.len()), (vec![mount], nodes));
        assert_eq!(reservation.envs["YURT_DIR"], "/run/y/stick");
        assert_eq!(reservation.envs["YURT_NODE"], "/run/y/stick/usb");
        assert_eq!(reservation.envs["YURT_DISK"], "/run/y/stick/block");
        let names: Vec<&str> = folders[0].nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!((folders[0].id.as_str(), names), ("stick", vec!["usb", "block"]));
    }
    // Where there can be none, devices are handed out without, if the policy has any.
    let Checked { reservation, folders } = with(true, None).unwrap();
    assert!(folders.is_empty() && reservation.mounts.is_empty() && reservation.devices.len() == 2);
    assert_eq!(reservation.envs.get("YURT_DIR"), None);
    assert_eq!(reservation.envs["YURT_DISK"], "/dev/sda");
    assert!(with(false, None).unwrap_err().contains("in no other way"));
}

#[test]
fn a_mounted_disk_takes_a_grant() {
    let (facts, current) = &*OFFERED;
    let picked = pick(current, facts, &ids(&["stick"])).unwrap();
    let mut facts = wit::Snapshot { number: 1, devices: relevant(facts, &picked), trouble: Vec::new() };
    facts.devices.iter_mut().find(|device| device.key == "1-1.3").unwrap().nodes[1].in_use = true;
    let answer = wit::Reservation { nodes: vec![grant("1-1.3", 1)], ..nothing() };
    let with = |grants| check(&answer, &facts, &picked, Rights { grants, folders: None });
    let why = with(Grants::default()).unwrap_err();
    assert!(why.contains("/dev/sda") && why.contains("grants { mounted_disks = true }"), "{why}");
    assert_eq!(with(Grants::ALL).unwrap().reservation.devices.len(), 1);
}

#[test]
fn what_is_more_than_a_policy_may_hand_out_is_refused_by_name() {
    let at = |path: &str| wit::NodeGrant { task_path: Some(path.into()), ..grant("1-1.3", 0) };
    let mounts = |mounts: Vec<wit::MountGrant>| wit::Reservation { mounts, ..nothing() };
    let bare = wit::NodeGrant { read: false, write: false, mknod: false, ..grant("1-1.3", 0) };
    let nodes = |grant: wit::NodeGrant| wit::Reservation { nodes: vec![grant], ..nothing() };
    let envs = |all: Vec<wit::GrantedEnv>| wit::Reservation { env: all, ..nothing() };
    for (answer, words) in [
        (nodes(grant("1-1.1", 0)), "not a member"),
        (nodes(grant("1-1", 0)), "not a member"),
        (nodes(grant("1-1.3", 9)), "none of that number"),
        (nodes(at("/etc/passwd")), "below /dev"),
        (nodes(at("/dev/../etc/x")), "below /dev"),
        (nodes(at("/dev/")), "below /dev"),
        (nodes(bare), "without any permission"),
        (mounts(vec![wit::MountGrant { instance_id: "other".into(), ..directory() }]), "which is not reserved"),
        (mounts(vec![wit::MountGrant { read_only: false, ..directory() }]), "to be written to"),
        (mounts(vec![wit::MountGrant { task_path: Some("/etc/x".into()), ..directory() }]), "below /dev"),
        (mounts(vec![directory(), directory()]), "twice"),
        (envs(vec![env("PATH", text("x"))]), "begin with YURT_"),
        (envs(vec![env("YURT_A=B", text("x"))]), "begin with YURT_"),
        (envs(vec![env("YURT_A", text("a\0b"))]), "no environment can hold"),
        (envs(vec![env("YURT_A", text("${node.unique.id}"))]), "would expand"),
        (envs(vec![env("YURT_A", text("x")), env("YURT_A", text("y"))]), "twice"),
        (envs(vec![env("YURT_A", wit::EnvValue::NodePath(0))]), "does not grant"),
        (envs(vec![env("YURT_A", wit::EnvValue::MountPath(0))]), "does not grant"),
    ] {
        let why = checked(&answer).unwrap_err();
        assert!(why.contains(words), "{why:?} lacks {words:?}");
    }
}

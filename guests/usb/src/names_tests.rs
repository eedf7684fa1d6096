use yurt_sdk::offer::DeviceGroup;
use yurt_sdk::testing::{self, Device, group_again, snapshot};

use crate::DefaultPolicy;

fn named(groups: &[DeviceGroup]) -> Vec<String> {
    groups.iter().map(|g| format!("{}/{}/{} x{}", g.name.vendor, g.name.kind, g.name.name, g.instances.len())).collect()
}

fn names(config: &str, devices: Vec<Device>) -> Vec<String> {
    named(&testing::group::<DefaultPolicy>(config, &snapshot(devices)).unwrap().groups)
}

const ALL: &str = r#"{"rule":[{}]}"#;

#[test]
fn names_come_from_usb_ids_then_from_the_device_then_from_its_ids() {
    for (device, want) in [
        (Device::new("1-1", 0x12f7, 0x1e23).names("Memorex", "TD 2B"), "memorex/usb/td-2b x1"),
        (Device::new("1-1", 0x12f7, 0x1e23).names("Memorex", "").strings("ACME", "Stick/2"), "memorex/usb/stick-2 x1"),
        (Device::new("1-1", 0x12f7, 0x1e23).strings("ACME Inc.", "Board"), "acme-inc/usb/board x1"),
        (Device::new("1-1", 0x12f7, 0x1e23), "v12f7/usb/p1e23 x1"),
        (Device::new("1-1", 0x12f7, 0x1e23).names("株式会社", "2000"), "v12f7/usb/n-2000 x1"),
        (
            Device::new("1-1", 0x12f7, 0x1e23).names(&"x".repeat(100), "1e23"),
            &format!("{}/usb/n-1e23 x1", "x".repeat(61)),
        ),
    ] {
        assert_eq!(names(ALL, vec![device]), [want]);
    }
}

#[test]
fn equal_products_are_one_group_different_products_never_are() {
    let hub = |port: &str, product: u16| Device::new(port, 0x05e3, product).names("Genesys Logic, Inc.", "Card Reader");
    assert_eq!(
        names(ALL, vec![hub("1-1", 0x0700), hub("1-2", 0x0702), hub("1-3", 0x0700), hub("1-4", 0x0701)]),
        [
            "genesys-logic-inc/usb/card-reader x2",
            "genesys-logic-inc/usb/card-reader-0702 x1",
            "genesys-logic-inc/usb/card-reader-0701 x1"
        ]
    );
}

#[test]
fn a_name_once_given_stays_with_the_product() {
    let reader = |port: &str, product: u16| Device::new(port, 0x05e3, product).names("Genesys", "Card Reader");
    let first = testing::group::<DefaultPolicy>(ALL, &snapshot([reader("1-2", 0x0702)])).unwrap();
    assert_eq!(named(&first.groups), ["genesys/usb/card-reader x1"]);
    let both =
        group_again::<DefaultPolicy>(ALL, &snapshot([reader("1-1", 0x0700), reader("1-2", 0x0702)]), first.memory)
            .unwrap();
    assert_eq!(named(&both.groups), ["genesys/usb/card-reader-0700 x1", "genesys/usb/card-reader x1"]);
    let later = group_again::<DefaultPolicy>(ALL, &snapshot([reader("1-1", 0x0700)]), both.memory).unwrap();
    assert_eq!(named(&later.groups), ["genesys/usb/card-reader-0700 x1"]);
}

#[test]
fn two_vendors_whose_names_and_products_are_alike_stay_apart() {
    let make = |port: &str, vendor: u16| Device::new(port, vendor, 0x0001).names("Acme, Inc.", "Board");
    assert_eq!(
        names(ALL, vec![make("1-1", 0x1111), make("1-2", 0x2222), make("1-3", 0x3333)]),
        ["acme-inc/usb/board x1", "acme-inc/usb/board-0001 x1", "acme-inc/usb/board-3333-0001 x1"]
    );
}

#[test]
fn a_rule_names_a_group_of_several_products_and_nobody_else_gets_that_name() {
    let config = r#"{"rule":[{"class":"storage","group":"stick","vendor_name":"lab"},{"vendor_name":"lab"}]}"#;
    let storage = |port: &str, vendor: u16| Device::new(port, vendor, 1).interface(8, 6, 0x50, "usb-storage");
    let impostor = Device::new("1-3", 0x1111, 0x0042).names("", "Stick");
    assert_eq!(
        names(config, vec![storage("1-1", 0x12f7), storage("1-2", 0x0781), impostor]),
        ["lab/usb/stick x2", "lab/usb/stick-0042 x1"]
    );
}

#[test]
fn the_first_rule_that_matches_decides() {
    let stick = || {
        Device::new("1-1.4", 0x12f7, 0x1e23)
            .names("Memorex", "TD 2B")
            .strings("", "My Stick")
            .interface(8, 6, 0x50, "usb-storage")
            .serial("AB1", yurt_sdk::facts::SerialQuality::Unique)
    };
    for (rules, offered) in [
        (r#"{}"#, true),
        (r#"{"vendor":"0x12f7"}"#, true),
        (r#"{"vendor":"4855","product":"7715"}"#, true),
        (r#"{"vendor":"0x12f8"}"#, false),
        (r#"{"class":"storage"}"#, true),
        (r#"{"class":"08/06/50"}"#, true),
        (r#"{"class":"08/*/50"}"#, true),
        (r#"{"class":"08/06/62"}"#, false),
        (r#"{"class":"hid"}"#, false),
        (r#"{"serial":"AB?"}"#, true),
        (r#"{"serial":"ab?"}"#, false),
        (r#"{"port":"1-1.*"}"#, true),
        (r#"{"port":"2-*"}"#, false),
        (r#"{"name":"td*"}"#, true),
        (r#"{"name":"my st*"}"#, true),
        (r#"{"name":"memorex*"}"#, false),
        (r#"{"vendor":"0x12f7","class":"hid"}"#, false),
        (r#"{"port":"1-1.4","action":"deny"},{}"#, false),
        (r#"{"port":"1-1.5","action":"deny"},{}"#, true),
        (r#"{"class":"storage"},{"vendor":"0x12f7","action":"deny"}"#, true),
    ] {
        let config = format!(r#"{{"rule":[{rules}]}}"#);
        assert_eq!(!names(&config, vec![stick()]).is_empty(), offered, "{rules}");
    }
    let pair = r#"{"target_vendor_id":4855,"target_product_id":7715,"rule":[{"port":"1-9","action":"deny"}]}"#;
    assert_eq!(names(pair, vec![stick()]), ["memorex/usb/td-2b x1"]);
}

#[test]
fn a_condition_on_what_a_device_does_not_have_does_not_hold() {
    for rule in [r#"{"serial":"*"}"#, r#"{"name":"*"}"#] {
        assert_eq!(names(&format!(r#"{{"rule":[{rule}]}}"#), vec![Device::new("1-1", 1, 2)]), Vec::<String>::new());
    }
}

#[test]
fn hubs_are_offered_only_to_a_rule_that_names_their_class() {
    let hubs = || {
        vec![
            Device::new("usb1", 0x1d6b, 2).class(9, 0, 1).interface(9, 0, 0, "hub"),
            Device::new("1-1", 0x05e3, 0x0608).class(9, 0, 2),
        ]
    };
    for (rule, count) in [
        (r#"{}"#, 0),
        (r#"{"class":"*"}"#, 0),
        (r#"{"vendor":"0x1d6b"}"#, 0),
        (r#"{"class":"hub"}"#, 2),
        (r#"{"class":"09/00/02"}"#, 1),
        (r#"{"class":"hub","port":"usb*"}"#, 1),
    ] {
        assert_eq!(names(&format!(r#"{{"rule":[{rule}]}}"#), hubs()).len(), count, "{rule}");
    }
}

#[test]
fn without_rule_and_target_nothing_is_offered_and_that_is_left_to_the_check_to_say() {
    let facts = snapshot([Device::new("1-1", 0x12f7, 0x1e23)]);
    testing::logged();
    let offer = testing::group::<DefaultPolicy>("{}", &facts).unwrap();
    assert_eq!((offer.groups.len(), testing::logged()), (0, vec![]));
}

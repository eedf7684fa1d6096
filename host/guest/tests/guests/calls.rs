//! Calls into guests that are as they should be.

use std::time::Instant;

use yurt_guest::{Options, Runtime, Source, Trial, UsbPolicy, usb};

use crate::built;
use crate::make::Guest;

/// Snapshot 2: guests that behave in their trial do not here.
pub(crate) fn no_devices() -> usb::Snapshot {
    usb::Snapshot { number: 2, devices: Vec::new(), trouble: Vec::new() }
}

pub(crate) fn active(runtime: &Runtime, component: Vec<u8>) -> UsbPolicy {
    let source = Source::Embedded { name: "test", bytes: component.leak() };
    runtime.open(&source).unwrap().activate(&Trial::default()).unwrap()
}

#[test]
fn a_guest_answers_every_call() {
    let runtime = Runtime::new(Options::default()).unwrap();
    let policy = active(&runtime, Guest::quiet().component());
    assert_eq!((policy.about().name.as_str(), policy.about().version.as_str()), ("trial", "1.0.0"));
    assert_eq!(policy.check_config("{}").unwrap(), []);
    let offer = policy.group("{}", &no_devices(), Some("{}")).unwrap().unwrap();
    assert_eq!(offer, usb::Offer { groups: vec![], memory: None, ask_again_milliseconds: None });
    let group = usb::GroupName { vendor: "v".into(), kind: "usb".into(), name: "n".into() };
    let reservation = policy.reserve("{}", &no_devices(), &group, &[]).unwrap().unwrap();
    assert_eq!(reservation, usb::Reservation { env: vec![], nodes: vec![], mounts: vec![] });
    assert_eq!(policy.stats("{}", &[], &[]).unwrap().unwrap(), []);
}

#[test]
fn the_default_policy_answers_within_default_limits() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: &'static [u8] = built::component("usb").leak();
    for round in 0..3 {
        let start = Instant::now();
        let runtime =
            Runtime::new(Options { cache_dir: Some(dir.path().join("cache")), ..Options::default() }).unwrap();
        let made = start.elapsed();
        let loaded = runtime.open(&Source::Embedded { name: "usb", bytes }).unwrap();
        let opened = start.elapsed();
        let policy = loaded
            .activate(&Trial { config: r#"{"rule":[],"target_vendor_id":4292,"target_product_id":60000}"# })
            .unwrap();
        println!("round {round}: runtime {made:?}, described {opened:?}, active {:?}", start.elapsed());
        println!("{:?} {:?}", policy, policy.imports());
    }
}

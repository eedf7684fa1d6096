//! Devices that answer late, wrongly or not at all, beside one that is well.

use std::time::Duration;

use yurt_usb::sim::models;
use yurt_vm_usb::{Manners, Plugged};

use crate::stage::{port, serving};

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn a_dead_device_is_not_there_and_keeps_nobody_waiting() {
    let mut stage = serving("rule {}").await;
    let _dead = Plugged::new(0, &models::cp2102(), Manners { dead: true, ..Manners::default() }).unwrap();
    let _well = Plugged::new(1, &models::cp2102().with_serial("WELL"), Manners::default()).unwrap();
    stage.until_healthy(&["sn-WELL"]).await;
}

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn a_slow_device_is_offered_when_it_is_complete() {
    let mut stage = serving("rule {\n driver = \"cp210x\"\n}").await;
    let slow = Manners { slow: Duration::from_millis(150), ..Manners::default() };
    let _slow = Plugged::new(0, &models::cp2102(), slow).unwrap();
    stage.until_healthy(&["sn-0001"]).await;
    let reservation = stage.launched.device.reserve(vec!["sn-0001".into()]).await.unwrap();
    assert!(reservation.envs.contains_key("YURT_USB_SN_0001_TTY"), "{:?}", reservation.envs);
}

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn a_device_that_does_not_say_its_serial_number_is_known_by_its_port() {
    let id = format!("port-{}", port(0));
    let mut stage = serving("rule {}").await;
    let mute = Manners { mute_serial: true, ..Manners::default() };
    let _mute = Plugged::new(0, &models::cp2102(), mute).unwrap();
    stage.until_healthy(&[&id]).await;
}

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn a_device_whose_configuration_ends_early_is_what_the_kernel_makes_of_it() {
    let mut stage = serving("rule {}").await;
    // Without the interface, which would have had a driver.
    let short = Manners { short: Some(9), ..Manners::default() };
    let _short = Plugged::new(0, &models::cp2102().with_serial("SHORT"), short).unwrap();
    let _well = Plugged::new(1, &models::cp2102().with_serial("WELL"), Manners::default()).unwrap();
    stage.until_healthy(&["sn-SHORT", "sn-WELL"]).await;
    for (id, terminal) in [("SHORT", false), ("WELL", true)] {
        let reservation = stage.launched.device.reserve(vec![format!("sn-{id}")]).await.unwrap();
        let has = |what: &str| reservation.envs.contains_key(&format!("YURT_USB_SN_{id}_{what}"));
        assert!(has("NODE") && has("TTY") == terminal, "{:?}", reservation.envs);
    }
}

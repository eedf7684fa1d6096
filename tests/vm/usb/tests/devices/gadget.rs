//! A device of several functions, with strings that nobody should have.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};

use yurt_nomad::attribute::Value;
use yurt_vm_usb::{Gadget, Identity};

use crate::stage::serving;

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn a_device_of_several_functions_hands_out_each_of_them_whatever_it_calls_itself() {
    let mut stage =
        serving("rule {\n vendor = \"0x1d6b\"\n class_none = \"hub\"\n nodes = [\"tty\", \"block\"]\n}").await;
    let disk = std::env::temp_dir().join("gadget-disk");
    fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let identity = Identity {
        vendor_id: 0x1d6b,
        product_id: 0x0104,
        manufacturer: "Acme GmbH",
        product: "Kombi-Gerät \"5\" $x; rm -rf",
        serial: "é✓ ünï ${node.unique.id}",
    };
    let gadget = Gadget::new(&identity, &["acm.0", "mass_storage.0"], &disk).unwrap();
    let is = |name: &str, wanted: &str, groups: &[yurt_nomad::device::Group]| {
        let text = |value: &Value| matches!(value, Value::Text(text) if text.split(',').any(|one| one == wanted));
        groups.iter().any(|group| group.attributes.get(name).is_some_and(|value| text(&value.value)))
    };
    let groups = stage.until(|groups| is("nodes", "tty", groups) && is("nodes", "block", groups)).await;
    let id = groups[0].instances[0].id.clone();
    assert!(id.starts_with("sn-") && id.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{id}");
    assert!(is("drivers", "cdc_acm", &groups) && is("drivers", "usb-storage", &groups), "{groups:?}");

    let reservation = stage.launched.device.reserve(vec![id]).await.unwrap();
    let nodes: Vec<&str> = reservation.devices.iter().map(|device| device.host_path.as_str()).collect();
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    assert!(!reservation.envs.values().any(|value| value.contains("${")), "{:?}", reservation.envs);
    let tty = nodes.iter().find(|node| node.starts_with("/dev/ttyACM")).unwrap();
    // Somebody has to listen before the other end is written to.
    let reader = OpenOptions::new().read(true).write(true).open(tty).unwrap();
    OpenOptions::new().write(true).open("/dev/ttyGS0").unwrap().write_all(b"from the gadget\n").unwrap();
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    assert_eq!(line, "from the gadget\n");
    drop(gadget);
    stage.until_healthy(&[]).await;
}

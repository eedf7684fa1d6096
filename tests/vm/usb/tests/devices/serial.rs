//! Two serial adapters that say the same of themselves, and a security key.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;
use std::{fs, thread};

use yurt_usb::sim::models;
use yurt_vm_usb::{Manners, Plugged};

use crate::stage::{node_of, port, serving};

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn two_adapters_with_one_serial_number_are_told_apart_by_port_and_each_has_its_own_terminal() {
    let (first, second) = (port(0), port(1));
    let one = Plugged::new(0, &models::cp2102(), Manners::default()).unwrap();
    let two = Plugged::new(1, &models::cp2102(), Manners::default()).unwrap();
    [&first, &second].iter().for_each(|port| drop(node_of(port, "tty")));
    let mut stage = serving("rule {\n driver = \"cp210x\"\n}").await;
    let ids = [format!("port-{first}"), format!("port-{second}")];
    let groups = stage.until_healthy(&[&ids[0], &ids[1]]).await;
    assert_eq!(groups.len(), 1, "{groups:?}");

    for (device, port, id, word) in [(&one, &first, &ids[0], "first"), (&two, &second, &ids[1], "second")] {
        let reservation = stage.launched.device.reserve(vec![id.clone()]).await.unwrap();
        let stem = format!("YURT_USB_{}", id.replace('-', "_").to_uppercase());
        let tty = &reservation.envs[&format!("{stem}_TTY")];
        assert_eq!(tty, node_of(port, "tty").to_str().unwrap());
        let nodes: Vec<_> = reservation.devices.iter().map(|device| device.host_path.as_str()).collect();
        assert_eq!(nodes, [reservation.envs[&format!("{stem}_NODE")].as_str(), tty]);
        assert!(nodes.iter().all(|node| fs::metadata(node).unwrap().rdev() != 0));

        let mut terminal = fs::OpenOptions::new().read(true).write(true).open(tty).unwrap();
        device.send(format!("{word}\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(&terminal).read_line(&mut line).unwrap();
        assert_eq!(line, format!("{word}\n"));
        terminal.write_all(word.as_bytes()).unwrap();
        while !device.received().windows(word.len()).any(|part| part == word.as_bytes()) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    // An id that was given stays.
    drop(two);
    stage.until_healthy(&[&ids[0]]).await;
    drop(one);
    stage.until_healthy(&[]).await;
}

#[tokio::test]
#[ignore = "in the VM: just vm usb"]
async fn a_security_key_has_a_node_for_each_of_its_interfaces() {
    let port = port(2);
    let mut stage = serving("rule {\n vendor = \"0x1050\"\n}").await;
    let _key = Plugged::new(2, &models::yubikey(), Manners::default()).unwrap();
    let id = format!("port-{port}");
    stage.until_healthy(&[&id]).await;
    let reservation = stage.launched.device.reserve(vec![id.clone()]).await.unwrap();
    let stem = format!("YURT_USB_{}", id.replace('-', "_").to_uppercase());
    let (first, second) =
        (&reservation.envs[&format!("{stem}_HIDRAW")], &reservation.envs[&format!("{stem}_HIDRAW_2")]);
    for (node, report) in [(first, b"\x05\x01\x09\x06"), (second, b"\x06\xd0\xf1\x09")] {
        let name = node.strip_prefix("/dev/").unwrap();
        let descriptor = fs::read(format!("/sys/class/hidraw/{name}/device/report_descriptor")).unwrap();
        assert_eq!(descriptor[..4], report[..], "{node}");
        fs::File::open(node).unwrap();
    }
}

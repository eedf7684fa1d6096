//! Devices that people have, as their descriptors show them.

use super::model::{Child, Model, Setting};

fn device(vendor_id: u16, product_id: u16, speed: &'static str, settings: Vec<Setting>) -> Model {
    Model {
        usb_release: 0x0200,
        codes: [0; 3],
        vendor_id,
        product_id,
        device_release: 0x0100,
        manufacturer: None,
        product: None,
        serial: None,
        speed,
        ports: 0,
        attributes: 0x80,
        milliamps: 100,
        settings,
    }
}

fn hub_of(vendor_id: u16, product_id: u16, ports: u8) -> Model {
    let setting =
        Setting { codes: [9, 0, 0], endpoints: vec![(0x81, 3, 4, 12)], driver: Some("hub"), ..Setting::default() };
    Model {
        codes: [9, 0, 1],
        ports,
        attributes: 0xe0,
        milliamps: 0,
        ..device(vendor_id, product_id, "480", vec![setting])
    }
}

/// The kernel's own hub of a controller with this many ports.
#[must_use]
pub fn root_hub(ports: u8) -> Model {
    Model {
        device_release: 0x0601,
        manufacturer: Some(b"Linux 6.1.0 xhci-hcd".into()),
        product: Some(b"xHCI Host Controller".into()),
        serial: Some(b"0000:00:14.0".into()),
        ..hub_of(0x1d6b, 0x0002, ports)
    }
}

/// A plain hub.
#[must_use]
pub fn hub(ports: u8) -> Model {
    Model {
        product: Some(b"USB2.0 Hub".into()),
        milliamps: 100,
        device_release: 0x8564,
        ..hub_of(0x05e3, 0x0608, ports)
    }
}

/// A memory stick with one partition.
#[must_use]
pub fn memory_stick() -> Model {
    let disk = Child {
        path: "host#/target#:0:0/#:0:0:0/block/sd@",
        subsystem: "block",
        node: Some(("sd@", 8, 16, 0)),
        attributes: &[("size", "31260672"), ("removable", "1"), ("ro", "0")],
    };
    let partition = Child {
        path: "host#/target#:0:0/#:0:0:0/block/sd@/sd@1",
        subsystem: "block",
        node: Some(("sd@1", 8, 16, 1)),
        attributes: &[("partition", "1"), ("size", "31258624")],
    };
    let setting = Setting {
        codes: [8, 6, 0x50],
        endpoints: vec![(0x81, 2, 512, 0), (0x02, 2, 512, 0)],
        driver: Some("usb-storage"),
        children: vec![disk, partition],
        ..Setting::default()
    };
    Model {
        manufacturer: Some(b"Generic".into()),
        product: Some(b"Flash Disk".into()),
        serial: Some(b"5B1C07A2".into()),
        milliamps: 200,
        ..device(0x12f7, 0x1e23, "480", vec![setting])
    }
}

/// A serial adapter; all of them leave the factory with the serial `0001`.
#[must_use]
pub fn cp2102() -> Model {
    let port = Child { path: "ttyUSB#", subsystem: "usb-serial", node: None, attributes: &[("port_number", "0")] };
    let terminal =
        Child { path: "ttyUSB#/tty/ttyUSB#", subsystem: "tty", node: Some(("ttyUSB#", 188, 1, 0)), attributes: &[] };
    let setting = Setting {
        codes: [0xff, 0, 0],
        name: Some("CP2102 USB to UART Bridge Controller"),
        endpoints: vec![(0x81, 2, 64, 0), (0x01, 2, 64, 0)],
        driver: Some("cp210x"),
        children: vec![port, terminal],
        ..Setting::default()
    };
    Model {
        usb_release: 0x0110,
        manufacturer: Some(b"Silicon Labs".into()),
        product: Some(b"CP2102 USB to UART Bridge Controller".into()),
        serial: Some(b"0001".into()),
        ..device(0x10c4, 0xea60, "12", vec![setting])
    }
}

/// A security key: keyboard, FIDO, smart card (which no kernel driver takes).
#[must_use]
pub fn yubikey() -> Model {
    let hid = |number, codes, endpoints| Setting {
        number,
        codes,
        endpoints,
        driver: Some("usbhid"),
        children: vec![Child {
            path: "0003:1050:0407.000#/hidraw/hidraw#",
            subsystem: "hidraw",
            node: Some(("hidraw#", 245, 1, 0)),
            attributes: &[],
        }],
        ..Setting::default()
    };
    let card = Setting {
        number: 2,
        codes: [11, 0, 0],
        endpoints: vec![(0x02, 2, 64, 0), (0x82, 2, 64, 0), (0x83, 3, 8, 32)],
        ..Setting::default()
    };
    Model {
        manufacturer: Some(b"Yubico".into()),
        product: Some(b"YubiKey OTP+FIDO+CCID".into()),
        device_release: 0x0543,
        milliamps: 30,
        ..device(
            0x1050,
            0x0407,
            "12",
            vec![
                hid(0, [3, 1, 1], vec![(0x81, 3, 8, 10)]),
                hid(1, [3, 0, 0], vec![(0x04, 3, 64, 2), (0x84, 3, 64, 2)]),
                card,
            ],
        )
    }
}

/// A camera: two interfaces that are one function, the second with an alternate setting.
#[must_use]
pub fn webcam() -> Model {
    let video = Child {
        path: "video4linux/video#",
        subsystem: "video4linux",
        node: Some(("video#", 81, 1, 0)),
        attributes: &[("index", "0")],
    };
    let control = Setting {
        codes: [14, 1, 0],
        association: Some([2, 14, 3, 0]),
        endpoints: vec![(0x87, 3, 16, 6)],
        driver: Some("uvcvideo"),
        children: vec![video],
        ..Setting::default()
    };
    let stream = Setting { number: 1, codes: [14, 2, 0], driver: Some("uvcvideo"), ..Setting::default() };
    let open = Setting { alternate: 1, endpoints: vec![(0x81, 5, 0x13fc, 1)], ..stream.clone() };
    Model {
        codes: [0xef, 2, 1],
        product: Some("USB Camera é".into()),
        serial: Some(b"A1B2C3D0".into()),
        milliamps: 500,
        ..device(0x046d, 0x0825, "480", vec![control, stream, open])
    }
}

/// A network adapter.
#[must_use]
pub fn network() -> Model {
    let card = Child {
        path: "net/usb#",
        subsystem: "net",
        node: None,
        attributes: &[("address", "02:11:22:33:44:55"), ("ifindex", "7")],
    };
    let control = Setting {
        codes: [2, 6, 0],
        driver: Some("cdc_ether"),
        endpoints: vec![(0x81, 3, 16, 8)],
        children: vec![card],
        ..Setting::default()
    };
    let data = Setting {
        number: 1,
        codes: [10, 0, 0],
        driver: Some("cdc_ether"),
        endpoints: vec![(0x82, 2, 512, 0), (0x02, 2, 512, 0)],
        ..Setting::default()
    };
    device(0x0525, 0xa4a2, "480", vec![control, data])
}

/// A device that names neither maker, product nor serial and that no driver takes.
#[must_use]
pub fn no_strings() -> Model {
    device(0xcafe, 0x4001, "12", vec![Setting { codes: [0xff, 0, 0], ..Setting::default() }])
}

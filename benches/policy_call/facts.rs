//! Serial adapters with everything in the record: compiled once for the host's types and once for the bare side's.

use super::usb;

/// `devices` of them. (Converting a reader's snapshot into this form happens once per snapshot, not per call: it is part of neither side.)
pub fn snapshot(devices: usize) -> usb::Snapshot {
    let label = |text: String| Some(usb::Label { text, cleaned: false });
    let codes = usb::ClassCodes { base: 2, sub: 2, protocol: 1 };
    let device = |n: usize| usb::UsbDevice {
        key: format!("1-1.{n}"),
        parent: Some("1-1".into()),
        vendor_id: 0x10c4,
        product_id: 0xea60,
        device_release: 0x0100,
        usb_release: 0x0200,
        manufacturer: label("Silicon Labs".into()),
        product: label("CP2102 USB to UART Bridge Controller".into()),
        serial: label(format!("{n:08}")),
        serial_quality: usb::SerialQuality::Unique,
        vendor_name: Some("Silicon Labs".into()),
        product_name: Some("CP210x UART Bridge".into()),
        codes: usb::ClassCodes { base: 0, sub: 0, protocol: 0 },
        is_hub: false,
        place: usb::Place {
            bus: 1,
            address: 5,
            ports: vec![1, 4],
            controller: Some("0000:00:14.0".into()),
            numa_node: Some(0),
            removable: usb::Removable::Removable,
        },
        link: usb::Link { speed: usb::Speed::Full, mbit: 12, capable: usb::Speed::Full, degraded: false },
        configuration: Some(usb::Configuration {
            value: 1,
            self_powered: false,
            remote_wakeup: false,
            max_milliamps: 100,
        }),
        configurations: 1,
        interfaces: (0..2)
            .map(|number| usb::UsbInterface {
                number,
                alternate: 0,
                codes,
                name: Some("Enhanced Com Port".into()),
                function: Some(0),
                driver: Some("cp210x".into()),
                endpoints: (0..2)
                    .map(|at| usb::Endpoint {
                        address: 0x81 + at,
                        transfer: usb::Transfer::Bulk,
                        max_packet: 64,
                        interval: 0,
                    })
                    .collect(),
            })
            .collect(),
        nodes: ["usb_device", "tty"]
            .map(|subsystem| usb::Node {
                path: format!("/dev/{subsystem}{n}"),
                kind: usb::NodeKind::Character,
                major: 188,
                minor: 0,
                subsystem: subsystem.into(),
                of_interface: None,
                position: 0,
                links: vec![format!("/dev/serial/by-id/usb-Silicon_Labs_{n:08}-if00")],
                uid: 0,
                gid: 20,
                mode: 0o660,
                in_use: false,
            })
            .into(),
        network: Vec::new(),
        access: usb::Access { authorised: true, openable: true, over_current: false },
        power: usb::Power { state: usb::PowerState::Active, autosuspend_milliseconds: Some(2000) },
        life: usb::Life {
            presence: usb::Presence::Present,
            for_milliseconds: 60_000,
            generation: 1,
            replugs: 0,
            before: Vec::new(),
        },
        extra: Vec::new(),
    };
    usb::Snapshot { number: 2, devices: (0..devices).map(device).collect(), trouble: Vec::new() }
}

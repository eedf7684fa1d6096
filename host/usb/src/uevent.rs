//! Kernel uevents: what `NETLINK_KOBJECT_UEVENT` carries, as bytes from outside.
//!
//! Format (lib/kobject_uevent.c of the kernel): `action@devpath`, then `KEY=value` fields, each ended by a zero byte.
//! Messages of udev on the same family begin with `libudev` and are not ours.

use crate::key;

/// What happened to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It exists now.
    Add,
    /// It is gone.
    Remove,
    /// A driver took it; for a `usb_device`: all drivers that bind at once have bound.
    Bind,
    /// Its driver let go.
    Unbind,
    /// Something about it changed, `online`, `move` and anything unknown included.
    Change,
}

/// The parts of an event that say which device has to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent {
    /// What happened.
    pub action: Action,
    /// Path below `/sys`, begins with `/devices/`.
    pub devpath: String,
    /// `usb`, `tty`, …; empty where the kernel did not say.
    pub subsystem: String,
    /// `usb_device`, `usb_interface`, …; empty where there is none.
    pub devtype: String,
    /// The kernel's running number over *all* events of the machine.
    pub sequence: Option<u64>,
}

impl Uevent {
    /// Reads one datagram; none for anything that is not a kernel uevent. Never fails otherwise.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = bytes.split(|byte| *byte == 0).map(std::str::from_utf8);
        let (action, devpath) = fields.next()?.ok()?.split_once('@')?;
        if !devpath.starts_with('/') {
            return None;
        }
        let action = match action {
            "add" => Action::Add,
            "remove" => Action::Remove,
            "bind" => Action::Bind,
            "unbind" => Action::Unbind,
            _ => Action::Change,
        };
        let mut event = Self {
            action,
            devpath: devpath.to_owned(),
            subsystem: String::new(),
            devtype: String::new(),
            sequence: None,
        };
        // A field that is not UTF-8 (a made-up name) is none that we need.
        for (key, value) in fields.filter_map(|field| field.ok()?.split_once('=')) {
            match key {
                "SUBSYSTEM" => value.clone_into(&mut event.subsystem),
                "DEVTYPE" => value.clone_into(&mut event.devtype),
                "SEQNUM" => event.sequence = value.parse().ok(),
                _ => {}
            }
        }
        Some(event)
    }

    /// Key of the USB device that this is about: the device itself, or the nearest one above an interface, a terminal,
    /// a disk. None where no USB device is on the path.
    #[must_use]
    pub fn device_key(&self) -> Option<&str> {
        self.devpath.rsplit('/').find(|name| is_device_key(name))
    }

    /// This is about a USB device as a whole, not about a part of it.
    #[must_use]
    pub fn is_device(&self) -> bool {
        self.subsystem == "usb" && self.devtype == "usb_device"
    }
}

/// `usb1`, `1-4`, `1-4.2`: the kernel's names of USB devices (not `1-4:1.0`, an interface).
#[must_use]
pub fn is_device_key(name: &str) -> bool {
    key::is_device(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TTY: &[u8] =
        b"add@/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2/1-1.2:1.0/ttyUSB0/tty/ttyUSB0\0ACTION=add\0\
        SUBSYSTEM=tty\0DEVNAME=ttyUSB0\0SEQNUM=4711\0";

    #[test]
    fn a_terminal_belongs_to_the_nearest_device_above_it() {
        let event = Uevent::parse(TTY).unwrap();
        assert_eq!((event.action, event.subsystem.as_str(), event.sequence), (Action::Add, "tty", Some(4711)));
        assert_eq!(event.device_key(), Some("1-1.2"));
        assert!(!event.is_device());
    }

    #[test]
    fn messages_of_udev_and_events_of_other_buses_are_not_ours() {
        assert_eq!(Uevent::parse(b"libudev\0\xfe\xed\xca\xfe"), None);
        let pci = Uevent::parse(b"add@/devices/pci0000:00/0000:00:14.0\0SUBSYSTEM=pci\0").unwrap();
        assert_eq!(pci.device_key(), None);
    }

    #[test]
    fn interfaces_and_pci_addresses_are_not_device_keys() {
        assert!(["usb1", "1-4", "12-4.2.10"].iter().all(|name| is_device_key(name)));
        assert!(
            !["usb", "usbmon0", "1-0", "1-4:1.0", "1-", "-1", "1-4.", "0000:00:14.0", "usb1x"]
                .iter()
                .any(|name| is_device_key(name))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_failing(bytes: Vec<u8>) {
            if let Some(event) = Uevent::parse(&bytes) {
                prop_assert!(event.device_key().is_none_or(|key| event.devpath.contains(key)));
            }
        }
    }
}

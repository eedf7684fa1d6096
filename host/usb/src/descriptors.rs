//! Descriptors as a device sends them: the bytes of sysfs' `descriptors` and `bos_descriptors`.
//!
//! The bytes are the device's own and may be cut short or wrong in any way. Reading never fails: what stands before
//! the first piece that makes no sense is used. Layouts: USB 2.0 §9.6, USB 3.2 §9.6; associations: the ECN of 2003.

use crate::facts::{ClassCodes, Endpoint, Speed, Transfer};

const CONFIGURATION: u8 = 2;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
const ASSOCIATION: u8 = 11;
const DEVICE_CAPABILITY: u8 = 16;

/// More than any device can use: 255 configurations of 32 interfaces would be nonsense already.
const MAX_CONFIGURATIONS: usize = 32;
const MAX_SETTINGS: usize = 1024;
const MAX_ENDPOINTS: usize = 30;

/// The device descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceDescriptor {
    pub(crate) usb_release: u16,
    pub(crate) codes: ClassCodes,
    pub(crate) vendor_id: u16,
    pub(crate) product_id: u16,
    pub(crate) device_release: u16,
    pub(crate) configurations: u8,
}

/// One configuration with all alternate settings of its interfaces.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConfigurationDescriptor {
    pub(crate) value: u8,
    pub(crate) attributes: u8,
    /// `bMaxPower` as it stands: units of 2 mA, or of 8 mA at SuperSpeed.
    pub(crate) max_power: u8,
    pub(crate) settings: Vec<Setting>,
    /// First interface and number of interfaces of each association.
    pub(crate) associations: Vec<(u8, u8)>,
}

/// One alternate setting of one interface.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    pub(crate) number: u8,
    pub(crate) alternate: u8,
    pub(crate) codes: ClassCodes,
    pub(crate) has_name: bool,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// All that could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Descriptors {
    pub(crate) device: Option<DeviceDescriptor>,
    pub(crate) configurations: Vec<ConfigurationDescriptor>,
}

impl Descriptors {
    /// Reads sysfs' `descriptors`: the device descriptor, then each configuration with all that belongs to it.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut found = Self { device: DeviceDescriptor::parse(bytes), configurations: Vec::new() };
        let mut settings = 0;
        for (kind, body) in Pieces(bytes) {
            if kind == CONFIGURATION {
                if found.configurations.len() == MAX_CONFIGURATIONS {
                    break;
                }
                found.configurations.extend(ConfigurationDescriptor::parse(body));
                continue;
            }
            let Some(configuration) = found.configurations.last_mut() else { continue };
            match (kind, body) {
                (INTERFACE, &[_, _, number, alternate, _, base, sub, protocol, name, ..])
                    if settings < MAX_SETTINGS =>
                {
                    settings += 1;
                    let codes = ClassCodes { base, sub, protocol };
                    configuration.settings.push(Setting {
                        number,
                        alternate,
                        codes,
                        has_name: name != 0,
                        endpoints: Vec::new(),
                    });
                }
                (ENDPOINT, &[_, _, address, attributes, low, high, interval, ..]) => {
                    if let Some(setting) = configuration.settings.last_mut()
                        && setting.endpoints.len() < MAX_ENDPOINTS
                    {
                        setting.endpoints.push(Endpoint {
                            address,
                            transfer: transfer(attributes),
                            max_packet: u16::from_le_bytes([low, high]) & 0x07ff,
                            interval,
                        });
                    }
                }
                (ASSOCIATION, &[_, _, first, count, ..]) if configuration.associations.len() < 256 => {
                    configuration.associations.push((first, count));
                }
                _ => {}
            }
        }
        for setting in found.configurations.iter_mut().flat_map(|c| &mut c.settings) {
            setting.endpoints.sort_by_key(|endpoint| endpoint.address);
        }
        found
    }

    /// The configuration with this `bConfigurationValue`.
    pub(crate) fn configuration(&self, value: u8) -> Option<&ConfigurationDescriptor> {
        self.configurations.iter().find(|configuration| configuration.value == value)
    }
}

impl DeviceDescriptor {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let &[18..=255, 1, u0, u1, base, sub, protocol, _, v0, v1, p0, p1, d0, d1, _, _, _, configurations, ..] = bytes
        else {
            return None;
        };
        Some(Self {
            usb_release: u16::from_le_bytes([u0, u1]),
            codes: ClassCodes { base, sub, protocol },
            vendor_id: u16::from_le_bytes([v0, v1]),
            product_id: u16::from_le_bytes([p0, p1]),
            device_release: u16::from_le_bytes([d0, d1]),
            configurations,
        })
    }
}

impl ConfigurationDescriptor {
    fn parse(body: &[u8]) -> Option<Self> {
        let &[_, _, _, _, _, value, _, attributes, max_power, ..] = body else { return None };
        Some(Self { value, attributes, max_power, settings: Vec::new(), associations: Vec::new() })
    }

    /// The setting of an interface that has this alternate number.
    pub(crate) fn setting(&self, number: u8, alternate: u8) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.number == number && setting.alternate == alternate)
    }

    /// First interface of the function that this interface belongs to.
    pub(crate) fn function(&self, number: u8) -> Option<u8> {
        self.associations
            .iter()
            .find(|&&(first, count)| number >= first && number - first < count)
            .map(|&(first, _)| first)
    }
}

/// The fastest grade that a binary object store promises (USB 3.2 §9.6.2).
pub(crate) fn fastest(bos: &[u8]) -> Speed {
    let mut best = Speed::Unknown;
    for (kind, body) in Pieces(bos) {
        if kind != DEVICE_CAPABILITY {
            continue;
        }
        let speed = match *body {
            // SuperSpeed: wSpeedsSupported has a bit per grade, from low speed up.
            [_, _, 0x03, _, speeds, ..] => match speeds {
                s if s & 8 != 0 => Speed::Super,
                s if s & 4 != 0 => Speed::High,
                s if s & 2 != 0 => Speed::Full,
                _ => Speed::Unknown,
            },
            [_, _, 0x0a, ..] => Speed::SuperPlus,
            _ => continue,
        };
        best = best.max(speed);
    }
    best
}

fn transfer(attributes: u8) -> Transfer {
    match attributes & 3 {
        0 => Transfer::Control,
        1 => Transfer::Isochronous,
        2 => Transfer::Bulk,
        _ => Transfer::Interrupt,
    }
}

/// Descriptors one after the other: kind and the whole of it. Ends at the first that is too short or cut.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let &[length @ 2..=255, kind, ..] = self.0 else { return None };
        let (piece, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some((kind, piece))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CP2102: &[u8] = &[
        18, 1, 0x10, 0x01, 0, 0, 0, 64, 0xc4, 0x10, 0x60, 0xea, 0x00, 0x01, 1, 2, 3, 1, // device
        9, 2, 32, 0, 1, 1, 0, 0x80, 50, // configuration
        9, 4, 0, 0, 2, 0xff, 0, 0, 2, // interface
        7, 5, 0x81, 2, 64, 0, 0, 7, 5, 0x01, 2, 64, 0, 0, // endpoints
    ];

    #[test]
    fn a_serial_bridge_is_read_whole() {
        let read = Descriptors::parse(CP2102);
        let device = read.device.unwrap();
        assert_eq!(
            (device.vendor_id, device.product_id, device.usb_release, device.configurations),
            (0x10c4, 0xea60, 0x0110, 1)
        );
        let configuration = read.configuration(1).unwrap();
        assert_eq!((configuration.attributes, configuration.max_power), (0x80, 50));
        let setting = configuration.setting(0, 0).unwrap();
        assert_eq!(setting.codes.base, 0xff);
        assert!(setting.has_name);
        let addresses: Vec<u8> = setting.endpoints.iter().map(|e| e.address).collect();
        assert_eq!(addresses, [0x01, 0x81]);
    }

    #[test]
    fn a_cut_blob_gives_what_stands_before_the_cut() {
        let read = Descriptors::parse(&CP2102[..CP2102.len() - 3]);
        assert_eq!(read.configuration(1).unwrap().setting(0, 0).unwrap().endpoints.len(), 1);
        assert_eq!(Descriptors::parse(&CP2102[..30]).configuration(1).unwrap().settings, []);
        assert!(Descriptors::parse(&CP2102[..18]).device.is_some());
        assert_eq!(Descriptors::parse(&CP2102[..17]), Descriptors::default());
    }

    #[test]
    fn an_association_names_the_first_interface_of_its_function() {
        let blob = [CP2102, &[8, 11, 2, 2, 2, 2, 0, 0, 8, 11, 255, 9, 2, 2, 0, 0]].concat();
        let read = Descriptors::parse(&blob);
        let functions: Vec<_> = [0, 1, 2, 3, 4, 255].map(|n| read.configurations[0].function(n)).into();
        assert_eq!(functions, [None, None, Some(2), Some(2), None, Some(255)]);
    }

    #[test]
    fn the_object_store_tells_the_fastest_grade() {
        let header = [5, 15, 22, 0, 2];
        let lpm = [7, 16, 2, 2, 0, 0, 0];
        let superspeed = [10, 16, 3, 0, 0x0e, 0, 1, 10, 0, 0];
        assert_eq!(fastest(&[&header[..], &lpm].concat()), Speed::Unknown);
        assert_eq!(fastest(&[&header[..], &lpm, &superspeed].concat()), Speed::Super);
        assert_eq!(fastest(&[&header[..], &superspeed, &[20, 16, 10], &[0; 17]].concat()), Speed::SuperPlus);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let read = Descriptors::parse(&bytes);
            prop_assert!(read.configurations.len() <= MAX_CONFIGURATIONS);
            prop_assert!(read.configurations.iter().map(|c| c.settings.len()).sum::<usize>() <= MAX_SETTINGS);
            fastest(&bytes);
        }

        #[test]
        fn every_cut_of_a_good_blob_is_a_prefix_of_the_whole(cut in 0..CP2102.len(), noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            let whole = Descriptors::parse(CP2102);
            let part = Descriptors::parse(&CP2102[..cut]);
            prop_assert!(part.device.is_none() || part.device == whole.device);
            prop_assert!(part.configurations.len() <= whole.configurations.len());
            Descriptors::parse(&[&CP2102[..cut], &noise].concat());
        }
    }
}

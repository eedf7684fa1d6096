//! A USB device as its descriptors describe it, and the bytes that it would send (USB 2.0 §9.6).

/// What a simulated device is. All public: a test changes one field of a ready-made model.
#[derive(Debug, Clone)]
pub struct Model {
    /// `bcdUSB`.
    pub usb_release: u16,
    /// Class, subclass, protocol of the device descriptor.
    pub codes: [u8; 3],
    /// `idVendor`.
    pub vendor_id: u16,
    /// `idProduct`.
    pub product_id: u16,
    /// `bcdDevice`.
    pub device_release: u16,
    /// Manufacturer string as sysfs would show it; any bytes.
    pub manufacturer: Option<Vec<u8>>,
    /// Product string; any bytes.
    pub product: Option<Vec<u8>>,
    /// Serial string; any bytes.
    pub serial: Option<Vec<u8>>,
    /// `speed` as the kernel writes it: `1.5`, `12`, `480`, `5000`, `10000`, `20000`.
    pub speed: &'static str,
    /// Number of ports; 0 for anything but a hub.
    pub ports: u8,
    /// `bmAttributes` of the configuration: 0x80, 0xc0 self powered, 0xa0 remote wake-up.
    pub attributes: u8,
    /// Power that it asks for, in mA.
    pub milliamps: u16,
    /// Interfaces with all alternate settings, in the order of the configuration.
    pub settings: Vec<Setting>,
}

/// One alternate setting of an interface.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// `bInterfaceNumber`.
    pub number: u8,
    /// `bAlternateSetting`.
    pub alternate: u8,
    /// Class, subclass, protocol.
    pub codes: [u8; 3],
    /// Interface string.
    pub name: Option<&'static str>,
    /// This and the next interfaces are one function: their number, class, subclass, protocol.
    pub association: Option<[u8; 4]>,
    /// Address, attributes, packet size, interval of each endpoint.
    pub endpoints: Vec<(u8, u8, u16, u8)>,
    /// The driver that will bind.
    pub driver: Option<&'static str>,
    /// What the driver makes.
    pub children: Vec<Child>,
}

/// A device that a driver makes below an interface.
#[derive(Debug, Clone, Copy)]
pub struct Child {
    /// Path below the interface (or below the child before it); `#` stands for a free number, `@` for a letter.
    pub path: &'static str,
    /// Its subsystem.
    pub subsystem: &'static str,
    /// Name below `/dev`, major number, step between minors, first minor; none: no node.
    pub node: Option<(&'static str, u32, u32, u32)>,
    /// More attributes: name and text.
    pub attributes: &'static [(&'static str, &'static str)],
}

impl Model {
    /// What sysfs' `descriptors` holds: the device descriptor and the configuration.
    #[must_use]
    pub fn descriptors(&self) -> Vec<u8> {
        let index = |string: &Option<Vec<u8>>, index| if string.is_some() { index } else { 0 };
        let [base, sub, protocol] = self.codes;
        let packet = match self.speed {
            "1.5" => 8,
            "12" | "480" => 64,
            _ => 9,
        };
        let mut bytes = vec![18, 1];
        bytes.extend(self.usb_release.to_le_bytes());
        bytes.extend([base, sub, protocol, packet]);
        for word in [self.vendor_id, self.product_id, self.device_release] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend([index(&self.manufacturer, 1), index(&self.product, 2), index(&self.serial, 3), 1]);
        bytes.extend(self.configuration());
        bytes
    }

    fn configuration(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for setting in &self.settings {
            if let Some([count, base, sub, protocol]) = setting.association {
                body.extend([8, 11, setting.number, count, base, sub, protocol, 0]);
            }
            let [base, sub, protocol] = setting.codes;
            let endpoints = u8::try_from(setting.endpoints.len()).unwrap_or(u8::MAX);
            let name = if setting.name.is_some() { 4 } else { 0 };
            body.extend([9, 4, setting.number, setting.alternate, endpoints, base, sub, protocol, name]);
            for (address, attributes, packet, interval) in &setting.endpoints {
                let [low, high] = packet.to_le_bytes();
                body.extend([7, 5, *address, *attributes, low, high, *interval]);
            }
        }
        let total = u16::try_from(body.len() + 9).unwrap_or(u16::MAX).to_le_bytes();
        let mut bytes = vec![9, 2];
        bytes.extend(total);
        bytes.extend([self.interfaces(), 1, 0, self.attributes, self.max_power()]);
        bytes.extend(body);
        bytes
    }

    /// `bNumInterfaces`.
    #[must_use]
    pub fn interfaces(&self) -> u8 {
        u8::try_from(self.settings.iter().filter(|setting| setting.alternate == 0).count()).unwrap_or(u8::MAX)
    }

    fn max_power(&self) -> u8 {
        let unit = if self.speed.len() > 3 { 8 } else { 2 };
        u8::try_from(self.milliamps / unit).unwrap_or(u8::MAX)
    }

    /// The same device with another serial number.
    #[must_use]
    pub fn with_serial(mut self, serial: impl Into<Vec<u8>>) -> Self {
        self.serial = Some(serial.into());
        self
    }
}

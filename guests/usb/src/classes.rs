//! USB class codes: their names, and patterns over them (the class codes page of the USB-IF; names as people write them).

use yurt_sdk::facts::{ClassCodes, UsbDevice};

/// Base class and the name that a rule and an attribute use. The first name of a class is the one that is published.
const NAMES: [(u8, &str); 24] = [
    (0x01, "audio"),
    (0x02, "communications"),
    (0x02, "cdc"),
    (0x03, "hid"),
    (0x05, "physical"),
    (0x06, "image"),
    (0x07, "printer"),
    (0x08, "storage"),
    (0x08, "mass-storage"),
    (0x09, "hub"),
    (0x0a, "cdc-data"),
    (0x0b, "smart-card"),
    (0x0d, "content-security"),
    (0x0e, "video"),
    (0x0f, "healthcare"),
    (0x10, "audio-video"),
    (0x11, "billboard"),
    (0x12, "type-c-bridge"),
    (0xdc, "diagnostic"),
    (0xe0, "wireless"),
    (0xef, "miscellaneous"),
    (0xfe, "application"),
    (0xff, "vendor-specific"),
    (0xff, "vendor"),
];

/// The hub class.
pub(crate) const HUB: u8 = 9;

/// The published name of a base class; `0x42` for one without.
pub(crate) fn name(base: u8) -> String {
    NAMES.iter().find(|(code, _)| *code == base).map_or_else(|| format!("0x{base:02x}"), |(_, name)| (*name).to_owned())
}

/// Class codes as USB writes them: `08/06/50`.
pub(crate) fn triple(codes: ClassCodes) -> String {
    format!("{:02x}/{:02x}/{:02x}", codes.base, codes.sub, codes.protocol)
}

/// Every distinct triple of a device: its own, unless that says "look at the interfaces" (0) or "by association" (0xef), then those of
/// its interfaces.
pub(crate) fn of(device: &UsbDevice) -> Vec<ClassCodes> {
    let mut all: Vec<ClassCodes> = Vec::new();
    if !matches!(device.codes.base, 0 | 0xef) {
        all.push(device.codes);
    }
    for interface in &device.interfaces {
        if !all.contains(&interface.codes) {
            all.push(interface.codes);
        }
    }
    all
}

/// What a rule says of class codes; `None` matches any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClassPattern {
    base: Option<u8>,
    sub: Option<u8>,
    protocol: Option<u8>,
}

impl ClassPattern {
    /// Reads a name or one to three codes. The error is a message and, where there is a likely meaning, a hint.
    pub(crate) fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        let lower = text.trim().to_ascii_lowercase();
        if let Some((base, _)) = NAMES.iter().find(|(_, name)| *name == lower) {
            return Ok(Self { base: Some(*base), sub: None, protocol: None });
        }
        let mut codes = [None; 3];
        for (index, part) in lower.split('/').enumerate() {
            let code = codes
                .get_mut(index)
                .ok_or_else(|| ("at most three codes: class/subclass/protocol".to_owned(), None))?;
            *code = Self::code(part).map_err(|hint| {
                let allowed =
                    "allowed is a class name (\"storage\", \"hid\", \"video\", \"hub\", …), or two hexadecimal digits \
                               or * for class, subclass and protocol, \"08/06/50\""
                        .to_owned();
                (allowed, hint)
            })?;
        }
        let [base, sub, protocol] = codes;
        Ok(Self { base, sub, protocol })
    }

    fn code(part: &str) -> Result<Option<u8>, Option<String>> {
        if part == "*" {
            return Ok(None);
        }
        let digits = part.strip_prefix("0x").unwrap_or(part);
        if digits.len() == 2 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return u8::from_str_radix(digits, 16).map(Some).map_err(|_| None);
        }
        let one_digit = digits.len() == 1 && digits.chars().all(|c| c.is_ascii_hexdigit());
        Err(one_digit.then(|| format!("\"0{digits}\"")))
    }

    /// Whether the device itself or any of its interfaces has such codes.
    pub(crate) fn matches(self, device: &UsbDevice) -> bool {
        self.covers(device.codes) || device.interfaces.iter().any(|interface| self.covers(interface.codes))
    }

    /// Whether every interface has such codes; a device without one has not.
    pub(crate) fn matches_all(self, device: &UsbDevice) -> bool {
        !device.interfaces.is_empty() && device.interfaces.iter().all(|interface| self.covers(interface.codes))
    }

    /// Whether it asks for hubs by name, which alone makes them eligible.
    pub(crate) fn is_of_hubs(self) -> bool {
        self.base == Some(HUB)
    }

    fn covers(self, codes: ClassCodes) -> bool {
        let same = |want: Option<u8>, have: u8| want.is_none_or(|want| want == have);
        same(self.base, codes.base) && same(self.sub, codes.sub) && same(self.protocol, codes.protocol)
    }
}

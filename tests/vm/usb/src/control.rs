//! How a device answers on endpoint 0 (USB 2.0 §9.4), well or badly.

use std::thread::sleep;
use std::time::Duration;

use yurt_usb::sim::Model;

use crate::config::configuration;

/// What a device does wrong. Nothing unless told.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// Before each answer.
    pub slow: Duration,
    /// Answers nothing.
    pub dead: bool,
    /// Its configuration ends after so many bytes, whatever it says of its length.
    pub short: Option<usize>,
    /// Refuses to say its serial number, though it claims to have one.
    pub mute_serial: bool,
}

const GET_STATUS: u8 = 0;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;
const SET_CONFIGURATION: u8 = 9;
const GET_INTERFACE: u8 = 10;

const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const STRING: u8 = 3;
const REPORT: u8 = 0x22;

/// A keyboard's boot report and a FIDO key's (HID 1.11 appendix B; CTAP 2.1 §11.2.8.1).
const KEYBOARD: &[u8] = b"\x05\x01\x09\x06\xa1\x01\x05\x07\x19\xe0\x29\xe7\x15\x00\x25\x01\x75\x01\x95\x08\x81\x02\x95\x01\x75\x08\x81\x03\
\x95\x05\x75\x01\x05\x08\x19\x01\x29\x05\x91\x02\x95\x01\x75\x03\x91\x03\x95\x06\x75\x08\x15\x00\x25\x65\x05\x07\x19\x00\x29\x65\x81\x00\xc0";
const FIDO: &[u8] = b"\x06\xd0\xf1\x09\x01\xa1\x01\x09\x20\x15\x00\x26\xff\x00\x75\x08\x95\x40\x81\x02\x09\x21\x15\x00\x26\xff\x00\x75\x08\
\x95\x40\x91\x02\xc0";

/// Endpoint 0 of a device.
pub(crate) struct Control {
    model: Model,
    manners: Manners,
    configured: u8,
}

impl Control {
    pub(crate) fn new(model: Model, manners: Manners) -> Self {
        Self { model, manners, configured: 0 }
    }

    /// The bytes for an inward request, empty for an outward one; `None`: a stall.
    pub(crate) fn answer(&mut self, setup: [u8; 8]) -> Option<Vec<u8>> {
        let [kind, request, value, which, index, _, low, high] = setup;
        sleep(self.manners.slow);
        if self.manners.dead {
            return None;
        }
        let inward = kind & 0x80 != 0;
        let length = usize::from(u16::from_le_bytes([low, high]));
        match (kind & 0x60, request) {
            (0, GET_DESCRIPTOR) if kind & 0x1f == 1 && which == REPORT => {
                Some(if index == 0 { KEYBOARD } else { FIDO }.to_vec())
            }
            (0, GET_DESCRIPTOR) => self.descriptor(which, value),
            (0, SET_CONFIGURATION) => {
                self.configured = value;
                Some(Vec::new())
            }
            (0, GET_CONFIGURATION) => Some(vec![self.configured]),
            (0, GET_INTERFACE) => Some(vec![0]),
            (0, GET_STATUS) => Some(vec![0; 2]),
            (0, _) if !inward => Some(Vec::new()),
            // Of a class: zeros. Of a vendor: cp210x asks for the chip's number, and 2 is a CP2102; all else may be zero, too.
            (0x20, _) if inward => Some(vec![0; length]),
            (0x40, _) if inward => Some([&[2], vec![0; length].as_slice()].concat()[..length].to_vec()),
            (0x20 | 0x40, _) => Some(Vec::new()),
            _ => None,
        }
    }

    fn descriptor(&self, which: u8, number: u8) -> Option<Vec<u8>> {
        let model = &self.model;
        match (which, number) {
            (DEVICE, _) => Some(model.descriptors()[..18].to_vec()),
            (CONFIGURATION, 0) => {
                let mut bytes = configuration(model);
                bytes.truncate(self.manners.short.unwrap_or(bytes.len()));
                Some(bytes)
            }
            // American English, and nothing else.
            (STRING, 0) => Some(vec![4, STRING, 9, 4]),
            (STRING, 1) => string(model.manufacturer.as_deref()?),
            (STRING, 2) => string(model.product.as_deref()?),
            (STRING, 3) if !self.manners.mute_serial => string(model.serial.as_deref()?),
            (STRING, 4) => string(model.settings.iter().find_map(|setting| setting.name)?.as_bytes()),
            _ => None,
        }
    }
}

/// UTF-16, as devices have it.
fn string(text: &[u8]) -> Option<Vec<u8>> {
    let units: Vec<u8> = String::from_utf8_lossy(text).encode_utf16().take(126).flat_map(u16::to_le_bytes).collect();
    Some([&[u8::try_from(units.len() + 2).ok()?, STRING], units.as_slice()].concat())
}

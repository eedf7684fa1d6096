//! A configuration as a device serves it: the model's, and what drivers want to find in it besides.

use yurt_usb::sim::Model;

const INTERFACE: u8 = 4;
const HID: u8 = 3;

/// All descriptors of the model's one configuration, with the descriptor that `usbhid` looks for (HID 1.11 §6.2.1) behind each HID interface.
pub(crate) fn configuration(model: &Model) -> Vec<u8> {
    let bytes = &model.descriptors()[18..];
    let (mut all, mut rest, mut interface) = (Vec::new(), bytes, 0);
    while let [length, kind, ..] = *rest {
        let (piece, after) = rest.split_at(usize::from(length));
        all.extend(piece);
        rest = after;
        if kind == INTERFACE && piece[5] == HID {
            let report: u8 = if interface == 0 { 63 } else { 34 };
            all.extend([9, 0x21, 0x11, 0x01, 0, 1, 0x22, report, 0]);
        }
        interface += u8::from(kind == INTERFACE);
    }
    let total = u16::try_from(all.len()).unwrap_or(u16::MAX).to_le_bytes();
    all[2..4].copy_from_slice(&total);
    all
}

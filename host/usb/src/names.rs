//! Names of vendors and products by number, from the usb.ids table that is built in.

use usb_ids::{Device, FromId, Vendor};

/// The vendor's name; none where the table has not heard of it.
pub(crate) fn vendor(vendor_id: u16) -> Option<String> {
    Vendor::from_id(vendor_id).map(|vendor| vendor.name().to_owned())
}

/// The product's name; none where the table has not heard of it.
pub(crate) fn product(vendor_id: u16, product_id: u16) -> Option<String> {
    Device::from_vid_pid(vendor_id, product_id).map(|device| device.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_names_and_unknown_ones_have_none() {
        assert_eq!(vendor(0x10c4).as_deref(), Some("Silicon Labs"));
        assert_eq!(product(0x10c4, 0xea60).as_deref(), Some("CP210x UART Bridge"));
        assert_eq!(product(0x10c4, 0x0000), None);
        assert_eq!(vendor(0x0000), None);
    }
}

//! Names of vendors and products by number, from the usb.ids table that is built in (packed by `build.rs`).

/// Entries of eight bytes, little endian and sorted: vendor, product plus one or 0 (17 bits), place of the name (24 bits).
const INDEX: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/usb.ids.index"));
/// One a line.
const NAMES: &str = include_str!(concat!(env!("OUT_DIR"), "/usb.ids.names"));
const PLACE_BITS: u32 = 24;

/// The vendor's name; none where the table has not heard of it.
pub(crate) fn vendor(vendor_id: u16) -> Option<String> {
    find(u64::from(vendor_id) << 17)
}

/// The product's name; none where the table has not heard of it.
pub(crate) fn product(vendor_id: u16, product_id: u16) -> Option<String> {
    find(u64::from(vendor_id) << 17 | (u64::from(product_id) + 1))
}

fn find(key: u64) -> Option<String> {
    let (entries, _) = INDEX.as_chunks::<8>();
    let at = entries.binary_search_by_key(&key, |entry| u64::from_le_bytes(*entry) >> PLACE_BITS).ok()?;
    let place = u64::from_le_bytes(*entries.get(at)?) & ((1 << PLACE_BITS) - 1);
    let name = NAMES.get(usize::try_from(place).ok()?..)?.lines().next()?;
    Some(name.to_owned())
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

    #[test]
    fn every_name_of_the_table_is_found() {
        for known in usb_ids::Vendors::iter() {
            assert_eq!(vendor(known.id()).as_deref(), Some(known.name()));
            for device in known.devices() {
                assert_eq!(product(known.id(), device.id()).as_deref(), Some(device.name()));
            }
        }
    }
}

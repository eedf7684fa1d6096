//! Packs usb.ids into two files without pointers. As Rust statics the table would be forty thousand relocations, which every start of
//! the plugin would have to work off, and a megabyte of memory that no two processes share.

use std::path::PathBuf;
use std::{env, fs, io};

/// A name is found by vendor and product id; a vendor's own has no product.
type Entry = (u16, Option<u16>, &'static str);

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or_else(|| io::Error::other("cargo did not set OUT_DIR"))?;
    let vendors = || usb_ids::Vendors::iter();
    let names = vendors().map(|vendor| (vendor.id(), None, vendor.name()));
    let products =
        vendors().flat_map(|vendor| vendor.devices().map(|device| (vendor.id(), Some(device.id()), device.name())));
    let mut entries: Vec<Entry> = names.chain(products).collect();
    entries.sort_unstable();

    let (mut index, mut text) = (Vec::new(), String::new());
    for (vendor, product, name) in entries {
        let place = u32::try_from(text.len()).map_err(io::Error::other)?;
        // 0: the vendor itself; products follow, one higher than their number.
        let product = product.map_or(0, |product| u32::from(product) + 1);
        index.extend(((u64::from(vendor) << 17 | u64::from(product)) << 24 | u64::from(place)).to_le_bytes());
        text.push_str(name);
        text.push('\n');
    }
    if text.len() >= 1 << 24 {
        return Err(io::Error::other("usb.ids has grown beyond what a place in the index can say"));
    }
    fs::write(out.join("usb.ids.index"), index)?;
    fs::write(out.join("usb.ids.names"), text)
}

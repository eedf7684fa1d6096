//! Which serials stand for one device only.

use std::{collections::HashMap, sync::Arc};

use crate::facts::{Device, Presence, SerialQuality};

/// Marks equal serials of equal products as shared, and those that are alone again as unique.
///
/// Missing and placeholder serials stay what they are. An absent device makes nobody's serial a shared one: what is gone
/// from one port may be at another. A device is copied only where its mark changes.
pub(crate) fn compare(devices: &mut [Arc<Device>]) {
    let mut owners: HashMap<Serial, u32> = HashMap::new();
    for device in devices.iter().filter(|device| device.life.presence != Presence::Absent) {
        if let Some(serial) = comparable(device) {
            *owners.entry(serial).or_default() += 1;
        }
    }
    for device in devices {
        let Some(serial) = comparable(device) else { continue };
        let quality =
            if owners.get(&serial).is_some_and(|&n| n > 1) { SerialQuality::Shared } else { SerialQuality::Unique };
        if device.serial_quality != quality {
            Arc::make_mut(device).serial_quality = quality;
        }
    }
}

/// Vendor, product, serial.
pub(crate) type Serial = (u16, u16, String);

/// The serial of a device where it might stand for it.
pub(crate) fn comparable(device: &Device) -> Option<Serial> {
    let serial = device.serial.as_ref()?;
    matches!(device.serial_quality, SerialQuality::Unique | SerialQuality::Shared)
        .then(|| (device.vendor_id, device.product_id, serial.text.clone()))
}

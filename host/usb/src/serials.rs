//! Which serials stand for one device only.

use std::{collections::HashMap, sync::Arc};

use crate::facts::{Device, Presence, SerialQuality};

/// Marks equal serials of equal products as shared, and those that are alone again as unique.
///
/// Missing and placeholder serials, and the serials of absent devices, stay what they are. A device is copied only where its mark changes.
pub(crate) fn compare(devices: &mut [Arc<Device>]) {
    let mut owners: HashMap<(u16, u16, String), u32> = HashMap::new();
    for device in devices.iter() {
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

/// Vendor, product and serial of a device whose serial might stand for it; none where there is no such serial, and for
/// an absent device.
pub(crate) fn comparable(device: &Device) -> Option<(u16, u16, String)> {
    let serial = device.serial.as_ref()?;
    let fit = matches!(device.serial_quality, SerialQuality::Unique | SerialQuality::Shared)
        && device.life.presence != Presence::Absent;
    fit.then(|| (device.vendor_id, device.product_id, serial.text.clone()))
}

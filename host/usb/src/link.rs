//! How fast a device runs, how fast it could, and whether something between holds it back.

use cap_std::fs::Dir;

use crate::{
    descriptors::fastest,
    facts::{Link, Speed},
    key,
    tree::Directory,
};

/// A binary object store is 64 KiB at most; its useful part comes first.
const BOS_LIMIT: usize = 4096;

/// The link of a device, not yet compared with the other end.
pub(crate) fn read(device: &Directory, usb_release: u16) -> Link {
    let text = device.text("speed").unwrap_or_default();
    let (speed, mbit) = grade(&text);
    let promised = device.blob("bos_descriptors", BOS_LIMIT).map_or(Speed::Unknown, |bos| fastest(&bos));
    // Only SuperSpeed devices say 3.x; 2.1 says no more than that there is an object store.
    let by_release = if usb_release >= 0x0300 { Speed::Super } else { Speed::Unknown };
    Link { speed, mbit, capable: speed.max(promised).max(by_release), degraded: false }
}

/// Whether the device could run faster at the port it is plugged into.
///
/// A SuperSpeed device that fell back appears on the port's USB 2 side, whose hub knows high speed only; the other
/// side is the port's `peer`. So both hubs count.
pub(crate) fn is_degraded(sys: &Dir, path: &str, device_key: &str, link: Link) -> bool {
    if link.speed == Speed::Unknown || link.capable <= link.speed {
        return false;
    }
    let Some((_, ports)) = key::parse(device_key) else { return false };
    if ports.is_empty() {
        return false;
    }
    let hub = path.rsplit_once('/').map(|(hub, _)| hub.to_owned());
    let peer = Directory::open(sys, format!("{path}/port"))
        .ok()
        .and_then(|port| port.link("peer"))
        .and_then(|peer| Some(format!("bus/usb/devices/{}", key::hub_of_port(&peer)?)));
    [hub, peer].into_iter().flatten().any(|hub| hub_speed(sys, &hub).min(link.capable) > link.speed)
}

fn hub_speed(sys: &Dir, path: &str) -> Speed {
    Directory::open(sys, path).ok().and_then(|hub| hub.text("speed")).map_or(Speed::Unknown, |text| grade(&text).0)
}

/// `speed` of sysfs as grade and Mbit/s.
fn grade(text: &str) -> (Speed, u32) {
    match text {
        "1.5" => (Speed::Low, 2),
        "12" => (Speed::Full, 12),
        // Wireless USB went up to here; the kernel wrote a range.
        "480" | "53.3-480" => (Speed::High, 480),
        "5000" => (Speed::Super, 5000),
        "10000" => (Speed::SuperPlus, 10_000),
        "20000" => (Speed::SuperPlusX2, 20_000),
        other => (Speed::Unknown, other.parse().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_speed_of_the_kernel_has_a_grade() {
        let grades = ["1.5", "12", "480", "5000", "10000", "20000"].map(|text| grade(text).0);
        assert!(grades.is_sorted() && !grades.contains(&Speed::Unknown));
        assert_eq!(grade("1.5").1, 2);
        assert_eq!(grade("unknown"), (Speed::Unknown, 0));
        assert_eq!(grade("80000"), (Speed::Unknown, 80_000));
    }
}

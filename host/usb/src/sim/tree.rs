//! The files of a simulated bus, as the kernel writes them (Documentation/ABI/{stable,testing}/sysfs-bus-usb).

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::model::{Model, Setting};

/// Writes an attribute; sysfs ends texts with a line feed.
pub(super) fn put(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut bytes = text.as_ref().to_vec();
    bytes.push(b'\n');
    fs::write(dir.join(name), bytes)
}

/// Replaces an attribute in one step: a reader sees the old text or the new one.
pub(super) fn replace(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> io::Result<()> {
    let staged = format!(".{name}.new");
    put(dir, &staged, text)?;
    fs::rename(dir.join(staged), dir.join(name))
}

/// A relative link at `at`, as sysfs has them; both paths are below `/sys`.
pub(super) fn link(sys: &Path, at: &str, to: &str) -> io::Result<()> {
    let up = "../".repeat(at.trim_matches('/').split('/').count().saturating_sub(1));
    let place = sys.join(at.trim_start_matches('/'));
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    match symlink(format!("{up}{}", to.trim_start_matches('/')), place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes a file; one that is gone already is as good.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A device node of a number as `/sys/dev` names it: `char/189:4`, `block/8:0`.
pub(super) fn node(path: &Path, number: &str) -> io::Result<()> {
    let parts = number.split_once('/').and_then(|(kind, number)| {
        let (major, minor) = number.split_once(':')?;
        let kind = if kind == "block" { FileType::BlockDevice } else { FileType::CharacterDevice };
        Some((kind, makedev(major.parse().ok()?, minor.parse().ok()?)))
    });
    let (kind, number) = parts.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, number))?;
    Ok(mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, number)?)
}

/// The address of a device as the kernel counts it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    pub(super) bus: u8,
    pub(super) number: u8,
}

impl Address {
    pub(super) fn minor(self) -> u32 {
        (u32::from(self.bus).saturating_sub(1)) * 128 + u32::from(self.number).saturating_sub(1)
    }

    pub(super) fn node(self) -> String {
        format!("bus/usb/{:03}/{:03}", self.bus, self.number)
    }
}

/// What the `uevent` file of a device says, and its events with it.
pub(super) fn device_properties(model: &Model, address: Address) -> String {
    let [base, sub, protocol] = model.codes;
    format!(
        "MAJOR=189\nMINOR={}\nDEVNAME={}\nDEVTYPE=usb_device\nDRIVER=usb\nPRODUCT={:x}/{:x}/{:x}\nTYPE={base}/{sub}/{protocol}\nBUSNUM={:03}\nDEVNUM={:03}",
        address.minor(),
        address.node(),
        model.vendor_id,
        model.product_id,
        model.device_release,
        address.bus,
        address.number
    )
}

/// What the `uevent` file of an interface says; the driver once there is one.
pub(super) fn interface_properties(model: &Model, setting: &Setting, bound: bool) -> String {
    let [base, sub, protocol] = model.codes;
    let [c, s, p] = setting.codes;
    let driver = setting.driver.filter(|_| bound).map_or_else(String::new, |driver| format!("DRIVER={driver}\n"));
    format!(
        "DEVTYPE=usb_interface\n{driver}PRODUCT={:x}/{:x}/{:x}\nTYPE={base}/{sub}/{protocol}\nINTERFACE={c}/{s}/{p}\n\
         MODALIAS=usb:v{:04X}p{:04X}d{:04X}dc{base:02X}dsc{sub:02X}dp{protocol:02X}ic{c:02X}isc{s:02X}ip{p:02X}in{:02X}",
        model.vendor_id,
        model.product_id,
        model.device_release,
        model.vendor_id,
        model.product_id,
        model.device_release,
        setting.number
    )
}

/// The directory of a device that has an address but no configuration yet.
pub(super) fn device(dir: &Path, key: &str, model: &Model, address: Address) -> io::Result<()> {
    let [base, sub, protocol] = model.codes;
    let root = key.starts_with("usb");
    fs::create_dir_all(dir.join("power"))?;
    fs::write(dir.join("descriptors"), model.descriptors())?;
    put(dir, "uevent", device_properties(model, address))?;
    let words = [("idVendor", model.vendor_id), ("idProduct", model.product_id), ("bcdDevice", model.device_release)];
    for (name, word) in words {
        put(dir, name, format!("{word:04x}"))?;
    }
    for (name, byte) in [("bDeviceClass", base), ("bDeviceSubClass", sub), ("bDeviceProtocol", protocol)] {
        put(dir, name, format!("{byte:02x}"))?;
    }
    for name in ["bConfigurationValue", "bNumInterfaces", "bmAttributes", "bMaxPower", "configuration"] {
        fs::write(dir.join(name), "")?;
    }
    let strings = [("manufacturer", &model.manufacturer), ("product", &model.product), ("serial", &model.serial)];
    for (name, string) in strings {
        if let Some(string) = string {
            put(dir, name, string)?;
        }
    }
    let devpath = key.split_once('-').map_or("0", |(_, ports)| ports);
    let texts = [
        ("bMaxPacketSize0", model.descriptors().get(7).copied().unwrap_or(64).to_string()),
        ("bNumConfigurations", "1".into()),
        ("busnum", address.bus.to_string()),
        ("devnum", address.number.to_string()),
        ("devpath", devpath.into()),
        ("dev", format!("189:{}", address.minor())),
        ("speed", model.speed.into()),
        ("version", format!("{:2x}.{:02x}", model.usb_release >> 8, model.usb_release & 0xff)),
        ("maxchild", model.ports.to_string()),
        ("rx_lanes", "1".into()),
        ("tx_lanes", "1".into()),
        ("authorized", "1".into()),
        ("removable", if root { "unknown" } else { "removable" }.into()),
        ("quirks", "0x0".into()),
        ("ltm_capable", "no".into()),
        ("urbnum", "12".into()),
        ("avoid_reset_quirk", "0".into()),
        ("power/runtime_status", "active".into()),
        ("power/control", "on".into()),
        ("power/autosuspend_delay_ms", if root { "0" } else { "2000" }.into()),
        ("power/autosuspend", if root { "0" } else { "2" }.into()),
        ("power/active_duration", "1500".into()),
        ("power/connected_duration", "1500".into()),
        ("power/runtime_active_time", "1500".into()),
        ("power/runtime_suspended_time", "0".into()),
        ("power/level", "on".into()),
        ("power/persist", "1".into()),
    ];
    texts.iter().try_for_each(|(name, text)| put(dir, name, text))
}

/// The attributes that follow the active configuration; `bConfigurationValue` last, as it says that the rest holds.
pub(super) fn configured(dir: &Path, model: &Model) -> io::Result<()> {
    replace(dir, "bNumInterfaces", format!("{:2}", model.interfaces()))?;
    replace(dir, "bmAttributes", format!("{:02x}", model.attributes))?;
    replace(dir, "bMaxPower", format!("{}mA", model.milliamps))?;
    replace(dir, "bConfigurationValue", "1")
}

/// The directory of an interface without a driver.
pub(super) fn interface(dir: &Path, model: &Model, setting: &Setting) -> io::Result<()> {
    let [base, sub, protocol] = setting.codes;
    fs::create_dir_all(dir)?;
    put(dir, "uevent", interface_properties(model, setting, false))?;
    put(dir, "bAlternateSetting", format!("{:2}", setting.alternate))?;
    put(dir, "authorized", "1")?;
    put(dir, "supports_autosuspend", "1")?;
    let endpoints = u8::try_from(setting.endpoints.len()).unwrap_or(u8::MAX);
    let bytes = [
        ("bInterfaceNumber", setting.number),
        ("bNumEndpoints", endpoints),
        ("bInterfaceClass", base),
        ("bInterfaceSubClass", sub),
        ("bInterfaceProtocol", protocol),
    ];
    for (name, byte) in bytes {
        put(dir, name, format!("{byte:02x}"))?;
    }
    for (address, attributes, packet, interval) in &setting.endpoints {
        let endpoint = dir.join(format!("ep_{address:02x}"));
        fs::create_dir_all(&endpoint)?;
        for (name, text) in [
            ("bEndpointAddress", format!("{address:02x}")),
            ("bmAttributes", format!("{attributes:02x}")),
            ("wMaxPacketSize", format!("{packet:04x}")),
            ("bInterval", format!("{interval:02x}")),
        ] {
            put(&endpoint, name, text)?;
        }
    }
    setting.name.map_or(Ok(()), |name| put(dir, "interface", name))
}

/// A PCI host controller.
pub(super) fn controller(sys: &Path, path: &str) -> io::Result<()> {
    let dir: PathBuf = sys.join(path.trim_start_matches('/'));
    if dir.join("numa_node").exists() {
        return Ok(());
    }
    fs::create_dir_all(&dir)?;
    put(&dir, "class", "0x0c0330")?;
    put(&dir, "vendor", "0x8086")?;
    put(&dir, "device", "0xa36d")?;
    put(&dir, "uevent", "DRIVER=xhci_hcd\nPCI_CLASS=C0330")?;
    link(sys, &format!("{path}/subsystem"), "bus/pci")?;
    put(&dir, "numa_node", "-1")
}

//! What is known about the devices of one moment, as plain data.
//!
//! The shapes follow `wit/0.1.0/usb.wit` field by field: whoever changes one changes the other and
//! `host/yurt/src/convert.rs` between them. As JSON (`yurt devices --json`, the facts of a golden case) the names are those of the WIT.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// All devices at one moment, hubs and root hubs included, ordered by key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Snapshot {
    /// Grows by one with every snapshot of this process; 0 is the empty snapshot before the first look.
    pub number: u32,
    /// Ordered by [`Device::key`]. Shared, so that whoever keeps one of them copies nothing.
    pub devices: Vec<Arc<Device>>,
    /// Why there may be nothing to see: no bus, no permission. Empty when all is well. For people.
    pub trouble: Vec<String>,
}

impl Snapshot {
    /// The device of that name.
    #[must_use]
    pub fn device(&self, key: &str) -> Option<&Arc<Device>> {
        let at = self.devices.binary_search_by(|device| device.key.as_str().cmp(key)).ok()?;
        self.devices.get(at)
    }
}

/// One USB device: what the kernel's tables say about it. Nothing here needs the device to be opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Device {
    /// The kernel's name, `1-1.5.2` or `usb1`; names the device within a snapshot.
    pub key: String,
    /// Key of the hub it hangs from; none for a root hub.
    pub parent: Option<String>,
    /// `idVendor` of the device descriptor (USB 2.0 §9.6.1).
    pub vendor_id: u16,
    /// `idProduct` of the device descriptor.
    pub product_id: u16,
    /// `bcdDevice`: 0x0210 is 2.1.
    pub device_release: u16,
    /// `bcdUSB`: 0x0210 is 2.1.
    pub usb_release: u16,
    /// String descriptor behind `iManufacturer`.
    pub manufacturer: Option<Label>,
    /// String descriptor behind `iProduct`.
    pub product: Option<Label>,
    /// String descriptor behind `iSerialNumber`.
    pub serial: Option<Label>,
    /// How far the serial can be trusted as an identity.
    pub serial_quality: SerialQuality,
    /// Vendor name of the embedded usb.ids table.
    pub vendor_name: Option<String>,
    /// Product name of the embedded usb.ids table.
    pub product_name: Option<String>,
    /// Class codes of the device descriptor.
    pub codes: ClassCodes,
    /// Device class 9, root hubs included.
    pub is_hub: bool,
    /// Where it is plugged in.
    pub place: Place,
    /// How it is connected.
    pub link: Link,
    /// The active configuration; none: the device is not configured.
    pub configuration: Option<Configuration>,
    /// `bNumConfigurations`.
    pub configurations: u8,
    /// Of the active configuration, current alternate settings, ordered by number.
    pub interfaces: Vec<Interface>,
    /// Its usbfs node first, then child nodes ordered by interface, subsystem, position.
    pub nodes: Vec<Node>,
    /// Network interfaces, which have no node.
    pub network: Vec<NetworkInterface>,
    /// What may be done with it.
    pub access: Access,
    /// Its power state.
    pub power: Power,
    /// Its history as this process saw it.
    pub life: Life,
    /// Facts that have no field of their own, by name, ordered.
    pub extra: Vec<(String, String)>,
}

/// A string descriptor: valid UTF-8, no control characters, no outer blanks, at most 126 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Label {
    /// The cleaned text.
    pub text: String,
    /// The device's bytes were different.
    pub cleaned: bool,
}

/// How far a serial number can be trusted as an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SerialQuality {
    /// The device has none.
    Absent,
    /// No other device seen by this process has it with the same vendor and product.
    Unique,
    /// Another device has the same one.
    Shared,
    /// All zeros, `123456`, and the like.
    Placeholder,
}

/// `bDeviceClass` or `bInterfaceClass` with its two companions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClassCodes {
    /// The class.
    pub base: u8,
    /// The subclass.
    pub sub: u8,
    /// The protocol.
    pub protocol: u8,
}

/// Where a device is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Place {
    /// Bus number of this boot.
    pub bus: u8,
    /// Device address on the bus. Reused by the kernel: never an identity.
    pub address: u8,
    /// Port numbers from the root hub down; empty for a root hub.
    pub ports: Vec<u8>,
    /// PCI address of the host controller, `0000:00:14.0`; none where it is not on PCI.
    pub controller: Option<String>,
    /// NUMA node of the host controller.
    pub numa_node: Option<u32>,
    /// What the firmware says of the port.
    pub removable: Removable,
}

/// `removable` of sysfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Removable {
    /// The firmware does not say.
    Unknown,
    /// Soldered or built in.
    Fixed,
    /// Behind a port that people reach.
    Removable,
}

/// Speed grades, named as in the USB specifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Speed {
    /// Not known.
    Unknown,
    /// 1.5 Mbit/s.
    Low,
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
    /// 5 Gbit/s.
    Super,
    /// 10 Gbit/s.
    SuperPlus,
    /// 20 Gbit/s, two lanes.
    SuperPlusX2,
}

/// How a device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Link {
    /// Grade negotiated.
    pub speed: Speed,
    /// Negotiated, in Mbit/s, rounded up for low speed (1.5 is 2); 0 unknown.
    pub mbit: u32,
    /// The fastest that the device says it can.
    pub capable: Speed,
    /// It runs slower than both ends could.
    pub degraded: bool,
}

/// The active configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Configuration {
    /// `bConfigurationValue`.
    pub value: u8,
    /// Bit 6 of `bmAttributes`.
    pub self_powered: bool,
    /// Bit 5 of `bmAttributes`.
    pub remote_wakeup: bool,
    /// `bMaxPower` in mA.
    pub max_milliamps: u16,
}

/// One interface in its current alternate setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Interface {
    /// `bInterfaceNumber`.
    pub number: u8,
    /// `bAlternateSetting`.
    pub alternate: u8,
    /// Class codes.
    pub codes: ClassCodes,
    /// String descriptor behind `iInterface`, cleaned.
    pub name: Option<String>,
    /// First interface of the function it belongs to, where an association descriptor says so.
    pub function: Option<u8>,
    /// The kernel driver bound to it.
    pub driver: Option<String>,
    /// Without endpoint 0, ordered by address.
    pub endpoints: Vec<Endpoint>,
}

/// Transfer types (USB 2.0 §9.6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Transfer {
    /// 0.
    Control,
    /// 1.
    Isochronous,
    /// 2.
    Bulk,
    /// 3.
    Interrupt,
}

/// One endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Endpoint {
    /// `bEndpointAddress`; bit 7 set: towards the host.
    pub address: u8,
    /// Transfer type.
    pub transfer: Transfer,
    /// `wMaxPacketSize`, low 11 bits.
    pub max_packet: u16,
    /// `bInterval` as it stands in the descriptor.
    pub interval: u8,
}

/// Character or block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NodeKind {
    /// Character device.
    Character,
    /// Block device.
    Block,
}

/// A device node that belongs to a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    /// Absolute path on the host, below `/dev`.
    pub path: String,
    /// Character or block.
    pub kind: NodeKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// `usb_device`, `tty`, `hidraw`, `video4linux`, `sound`, `block`, …
    pub subsystem: String,
    /// The interface it hangs from; none for the usbfs node.
    pub of_interface: Option<u8>,
    /// Which of several of one subsystem and interface, from 0.
    pub position: u32,
    /// Stable names that udev gave it, absolute, ordered.
    pub links: Vec<String>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u16,
    /// A mounted file system, a swap area or a volume stands on it.
    pub in_use: bool,
}

/// A network interface of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkInterface {
    /// Name in the host's network namespace.
    pub name: String,
    /// Hardware address, lower case with colons; empty where the kernel says something else.
    pub mac: String,
    /// The USB interface it hangs from.
    pub of_interface: u8,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Access {
    /// `authorized` of sysfs.
    pub authorised: bool,
    /// This process may open the usbfs node for reading and writing (asked, not tried).
    pub openable: bool,
    /// The port's over-current count is above zero.
    pub over_current: bool,
}

/// `power/runtime_status` of sysfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PowerState {
    /// Not known.
    Unknown,
    /// Working.
    Active,
    /// Asleep.
    Suspended,
    /// Going to sleep.
    Suspending,
    /// Waking.
    Resuming,
    /// The kernel gave up.
    Failed,
}

/// Power facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Power {
    /// Run-time power state.
    pub state: PowerState,
    /// `power/autosuspend_delay_ms`; none where the file is missing.
    pub autosuspend_milliseconds: Option<i32>,
}

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Presence {
    /// Drivers are still binding.
    Settling,
    /// There.
    Present,
    /// Unplugged, kept for the configured grace.
    Absent,
}

/// A device's history as this process saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Life {
    /// Whether it is there.
    pub presence: Presence,
    /// Milliseconds since presence last changed; stops at its maximum.
    pub for_milliseconds: u32,
    /// Grows whenever what is at this port comes or goes.
    pub generation: u32,
    /// Times that this identity was plugged again.
    pub replugs: u32,
    /// What was at this port before, newest first, at most 4.
    pub before: Vec<Former>,
}

/// What was at a port before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Former {
    /// Its vendor.
    pub vendor_id: u16,
    /// Its product.
    pub product_id: u16,
    /// Its serial, cleaned.
    pub serial: Option<String>,
}

/// The kernel's running totals for one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CounterSet {
    /// Key of the device.
    pub key: String,
    /// Ordered by name.
    pub counters: Vec<Counter>,
}

/// One running total.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Counter {
    /// `urbs`, `power.active`, `power.connected`, …
    pub name: String,
    /// Exact up to 2^53.
    pub total: f64,
    /// `ms`, `urbs`, `bytes`; free text.
    pub unit: String,
}

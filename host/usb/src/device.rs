//! One device: its directory in sysfs read into a record.

use std::collections::BTreeMap;

use cap_std::fs::Dir;

use crate::{
    descriptors::{ConfigurationDescriptor, Descriptors, DeviceDescriptor},
    facts::{
        Access, ClassCodes, Configuration, Device, Interface, Life, Place, Power, PowerState, Presence, Removable,
        Speed,
    },
    key, link, names,
    nodes::{Found, Places},
    text,
    tree::Directory,
};

const DESCRIPTORS_LIMIT: usize = 64 * 1024;
const HUB: u8 = 9;

/// Where the controller of a device is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Locality {
    pub(crate) controller: Option<String>,
    pub(crate) numa_node: Option<u32>,
}

/// Reads a device. `path` is its real directory below `sys`. None: it is gone, or not far enough yet to have numbers.
///
/// Its history is the caller's to fill in, and so is whether its serial is shared.
pub(crate) fn read(sys: &Dir, path: &str, name: &str, locality: Locality, places: &Places) -> Option<Device> {
    let (bus, ports) = key::parse(name)?;
    let directory = Directory::open(sys, path).ok()?;
    let descriptors = Descriptors::parse(&directory.blob("descriptors", DESCRIPTORS_LIMIT).unwrap_or_default());
    let device = descriptors.device.or_else(|| from_attributes(&directory))?;

    let mut link = link::read(&directory, device.usb_release);
    link.degraded = link::is_degraded(sys, path, name, link);

    let value: Option<u8> = directory.number("bConfigurationValue");
    let described = value.and_then(|value| descriptors.configuration(value));
    let configuration = value.map(|value| configuration(&directory, value, described, link.speed));

    let mut found = Found::default();
    let interfaces = interfaces(&directory, value, described, places, &mut found);
    found.finish();
    let mut nodes = found.nodes;
    let usbfs = places.node(&directory, "usb_device".to_owned(), None);
    let openable = usbfs.as_ref().is_some_and(|node| places.may_open(node));
    nodes.splice(0..0, usbfs);

    let string = |attribute| directory.bytes(attribute).and_then(|bytes| text::label(&bytes));
    let serial = string("serial");
    // The port has a directory of its own, below the hub's interface.
    let port = Directory::open(sys, format!("{path}/port")).ok();
    Some(Device {
        key: name.to_owned(),
        parent: key::parent(bus, &ports),
        vendor_id: device.vendor_id,
        product_id: device.product_id,
        device_release: device.device_release,
        usb_release: device.usb_release,
        manufacturer: string("manufacturer"),
        product: string("product"),
        serial_quality: text::serial_quality(serial.as_ref()),
        serial,
        vendor_name: names::vendor(device.vendor_id),
        product_name: names::product(device.vendor_id, device.product_id),
        codes: device.codes,
        is_hub: device.codes.base == HUB,
        place: Place {
            bus,
            address: directory.number("devnum").unwrap_or(0),
            ports,
            controller: locality.controller,
            numa_node: locality.numa_node,
            removable: removable(&directory),
        },
        link,
        configuration,
        configurations: device.configurations,
        interfaces,
        nodes,
        network: found.network,
        access: Access {
            authorised: directory.number::<u8>("authorized") != Some(0),
            openable,
            over_current: port.as_ref().and_then(|port| port.number::<u64>("over_current_count")).unwrap_or(0) > 0,
        },
        power: power(&directory),
        life: Life { presence: Presence::Present, for_milliseconds: 0, generation: 0, replugs: 0, before: Vec::new() },
        extra: extra(&directory, port.as_ref()),
    })
}

/// Where the blob is missing, the attributes say the same.
fn from_attributes(directory: &Directory) -> Option<DeviceDescriptor> {
    let word = |name| directory.hex(name).and_then(|n| u16::try_from(n).ok());
    Some(DeviceDescriptor {
        vendor_id: word("idVendor")?,
        product_id: word("idProduct")?,
        device_release: word("bcdDevice").unwrap_or(0),
        // ` 2.10` is 0x0210.
        usb_release: directory
            .text("version")
            .and_then(|text| u16::from_str_radix(&text.replace('.', ""), 16).ok())
            .unwrap_or(0),
        codes: codes(directory, "bDeviceClass", "bDeviceSubClass", "bDeviceProtocol"),
        configurations: directory.number("bNumConfigurations").unwrap_or(0),
    })
}

fn codes(directory: &Directory, base: &str, sub: &str, protocol: &str) -> ClassCodes {
    let byte = |name| directory.hex(name).and_then(|n| u8::try_from(n).ok()).unwrap_or(0);
    ClassCodes { base: byte(base), sub: byte(sub), protocol: byte(protocol) }
}

fn configuration(
    directory: &Directory,
    value: u8,
    described: Option<&ConfigurationDescriptor>,
    speed: Speed,
) -> Configuration {
    let (attributes, max_milliamps) = match described {
        // USB 3.2 §9.6.3: the unit is 8 mA at SuperSpeed and above, 2 mA below.
        Some(d) => (d.attributes, u16::from(d.max_power) * if speed >= Speed::Super { 8 } else { 2 }),
        None => (
            directory.hex("bmAttributes").and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
            directory.text("bMaxPower").and_then(|text| text.trim_end_matches("mA").parse().ok()).unwrap_or(0),
        ),
    };
    Configuration { value, self_powered: attributes & 0x40 != 0, remote_wakeup: attributes & 0x20 != 0, max_milliamps }
}

/// The interfaces of the active configuration, and on the way the nodes that hang from them.
///
/// An interface that the descriptors announce and that has no directory yet is listed as it starts: alternate setting
/// 0, no driver. One that has a directory and that cut descriptors do not tell of is listed without endpoints.
fn interfaces(
    directory: &Directory,
    active: Option<u8>,
    described: Option<&ConfigurationDescriptor>,
    places: &Places,
    found: &mut Found,
) -> Vec<Interface> {
    let mut interfaces = BTreeMap::new();
    if let Some(described) = described {
        for setting in described.settings.iter().filter(|setting| setting.alternate == 0) {
            interfaces.insert(setting.number, interface(None, setting.number, Some(described)));
        }
    }
    for entry in directory.entries() {
        match key::interface(&entry.name) {
            Some((configuration, number)) if Some(configuration) == active => {
                let Some(own) = directory.sub(&entry.name) else { continue };
                interfaces.insert(number, interface(Some(&own), number, described));
                found.walk(places, &own, Some(number));
            }
            _ => {}
        }
    }
    interfaces.into_values().collect()
}

fn interface(own: Option<&Directory>, number: u8, described: Option<&ConfigurationDescriptor>) -> Interface {
    let alternate = own.and_then(|own| own.number("bAlternateSetting")).unwrap_or(0);
    let setting = described.and_then(|d| d.setting(number, alternate));
    let codes = match (setting, own) {
        (Some(setting), _) => setting.codes,
        (None, Some(own)) => codes(own, "bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"),
        (None, None) => ClassCodes::default(),
    };
    let may_have_name = setting.is_none_or(|setting| setting.has_name);
    Interface {
        number,
        alternate,
        codes,
        name: own
            .filter(|_| may_have_name)
            .and_then(|own| text::label(&own.bytes("interface")?))
            .map(|label| label.text),
        function: described.and_then(|d| d.function(number)),
        driver: own.and_then(|own| own.link("driver")),
        endpoints: setting.map(|setting| setting.endpoints.clone()).unwrap_or_default(),
    }
}

fn removable(directory: &Directory) -> Removable {
    match directory.text("removable").as_deref() {
        Some("fixed") => Removable::Fixed,
        Some("removable") => Removable::Removable,
        _ => Removable::Unknown,
    }
}

fn power(directory: &Directory) -> Power {
    let power = directory.sub("power");
    let state = power.as_ref().and_then(|power| power.text("runtime_status"));
    Power {
        state: match state.as_deref() {
            Some("active") => PowerState::Active,
            Some("suspended") => PowerState::Suspended,
            Some("suspending") => PowerState::Suspending,
            Some("resuming") => PowerState::Resuming,
            Some("error") => PowerState::Failed,
            _ => PowerState::Unknown,
        },
        autosuspend_milliseconds: power.and_then(|power| power.number("autosuspend_delay_ms")),
    }
}

/// Rare facts, only where they differ from what is usual; ordered by name.
fn extra(directory: &Directory, port: Option<&Directory>) -> Vec<(String, String)> {
    let facts = [
        ("avoid-reset-quirk", directory.text("avoid_reset_quirk").filter(|text| text == "1")),
        ("connect-type", port.and_then(|port| port.text("connect_type")).filter(|text| text != "unknown")),
        ("ltm-capable", directory.text("ltm_capable").filter(|text| text == "yes")),
        ("quirks", directory.text("quirks").filter(|text| text != "0x0")),
    ];
    let clean = |text: String| text::label(text.as_bytes()).map(|label| label.text);
    facts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), clean(text?)?))).collect()
}

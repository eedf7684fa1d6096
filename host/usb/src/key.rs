//! The kernel's names of USB devices: `usb1` is the root hub of bus 1, `1-4.2` hangs from port 2 of the hub at its port 4.

/// USB allows seven tiers, the root hub being the first (USB 2.0 §4.1.1); one more does no harm.
const MAX_DEPTH: usize = 7;

/// Bus and ports of a device's name; none where it is no device's name.
pub(crate) fn parse(key: &str) -> Option<(u8, Vec<u8>)> {
    if let Some(bus) = key.strip_prefix("usb") {
        return Some((number(bus)?, Vec::new()));
    }
    let (bus, ports) = key.split_once('-')?;
    let ports: Vec<u8> = ports.split('.').map(number).collect::<Option<_>>()?;
    (ports.len() <= MAX_DEPTH).then_some((number(bus)?, ports))
}

/// Whether a name in `bus/usb/devices`, or the last part of a uevent's path, is a device's.
pub(crate) fn is_device(name: &str) -> bool {
    parse(name).is_some()
}

/// The hub that a device hangs from; none for a root hub.
pub(crate) fn parent(bus: u8, ports: &[u8]) -> Option<String> {
    let (_, hub) = ports.split_last()?;
    let hub: Vec<String> = hub.iter().map(u8::to_string).collect();
    Some(if hub.is_empty() { format!("usb{bus}") } else { format!("{bus}-{}", hub.join(".")) })
}

/// Configuration and interface number of an interface's name, `1-4.2:1.0`.
pub(crate) fn interface(name: &str) -> Option<(u8, u8)> {
    let (device, rest) = name.split_once(':')?;
    let (configuration, interface) = rest.split_once('.')?;
    device.contains('-').then_some((number(configuration)?, decimal(interface)?))
}

/// The hub of a port's name: `usb2-port3` is of `usb2`, `2-1-port3` of `2-1`.
pub(crate) fn hub_of_port(port: &str) -> Option<&str> {
    let (hub, _) = port.rsplit_once("-port")?;
    is_device(hub).then_some(hub)
}

/// Buses, ports and configurations count from 1.
fn number(text: &str) -> Option<u8> {
    decimal(text).filter(|&n| n > 0)
}

fn decimal(text: &str) -> Option<u8> {
    // `parse` alone would take a plus sign and leading zeros, and two names for one device.
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_and_interfaces_are_told_apart() {
        assert_eq!(parse("usb12"), Some((12, vec![])));
        assert_eq!(parse("1-1.5.2"), Some((1, vec![1, 5, 2])));
        for name in [
            "",
            "usb",
            "usb0",
            "1",
            "1-",
            "1-0",
            "1-0:1.0",
            "1-1:1.0",
            "1-1..2",
            "1-+1",
            "01-1",
            "1-1/..",
            "ep_00",
            "1-1.2.3.4.5.6.7.8",
            "256-1",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
        assert_eq!(interface("1-1.5:1.0"), Some((1, 0)));
        assert_eq!(interface("1-0:1.0"), Some((1, 0)));
        assert_eq!(interface("usb1-port1"), None);
    }

    #[test]
    fn a_parent_is_one_port_shorter() {
        assert_eq!(parent(1, &[]), None);
        assert_eq!(parent(1, &[4]).as_deref(), Some("usb1"));
        assert_eq!(parent(1, &[4, 2, 3]).as_deref(), Some("1-4.2"));
    }

    #[test]
    fn a_port_names_its_hub() {
        assert_eq!(hub_of_port("usb2-port3"), Some("usb2"));
        assert_eq!(hub_of_port("2-1.4-port3"), Some("2-1.4"));
        assert_eq!(hub_of_port("port3"), None);
    }
}

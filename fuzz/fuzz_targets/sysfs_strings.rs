//! Whatever a device calls itself: labels that are safe to show, and a whole device read from sysfs with any of its files
//! replaced.
//!
//! The input is records: which file, its length in a byte, its content.
#![no_main]

use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use yurt_fuzz::{simulated, text};
use yurt_usb::facts::{Device, Label};
use yurt_usb::sim::{Bus, models};
use yurt_usb::{Reader, fuzzing};

/// Files that hold what a device, or a driver for it, says; `@` is its first interface.
const FILES: [&str; 28] = [
    "manufacturer",
    "product",
    "serial",
    "@/interface",
    "descriptors",
    "bos_descriptors",
    "bConfigurationValue",
    "bMaxPower",
    "bmAttributes",
    "version",
    "idVendor",
    "idProduct",
    "bcdDevice",
    "bDeviceClass",
    "bNumConfigurations",
    "busnum",
    "devnum",
    "speed",
    "removable",
    "authorized",
    "quirks",
    "uevent",
    "power/runtime_status",
    "power/autosuspend_delay_ms",
    "@/bAlternateSetting",
    "@/bInterfaceClass",
    "@/uevent",
    "@/net/usb0/address",
];
const PORT: &str = "1-1";

struct Machine {
    reader: Reader,
    device: PathBuf,
}

impl Machine {
    fn new() -> Machine {
        let (roots, _) = simulated::roots("sysfs");
        let bus = Bus::create(&roots).expect("an empty bus");
        bus.plug("usb1", &models::root_hub(4)).expect("a root hub");
        bus.plug(PORT, &models::network()).expect("a device");
        let device = bus.devpath(PORT).expect("its place");
        Machine { device: roots.sys.join(device.trim_start_matches('/')), reader: Reader::new(roots) }
    }

    /// The device with these files instead of its own, which it gets back.
    fn with(&self, records: &[(&str, Vec<u8>)]) -> Option<Device> {
        let path = |file: &str| self.device.join(file.replace('@', &format!("{PORT}:1.0")));
        let own: Vec<_> = records.iter().map(|(file, _)| (path(file), fs::read(path(file)).ok())).collect();
        for (file, content) in records {
            fs::write(path(file), content).expect("a file is written");
        }
        let device = self.reader.one(PORT);
        for (file, content) in own {
            match content {
                Some(content) => fs::write(file, content),
                None => fs::remove_file(file),
            }
            .expect("a file is put back");
        }
        device
    }
}

thread_local!(static MACHINE: Machine = Machine::new());

fuzz_target!(|bytes: &[u8]| {
    if let Some(label) = fuzzing::label(bytes) {
        is_safe(&label);
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        assert_eq!(label.cleaned, label.text.as_bytes() != line);
    }

    let records = records(bytes);
    if records.is_empty() {
        return;
    }
    // Without numbers in its descriptors or attributes a device is not there yet.
    let Some(device) = MACHINE.with(|machine| machine.with(&records)) else { return };
    for label in [&device.manufacturer, &device.product, &device.serial].into_iter().flatten() {
        is_safe(label);
    }
    assert_eq!((device.key.as_str(), device.parent.as_deref()), (PORT, Some("usb1")));
    assert!(device.interfaces.is_sorted_by(|a, b| a.number < b.number), "{:?}", device.interfaces);
    for interface in &device.interfaces {
        assert!(interface.endpoints.len() <= 30);
        assert!(interface.endpoints.is_sorted_by_key(|endpoint| endpoint.address));
        if let Some(name) = &interface.name {
            is_safe(&Label { text: name.clone(), cleaned: true });
        }
    }
    assert!(device.nodes.iter().all(|node| node.path.starts_with("/dev/") && !node.path.contains("/../")));
    let told = serde_json::to_string(&device).expect("facts are JSON");
    assert!(told.len() < 256 * 1024, "a device of {} bytes", told.len());
    for text in device.network.iter().flat_map(|network| [&network.name, &network.mac]) {
        text::is_fit_for_a_log(text, 126);
    }
    for (_, fact) in &device.extra {
        text::is_fit_for_a_log(fact, 126);
    }
});

/// Several records of one file are one content.
fn records(mut bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut records: Vec<(&str, Vec<u8>)> = Vec::new();
    while let [which, length, rest @ ..] = bytes {
        let file = FILES[usize::from(*which) % FILES.len()];
        let (content, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        match records.iter_mut().find(|(known, _)| *known == file) {
            Some((_, known)) => known.extend(content),
            None => records.push((file, content.to_vec())),
        }
        bytes = rest;
    }
    records
}

fn is_safe(label: &Label) {
    let text = &label.text;
    assert!(!text.is_empty() && text.trim() == text, "{text:?}");
    text::is_fit_for_a_log(text, 126);
    let hidden =
        |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    assert!(!text.contains(hidden), "{text:?}");
    let again = fuzzing::label(text.as_bytes()).expect("a label is a label");
    assert_eq!((&again.text, again.cleaned), (text, false));
}

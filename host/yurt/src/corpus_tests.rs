//! Devices that people have (`tests/corpus/devices.txt`), from their descriptors through the reader and the built-in policy: what would
//! be offered stands in `tests/corpus/expected.txt`. `YURT_WRITE=1` writes it anew; what a change means is the diff.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use yurt_guest::{Options, Runtime, Trial, UsbPolicy};
use yurt_nomad::attribute::Value;
use yurt_nomad::device::Health;
use yurt_usb::sim::{Bus, Child, Model, Setting, models};
use yurt_usb::{Roots, scan};

use crate::check::{self, Grants};
use crate::{choice, convert};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus");
/// Everything that is no hub.
const CONFIG: &str = r#"{"fingerprint_period":"10s","target_vendor_id":0,"target_product_id":0,"rule":[{}]}"#;
/// Ports of a root hub here.
const PORTS: u32 = 30;

#[test]
fn what_people_have_is_offered_as_it_was() {
    let devices = devices();
    assert!(devices.len() >= 150, "{} devices", devices.len());
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots::simulated(dir.path());
    let bus = Bus::create(&roots).unwrap();
    // Where the last device of each depth is, and how many hang there already.
    let mut places: Vec<(String, u8)> = Vec::new();
    let mut roots_used = 0;
    for device in &devices {
        places.truncate(device.depth);
        let port = match places.last_mut() {
            Some((hub, used)) => {
                *used += 1;
                format!("{hub}.{used}")
            }
            None => {
                let (root, port) = (roots_used / PORTS + 1, roots_used % PORTS + 1);
                if port == 1 {
                    bus.plug(&format!("usb{root}"), &models::root_hub(30)).unwrap();
                }
                roots_used += 1;
                format!("{root}-{port}")
            }
        };
        bus.plug(&port, &device.model).unwrap();
        match device.matter {
            Some("unauthorised") => bus.set_attribute(&port, "authorized", "0\n").unwrap(),
            Some("unconfigured") => bus.set_attribute(&port, "bConfigurationValue", "\n").unwrap(),
            _ => {}
        }
        places.push((port, 0));
    }
    let facts = scan(&roots);
    let answer = policy().group(CONFIG, &convert::snapshot(&facts), None).unwrap().unwrap();
    let (offer, refused) = check::offer(&answer, &facts, Grants::default());
    assert_eq!(refused, []);

    let mut groups: BTreeMap<String, String> = BTreeMap::new();
    for group in &offer.groups {
        let mut text = String::new();
        for instance in &group.instances {
            let member = &offer.instances[&instance.id].instance.members[0];
            let device = facts.device(member).unwrap();
            let health = match &instance.health {
                Health::Healthy { .. } => "healthy".to_owned(),
                Health::Unhealthy { reason } => format!("unhealthy: {reason}"),
            };
            writeln!(
                text,
                "  {} at {member}, {:04x}:{:04x}, {health}",
                instance.id, device.vendor_id, device.product_id
            )
            .unwrap();
        }
        for (name, attribute) in &group.attributes {
            let value = match &attribute.value {
                Value::Text(text) => format!("{text:?}"),
                Value::Integer(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                Value::Flag(flag) => flag.to_string(),
            };
            writeln!(text, "    {name} = {value}").unwrap();
        }
        groups.insert(format!("{}/{}/{}", group.vendor, group.kind, group.name), text);
    }
    let found: String = groups.iter().map(|(name, text)| format!("{name}\n{text}\n")).collect();
    let file = Path::new(CORPUS).join("expected.txt");
    if std::env::var_os("YURT_WRITE").is_some() {
        fs::write(&file, &found).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if found != expected {
        let line = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
        let at = line.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
        panic!(
            "expected.txt, line {}: expected {:?}, found {:?}; YURT_WRITE=1 writes what was found",
            at + 1,
            expected.lines().nth(at),
            found.lines().nth(at)
        );
    }
}

fn policy() -> UsbPolicy {
    let runtime = Runtime::new(Options::default()).unwrap();
    runtime.open(&choice::built_in("usb", false).unwrap()).unwrap().activate(&Trial { config: CONFIG }).unwrap()
}

/// A line of the file.
#[derive(Clone)]
struct Listed {
    model: Model,
    /// Hubs of the file above it.
    depth: usize,
    /// What is the matter with it.
    matter: Option<&'static str>,
}

fn devices() -> Vec<Listed> {
    let text = fs::read_to_string(Path::new(CORPUS).join("devices.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(|line| read(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

fn read(line: &str) -> Option<Vec<Listed>> {
    let depth = line.chars().take_while(|c| *c == '>').count();
    let line = line.trim_start_matches('>').trim_start();
    let (count, line) = line.strip_prefix("×2 ").map_or((1, line), |line| (2, line));
    let [head, manufacturer, product, serial, interfaces] = line.splitn(5, '|').collect::<Vec<_>>().try_into().ok()?;
    let mut head = head.split_whitespace();
    let [ids, release, speed, class] = [head.next()?, head.next()?, head.next()?, head.next()?];
    let matter = match head.next() {
        None => None,
        Some(given) => Some(["unauthorised", "unconfigured", "degraded"].into_iter().find(|known| *known == given)?),
    };
    let (vendor, product_id) = ids.split_once(':')?;
    let hex = |text: &str| u16::from_str_radix(text, 16).ok();
    let codes = codes(class)?;
    let settings: Option<Vec<Setting>> =
        (0..).zip(interfaces.split(';')).map(|(number, text)| interface(number, text.trim())).collect();
    let model = Model {
        // A device for 3.0 on a slower link.
        usb_release: if speed.len() > 3 || matter == Some("degraded") { 0x0300 } else { 0x0200 },
        codes,
        vendor_id: hex(vendor)?,
        product_id: hex(product_id)?,
        device_release: hex(release)?,
        manufacturer: string(manufacturer),
        product: string(product),
        serial: string(serial),
        speed: ["1.5", "12", "480", "5000", "10000"].into_iter().find(|known| *known == speed)?,
        ports: if codes[0] == 9 { 4 } else { 0 },
        attributes: 0x80,
        milliamps: 100,
        settings: settings?,
    };
    Some(vec![Listed { model, depth, matter }; count])
}

/// Between the bars stands one blank on each side that is not the device's.
fn string(field: &str) -> Option<Vec<u8>> {
    let field = field.strip_prefix(' ').unwrap_or(field);
    let field = field.strip_suffix(' ').unwrap_or(field);
    if field == "-" {
        return None;
    }
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((before, escaped)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        let (digits, after) = escaped.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        rest = after;
    }
    bytes.extend(rest.as_bytes());
    Some(bytes)
}

fn codes(text: &str) -> Option<[u8; 3]> {
    let codes: Option<Vec<u8>> = text.split('/').map(|code| u8::from_str_radix(code, 16).ok()).collect();
    codes?.try_into().ok()
}

fn interface(number: u8, text: &str) -> Option<Setting> {
    let [class, driver, makes] = text.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let child = |path, subsystem, node, attributes| Child { path, subsystem, node, attributes };
    let children = match makes {
        "-" => vec![],
        "tty" => vec![
            child("ttyUSB#", "usb-serial", None, &[("port_number", "0")]),
            child("ttyUSB#/tty/ttyUSB#", "tty", Some(("ttyUSB#", 188, 1, 0)), &[]),
        ],
        "acm" => vec![child("tty/ttyACM#", "tty", Some(("ttyACM#", 166, 1, 0)), &[])],
        "hidraw" => vec![child("0003:0000:0000.000#/hidraw/hidraw#", "hidraw", Some(("hidraw#", 245, 1, 0)), &[])],
        "block" => models::memory_stick().settings[0].children.clone(),
        "video" => vec![
            child("video4linux/video#", "video4linux", Some(("video#", 81, 1, 0)), &[("index", "0")]),
            child("video4linux/video#", "video4linux", Some(("video#", 81, 1, 0)), &[("index", "1")]),
        ],
        "net" => vec![child("net/usb#", "net", None, &[("address", "02:11:22:33:44:55")])],
        "lp" => vec![child("usbmisc/lp#", "usbmisc", Some(("lp#", 180, 1, 0)), &[])],
        _ => return None,
    };
    // Static like all of a model, and as many as there are drivers in the file.
    let driver = (driver != "-").then(|| &*driver.to_owned().leak());
    Some(Setting { number, codes: codes(class)?, driver, children, ..Setting::default() })
}

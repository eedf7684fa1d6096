//! Strings that a device sends are anybody's: nothing of them may reach a log or a job raw.

use yurt_conformance::log;
use yurt_conformance::place::Place;
use yurt_conformance::process::Process;
use yurt_nomad::attribute::Value;
use yurt_nomad::client::{Base, Device};
use yurt_nomad::device::{Group, Health};
use yurt_usb::sim::{Model, models};

use crate::agents::{evaluated, ids, until};

/// Longest text that a string descriptor, cleaned, may come to anywhere: 126 characters.
const LABEL_MAX: usize = 126;

fn rude() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("escapes", b"\x1b[2J\x1b[31mred\x07".to_vec()),
        ("lines", b"one\ntwo\r\n{\"@level\":5}\x00end".to_vec()),
        ("utf8", b"caf\xe9 \xff\xfe\xc3".to_vec()),
        ("quotes", b"\"; rm -rf / #' ` $(id) ${node.unique.id} %{if true}".to_vec()),
        ("long", vec![b'L'; 4096]),
        ("wide", "\u{202e}\u{200b}\u{feff}abc\u{7f}\u{85}\u{2028}".as_bytes().to_vec()),
        ("blank", b"   \t  ".to_vec()),
        ("slashes", b"../../etc/passwd,a/b,c".to_vec()),
    ]
}

fn model(text: &[u8]) -> Model {
    Model {
        manufacturer: Some(text.into()),
        product: Some(text.into()),
        serial: Some(text.into()),
        vendor_id: 0xcafe,
        ..models::cp2102()
    }
}

#[track_caller]
fn clean(what: &str, text: &str) {
    assert!(!text.chars().any(char::is_control), "{what}: {text:?}");
}

/// Everything in an offer that is text.
fn texts(groups: &[Group]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for group in groups {
        for part in [&group.vendor, &group.kind, &group.name] {
            all.push(("name".to_owned(), part.clone()));
        }
        for instance in &group.instances {
            let (Health::Healthy { note: text } | Health::Unhealthy { reason: text }) = &instance.health;
            all.extend([("id".to_owned(), instance.id.clone()), ("health".to_owned(), text.clone())]);
        }
        for (name, attribute) in &group.attributes {
            all.push(("attribute name".to_owned(), name.clone()));
            if let Value::Text(text) = &attribute.value {
                all.push((name.clone(), text.clone()));
            }
        }
    }
    all
}

#[tokio::test]
async fn rude_strings_are_cleaned_and_bounded_in_the_log_the_offer_and_the_reservation() {
    let place = Place::new();
    let bus = place.bus();
    let process = Process::start(&mut place.command());
    let channel = process.channel().await;
    let (mut base, mut device) = (Base::new(channel.clone()), Device::new(channel));
    let schema = base.config_schema().await.unwrap().unwrap();
    let config = "rule { name = \"*\" }\nrule {}\nyurt {\n settle = \"20ms\"\n log_level = \"trace\"\n}";
    base.set_config(&evaluated(config, &schema), None).await.unwrap();
    let mut offers = device.fingerprint().await.unwrap();

    let rude = rude();
    for (at, (_, text)) in rude.iter().enumerate() {
        let model = Model { product_id: u16::try_from(at).unwrap() + 1, ..model(text) };
        bus.plug(&format!("1-{}", at + 1), &model).unwrap();
    }
    let settled = |groups: &[Group]| {
        let all = groups.iter().flat_map(|group| &group.instances);
        all.filter(|instance| instance.health.is_healthy()).count() == rude.len()
    };
    let groups = until(&mut offers, settled).await;

    for (what, text) in texts(&groups) {
        clean(&what, &text);
        assert!(text.chars().count() <= LABEL_MAX, "{what} has {} characters", text.chars().count());
    }
    for id in ids(&groups) {
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{id:?}");
        let reservation = device.reserve(vec![id.to_owned()]).await.unwrap_or_else(|why| panic!("{id}: {why}"));
        for (name, value) in &reservation.envs {
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{name:?}");
            clean(name, value);
            assert!(value.len() < 4096, "{name} has {} bytes", value.len());
            // The agent would put something else in its place.
            assert!(!value.contains("${node."), "{name}: {value}");
        }
        for node in &reservation.devices {
            clean("a path", &node.task_path);
            clean("a path", &node.host_path);
        }
    }
    // Also a refusal that quotes.
    for id in ["\u{1b}[31m", "a\nb", "\u{202e}x"] {
        device.reserve(vec![id.to_owned()]).await.unwrap_err();
    }
    let lines = process.log();
    log::all_valid(&lines);
    for line in &lines {
        assert!(!line.contains("\\u001b") && !line.contains(&"L".repeat(LABEL_MAX + 1)), "{line}");
    }
    assert_eq!(String::from_utf8(process.stdout()).unwrap(), format!("{}\n", process.line()));
}

#[tokio::test]
async fn a_device_that_sends_nonsense_for_descriptors_does_not_hide_the_others() {
    let place = Place::new();
    let bus = place.bus();
    for (port, garbage) in [("1-1", &b""[..]), ("1-2", b"\x12\x01"), ("1-3", &[0xff; 300]), ("1-4", &[0; 70_000])] {
        bus.plug(port, &models::no_strings()).unwrap();
        let path = place.usb().join("sys").join(bus.devpath(port).unwrap().trim_start_matches('/'));
        std::fs::write(path.join("descriptors"), garbage).unwrap();
    }
    bus.plug("1-5", &models::cp2102()).unwrap();
    let mut launched = crate::agents::serving(&place, crate::agents::EVERYTHING).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    let groups = until(&mut offers, |groups| ids(groups).contains(&"sn-0001")).await;
    for (what, text) in texts(&groups) {
        clean(&what, &text);
    }
    assert!(launched.device.reserve(vec!["sn-0001".into()]).await.is_ok());
}

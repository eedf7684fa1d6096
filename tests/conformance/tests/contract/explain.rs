//! `yurt explain`: what becomes of one device, by the agent's own file.

use std::fs;

use serde_json::Value;
use yurt_conformance::place::Place;
use yurt_usb::sim::models;

/// With the stanzas of others around that of the plugin.
const AGENT: &str = r#"
log_level = "INFO"
client {
  enabled = true
  options = { "driver.raw_exec.enable" = "1" }
}
plugin "raw_exec" {
  config {
    enabled = true
  }
}
plugin "usb" {
  config {
    rule {
      class  = "hid"
      action = "deny"
    }
    rule {
      driver      = "cp210*"
      vendor_name = "lab"
      group       = "console"
    }
    yurt {
      log_level = "warn"
    }
  }
}
"#;

struct Said {
    ended: bool,
    out: String,
    err: String,
}

fn explain(place: &Place, arguments: &[&str]) -> Said {
    let output = place.bare_command().arg("explain").args(arguments).args(place.args()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { ended: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

fn bus() -> (Place, String) {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::hub(4)).unwrap();
    bus.plug("1-1.2", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::yubikey()).unwrap();
    bus.plug("1-3", &models::memory_stick()).unwrap();
    let file = place.root().join("agent.hcl");
    fs::write(&file, AGENT).unwrap();
    let file = file.display().to_string();
    (place, file)
}

#[test]
fn a_device_that_is_offered_is_said_with_its_rule_and_the_block_that_gets_it() {
    let (place, config) = bus();
    for what in ["/dev/ttyUSB0", "1-1.2", "10C4:EA60", "sn-0001", "0001"] {
        let said = explain(&place, &[what, "--config", &config]);
        assert!(said.ended, "{what}: {}", said.err);
        assert!(said.out.contains("offered as lab/usb/console, id sn-0001, by rule[1]"), "{what}: {}", said.out);
        assert!(said.out.contains("behind      1-1 < usb1"), "{}", said.out);
        assert!(said.out.contains("0 ff/00/00 cp210x") && said.out.contains("/dev/ttyUSB0"), "{}", said.out);
    }
    let said = explain(&place, &["1-1.2", "--config", &config, "--json"]);
    let object: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&object["offered"], &object["rule"], &object["matchable"]), (&true.into(), &1.into(), &true.into()));
    let block = object["block"].as_str().unwrap();
    assert!(block.starts_with("device \"lab/usb/console\" {") && block.contains("value     = \"sn-0001\""), "{block}");
}

#[test]
fn a_device_that_is_not_offered_is_said_with_the_reason() {
    let (place, config) = bus();
    for (what, reason) in [
        ("1-2", "not offered, by rule[0], which denies it"),
        ("1-3", "not offered: no rule matches it"),
        ("1-1", "not offered: a hub, which only a rule with class = \"hub\" offers"),
    ] {
        let said = explain(&place, &[what, "--config", &config]);
        assert!(said.ended && said.out.contains(reason), "{what}: {}{}", said.out, said.err);
    }
    // Without a configuration: what a rule that allows everything would do.
    let said = explain(&place, &["1-3"]);
    assert!(said.out.contains("id sn-5B1C07A2, by rule[0]"), "{}", said.out);
}

#[test]
fn what_is_not_there_or_wrong_is_said_in_a_sentence() {
    let (place, config) = bus();
    let said = explain(&place, &["9-9", "--config", &config]);
    assert!(!said.ended && said.err.contains("9-9: no such device among the 5 that are here"), "{}", said.err);
    for (text, sentence) in [
        (
            AGENT.replace("driver      =", "drivr       ="),
            "no key or block is called \"drivr\" here; did you mean \"driver\"?",
        ),
        (AGENT.replace("\"deny\"", "\"refuse\""), "action = \"refuse\": allowed are \"allow\" and \"deny\""),
        (AGENT.replace("plugin \"raw_exec\"", "plugin \"usb\""), "the stanza plugin \"usb\" may stand here once"),
    ] {
        fs::write(&config, text).unwrap();
        let said = explain(&place, &["1-3", "--config", &config]);
        assert!(!said.ended && said.err.contains(sentence) && said.err.contains("agent.hcl"), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
    // The keys alone, without an agent's file around them.
    fs::write(&config, "rule { class = \"storage\" }").unwrap();
    assert!(explain(&place, &["1-3", "--config", &config]).out.contains("offered as"));
}

//! The operator's configuration: what was typed ([`Config`]), and what it means ([`Settings`]). Everything wrong is reported at
//! once, each with the key, the value and what would be right.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;
use yurt_sdk::config::{Number, go_duration};
use yurt_sdk::facts::Removable;
use yurt_sdk::{Diagnostic, Severity};

use crate::attributes;
use crate::classes::ClassPattern;
use crate::health::Conditions;
use crate::rules::{Action, Expose, Hub, Rule};

/// The configuration as the schema (`config.hcldec`) delivers it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Config {
    fingerprint_period: Option<String>,
    target_vendor_id: Option<Number>,
    target_product_id: Option<Number>,
    rule: Option<Vec<RuleConfig>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct RuleConfig {
    vendor: Option<String>,
    product: Option<String>,
    modes: Option<Vec<String>>,
    class: Option<String>,
    class_all: Option<String>,
    class_none: Option<String>,
    driver: Option<String>,
    subsystem: Option<String>,
    serial: Option<String>,
    port: Option<String>,
    manufacturer: Option<String>,
    name: Option<String>,
    behind: Option<String>,
    min_speed: Option<Number>,
    removable: Option<String>,
    action: Option<String>,
    attributes: Option<BTreeMap<String, String>>,
    nodes: Option<Vec<String>>,
    expose: Option<String>,
    as_one: Option<bool>,
    members: Option<Number>,
    shares: Option<Number>,
    unhealthy_if: Option<Vec<String>>,
    vendor_name: Option<String>,
    group: Option<String>,
}

/// What the configuration means.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    /// Between two full looks when nothing changes.
    pub(crate) period_milliseconds: u32,
    /// In order; the target pair is the last.
    pub(crate) rules: Vec<Rule>,
}

/// 100 ms to 24 h: below, the plugin would do little else; above, a lost event would go unseen for a day.
const PERIOD_MICROSECONDS: RangeInclusive<i64> = 100_000..=86_400_000_000;
/// Of an attribute that a rule adds, in bytes.
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 256;
/// Devices in one instance: a bus has 127 addresses.
const MEMBERS: RangeInclusive<u8> = 1..=127;
/// Tasks that may have one device. Each share is an instance, of which Nomad and the host take a bounded number.
const SHARES: RangeInclusive<u8> = 2..=16;
/// Ids that one device has in turn.
const MODES: RangeInclusive<usize> = 2..=8;
const DEFAULT_PERIOD_MILLISECONDS: u32 = 10_000;

impl Config {
    /// How many rules were written; the target pair is none of them.
    pub(crate) fn rules(&self) -> usize {
        self.rule.as_ref().map_or(0, Vec::len)
    }

    /// The settings, with what is wrong left out (a rule with an error matches nothing), and every finding.
    pub(crate) fn check(&self) -> (Settings, Vec<Diagnostic>) {
        let mut findings = Findings::default();
        let period_milliseconds = findings.period(self.fingerprint_period.as_deref());
        let mut rules = Vec::new();
        let mut catch_all: Option<usize> = None;
        for (index, given) in self.rule.iter().flatten().enumerate() {
            if let Some(earlier) = catch_all {
                findings.warn(
                    &format!("rule[{index}]"),
                    format!("never reached: rule[{earlier}] has no condition and matches every device"),
                    Some("put it before that rule".into()),
                );
            }
            if let Some(rule) = findings.rule(index, given) {
                if !rule.has_condition() && catch_all.is_none() {
                    catch_all = Some(index);
                }
                rules.push(rule);
            }
        }
        rules.extend(findings.target(self.target_vendor_id.as_ref(), self.target_product_id.as_ref()));
        if rules.is_empty() && findings.0.is_empty() {
            findings.warn(
                "",
                "no USB device is offered: there is neither a rule nor a target pair".into(),
                Some("for example: rule { class = \"storage\" }".into()),
            );
        }
        (Settings { period_milliseconds, rules }, findings.0)
    }
}

#[derive(Default)]
struct Findings(Vec<Diagnostic>);

impl Findings {
    fn error(&mut self, path: &str, message: String, hint: Option<String>) {
        self.0.push(Diagnostic { severity: Severity::Error, path: path.into(), message, hint });
    }

    fn warn(&mut self, path: &str, message: String, hint: Option<String>) {
        self.0.push(Diagnostic { severity: Severity::Warning, path: path.into(), message, hint });
    }

    fn period(&mut self, given: Option<&str>) -> u32 {
        let Some(text) = given else { return DEFAULT_PERIOD_MILLISECONDS };
        let wrong = match go_duration(text) {
            Ok(microseconds) if PERIOD_MICROSECONDS.contains(&microseconds) => {
                return u32::try_from(microseconds / 1000).unwrap_or(DEFAULT_PERIOD_MILLISECONDS);
            }
            Ok(_) => "out of range".to_owned(),
            Err(why) => why,
        };
        let message = format!("fingerprint_period = \"{text}\": {wrong}; allowed is a duration from 100ms to 24h");
        self.error("fingerprint_period", message, Some("\"10s\"".into()));
        DEFAULT_PERIOD_MILLISECONDS
    }

    /// The demo's pair: both must be equal; 0 and 0 is the default and asks for nothing.
    fn target(&mut self, vendor: Option<&Number>, product: Option<&Number>) -> Option<Rule> {
        let vendor = self.target_id("target_vendor_id", vendor);
        let product = self.target_id("target_product_id", product);
        let (vendor, product) = (vendor?, product?);
        match (vendor, product) {
            (0, 0) => return None,
            (_, 0) => self.half_a_pair("target_product_id", "vendor", vendor),
            (0, _) => self.half_a_pair("target_vendor_id", "product", product),
            _ => {}
        }
        Some(Rule { vendor: Some(vendor), product: Some(product), ..Rule::default() })
    }

    fn half_a_pair(&mut self, missing: &str, key: &str, id: u16) {
        let message = format!("{missing} is 0: the pair is matched exactly, so hardly any device will be offered");
        self.warn(missing, message, Some(format!("rule {{ {key} = \"0x{id:04x}\" }} looks at this one only")));
    }

    fn target_id(&mut self, key: &str, given: Option<&Number>) -> Option<u16> {
        let id = match given {
            None => return Some(0),
            Some(Number::Whole(number)) => u16::try_from(*number).ok(),
            Some(Number::Other(_)) => None,
        };
        if let (None, Some(given)) = (id, given) {
            let hint = id_of(&given.to_string()).ok().map(|id| format!("{key} = {id}"));
            self.error(key, format!("{key} = {given}: allowed is a whole number from 0 to 65535"), hint);
        }
        id
    }

    fn rule(&mut self, index: usize, given: &RuleConfig) -> Option<Rule> {
        let before = self.errors();
        let at = |key: &str| format!("rule[{index}].{key}");
        let vendor = given.vendor.as_deref().and_then(|text| self.id(&at("vendor"), text));
        let product = given.product.as_deref().and_then(|text| self.id(&at("product"), text));
        let class = self.class(&at("class"), given.class.as_deref());
        let class_all = self.class(&at("class_all"), given.class_all.as_deref());
        let class_none = self.class(&at("class_none"), given.class_none.as_deref());
        let driver = self.glob(&at("driver"), given.driver.as_deref());
        let subsystem = self.glob(&at("subsystem"), given.subsystem.as_deref());
        let serial = self.glob(&at("serial"), given.serial.as_deref());
        let port = self.glob(&at("port"), given.port.as_deref());
        let manufacturer = self.glob(&at("manufacturer"), given.manufacturer.as_deref());
        let name = self.glob(&at("name"), given.name.as_deref());
        let behind = given.behind.as_deref().and_then(|text| self.hub(&at("behind"), text));
        let min_mbit = given.min_speed.as_ref().and_then(|number| self.speed(&at("min_speed"), number));
        let removable = given.removable.as_deref().and_then(|text| match text {
            "removable" => Some(Removable::Removable),
            "fixed" => Some(Removable::Fixed),
            other => {
                let message = format!("removable = \"{other}\": allowed are \"removable\" and \"fixed\"");
                self.error(&at("removable"), message, None);
                None
            }
        });
        let attributes = self.attributes(&at("attributes"), given.attributes.as_ref());
        let nodes = given.nodes.as_deref().and_then(|all| self.nodes(&at("nodes"), all));
        let expose = match given.expose.as_deref() {
            None | Some("devices") => Expose::Devices,
            Some("mount") => Expose::Mount,
            Some("both") => Expose::Both,
            Some(other) => {
                let message = format!("expose = \"{other}\": allowed are \"devices\", \"mount\" and \"both\"");
                self.error(&at("expose"), message, None);
                Expose::Devices
            }
        };
        let as_one = given.as_one.unwrap_or_default();
        let members = given.members.as_ref().and_then(|number| self.count(&at("members"), number, MEMBERS));
        if let (Some(_), false) = (members, as_one) {
            let hint = Some("as_one = true".into());
            self.error(&at("members"), "members says how many devices make one, which takes as_one".into(), hint);
        }
        let shares = given.shares.as_ref().and_then(|number| self.count(&at("shares"), number, SHARES));
        let unhealthy_if = match given.unhealthy_if.as_deref().map(Conditions::named) {
            None => Conditions::default(),
            Some(Ok(conditions)) => conditions,
            Some(Err(name)) => {
                let all = Conditions::NAMES.join(", ");
                self.error(&at("unhealthy_if"), format!("unhealthy_if has \"{name}\": allowed are {all}"), None);
                Conditions::default()
            }
        };
        let action = match given.action.as_deref() {
            None | Some("allow") => Action::Allow,
            Some("deny") => Action::Deny,
            Some(other) => {
                self.error(&at("action"), format!("action = \"{other}\": allowed are \"allow\" and \"deny\""), None);
                Action::Allow
            }
        };
        let vendor_name = self.group_part(&at("vendor_name"), given.vendor_name.as_deref());
        let group = self.group_part(&at("group"), given.group.as_deref());
        let modes = given.modes.as_deref().map(|all| self.modes(&at("modes"), all)).unwrap_or_default();
        if given.modes.is_some() && (vendor.is_some() || product.is_some()) {
            self.error(&at("modes"), "modes has the device's ids: leave out vendor and product".into(), None);
        }
        if given.modes.is_some() && action == Action::Allow && (vendor_name.is_none() || group.is_none()) {
            let message =
                "what the device is called changes with its ids, so the rule has to name it: vendor_name and group";
            self.error(&at("modes"), message.into(), Some("vendor_name = \"google\", group = \"coral\"".into()));
        }
        if action == Action::Deny && (vendor_name.is_some() || group.is_some()) {
            self.warn(&format!("rule[{index}]"), "a rule that denies gives no name to a group".into(), None);
        }
        let given_to_none = [
            ("nodes", nodes.is_some()),
            ("attributes", !attributes.is_empty()),
            ("expose", given.expose.is_some()),
            ("as_one", as_one),
            ("shares", shares.is_some()),
            ("unhealthy_if", given.unhealthy_if.is_some()),
        ];
        for (key, _) in given_to_none.iter().filter(|(_, given)| *given && action == Action::Deny) {
            self.warn(&at(key), format!("a rule that denies has no {key} to give"), None);
        }
        (self.errors() == before).then_some(Rule {
            vendor,
            product,
            modes,
            class,
            class_all,
            class_none,
            driver,
            subsystem,
            serial,
            port,
            manufacturer,
            name,
            behind,
            min_mbit,
            removable,
            action,
            attributes,
            nodes,
            expose,
            as_one,
            members: members.map(usize::from),
            shares,
            unhealthy_if,
            vendor_name,
            group,
        })
    }

    fn errors(&self) -> usize {
        self.0.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    fn id(&mut self, path: &str, text: &str) -> Option<u16> {
        let key = path.rsplit('.').next().unwrap_or(path);
        match id_of(text) {
            Ok(id) => {
                if text.len() == 4 && !text.starts_with("0x") {
                    // Four digits are how tools print hexadecimal ids: 1050 is a YubiKey to its owner.
                    let message = format!("{key} = \"{text}\" is read as a decimal number, 0x{id:04x}");
                    self.warn(
                        path,
                        message,
                        Some(format!("\"0x{text}\" if the hexadecimal id is meant, \"0x{id:04x}\" if not")),
                    );
                }
                Some(id)
            }
            Err(hint) => {
                let message = format!(
                    "{key} = \"{text}\": allowed is 0x and one to four hexadecimal digits, or a decimal number up to 65535"
                );
                self.error(path, message, hint);
                None
            }
        }
    }

    fn class(&mut self, path: &str, given: Option<&str>) -> Option<ClassPattern> {
        let text = given?;
        match ClassPattern::parse(text) {
            Ok(class) => Some(class),
            Err((message, hint)) => {
                let key = path.rsplit('.').next().unwrap_or(path);
                self.error(path, format!("{key} = \"{text}\": {message}"), hint);
                None
            }
        }
    }

    fn modes(&mut self, path: &str, all: &[String]) -> Vec<(u16, u16)> {
        let pair = |text: &String| {
            let (vendor, product) = text.split_once(':')?;
            id_of(vendor).ok().zip(id_of(product).ok())
        };
        let pairs: Vec<_> = all.iter().map_while(pair).collect();
        if let Some(wrong) = all.get(pairs.len()) {
            let likely = |text: &str| id_of(&format!("0x{text}")).ok();
            let ids = wrong.split_once(':').and_then(|(vendor, product)| likely(vendor).zip(likely(product)));
            let hint = ids.map(|(vendor, product)| format!("\"0x{vendor:04x}:0x{product:04x}\""));
            self.error(path, format!("modes has \"{wrong}\": allowed are ids such as \"0x1a6e:0x089a\""), hint);
        } else if !MODES.contains(&pairs.len()) {
            let (least, most) = (MODES.start(), MODES.end());
            self.error(
                path,
                format!("modes has {}: allowed are {least} to {most} that one device has in turn", pairs.len()),
                None,
            );
        }
        pairs
    }

    fn hub(&mut self, path: &str, text: &str) -> Option<Hub> {
        let Some((vendor, product)) = text.split_once(':') else { return self.glob(path, Some(text)).map(Hub::Port) };
        match (id_of(vendor), id_of(product)) {
            (Ok(vendor), Ok(product)) => Some(Hub::Ids(vendor, product)),
            _ => {
                let message = format!(
                    "behind = \"{text}\": allowed is the port path of a hub (\"1-4\", with * and ?), or its ids, \"0x1a40:0x0101\""
                );
                let likely = |text: &str| id_of(&format!("0x{text}")).ok();
                let hint = likely(vendor).zip(likely(product)).map(|(v, p)| format!("\"0x{v:04x}:0x{p:04x}\""));
                self.error(path, message, hint);
                None
            }
        }
    }

    fn speed(&mut self, path: &str, given: &Number) -> Option<u32> {
        let whole = match given {
            Number::Whole(number) => u32::try_from(*number).ok().filter(|number| *number > 0),
            Number::Other(_) => None,
        };
        if whole.is_none() {
            let message = format!("min_speed = {given}: allowed is a whole number of Mbit/s, such as 480 or 5000");
            self.error(path, message, None);
        }
        whole
    }

    fn count(&mut self, path: &str, given: &Number, allowed: RangeInclusive<u8>) -> Option<u8> {
        let whole = match given {
            Number::Whole(number) => u8::try_from(*number).ok().filter(|number| allowed.contains(number)),
            Number::Other(_) => None,
        };
        if whole.is_none() {
            let key = path.rsplit('.').next().unwrap_or(path);
            let (least, most) = (allowed.start(), allowed.end());
            self.error(path, format!("{key} = {given}: allowed is a whole number from {least} to {most}"), None);
        }
        whole
    }

    fn attributes(&mut self, path: &str, given: Option<&BTreeMap<String, String>>) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (name, value) in given.into_iter().flatten() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let (message, hint) = if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
                (format!("allowed in a name are 1 to {LONGEST_NAME} of a-z, 0-9 and \"_\""), None)
            } else if attributes::NAMES.contains(&name.as_str()) {
                ("every group has that attribute already".to_owned(), None)
            } else if value.is_empty() || value.len() > LONGEST_VALUE {
                (format!("allowed are 1 to {LONGEST_VALUE} bytes"), None)
            } else if !yurt_sdk::attribute::reads_as_text(value) {
                let hint = yurt_sdk::attribute::matchable(value);
                (format!("\"{value}\" is a number to Nomad, which no text equals"), Some(format!("\"{hint}\"")))
            } else {
                all.push((name.clone(), value.clone()));
                continue;
            };
            self.error(path, format!("{name}: {message}"), hint);
        }
        all
    }

    fn nodes(&mut self, path: &str, all: &[String]) -> Option<Vec<String>> {
        let wrong = |name: &&String| name.is_empty() || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if all.is_empty() {
            let hint = Some("leave it out for all of them".into());
            self.error(path, "an empty list hands out nothing".into(), hint);
            return None;
        }
        if let Some(name) = all.iter().find(wrong) {
            let message = format!("nodes has \"{name}\": allowed are names of subsystems, such as \"tty\" or \"usb\"");
            let hint =
                name.starts_with("/dev/").then(|| "a subsystem, not a path: `yurt devices --json` has both".into());
            self.error(path, message, hint);
            return None;
        }
        Some(all.to_vec())
    }

    fn glob(&mut self, path: &str, given: Option<&str>) -> Option<String> {
        let text = given?;
        if text.trim().is_empty() {
            self.error(
                path,
                "an empty pattern matches nothing".into(),
                Some("leave it out, or \"*\" for any that is there".into()),
            );
            return None;
        }
        Some(text.to_owned())
    }

    fn group_part(&mut self, path: &str, given: Option<&str>) -> Option<String> {
        let text = given?;
        let key = path.rsplit('.').next().unwrap_or(path);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        if text.is_empty()
            || text.len() > crate::names::LONGEST
            || !text.chars().all(plain)
            || !yurt_sdk::attribute::reads_as_text(text)
        {
            let message = format!(
                "{key} = \"{text}\": allowed are 1 to {} of a-z, 0-9, \".\", \"_\" and \"-\", and not a number",
                crate::names::LONGEST
            );
            self.error(path, message, crate::names::slug_of(text).map(|slug| format!("\"{slug}\"")));
            return None;
        }
        Some(text.to_owned())
    }
}

/// A vendor or product id: `0x` and up to four hexadecimal digits, or decimal. The error is a hint, where there is a likely meaning.
fn id_of(text: &str) -> Result<u16, Option<String>> {
    if let Some(hex) = text.strip_prefix("0x") {
        let fits = (1..=4).contains(&hex.len()) && hex.chars().all(|c| c.is_ascii_hexdigit());
        return if fits { u16::from_str_radix(hex, 16).map_err(|_| None) } else { Err(None) };
    }
    let digits = !text.is_empty() && text.len() <= 5 && text.chars().all(|c| c.is_ascii_digit());
    if let (true, Ok(id)) = (digits, text.parse()) {
        return Ok(id);
    }
    let bare = text.trim().trim_start_matches("0X");
    let hexadecimal = (1..=4).contains(&bare.len()) && bare.chars().all(|c| c.is_ascii_hexdigit());
    Err(hexadecimal.then(|| format!("\"0x{}\"", bare.to_ascii_lowercase())))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

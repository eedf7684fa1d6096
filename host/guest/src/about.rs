//! Whether what a guest says of itself can be used: its name becomes Nomad's name of the plugin.

use semver::Version;

use crate::error::LoadCause;
use crate::usb::Description;

/// Longest name; Nomad uses it in topics, labels and paths.
const NAME: usize = 63;
/// Longest summary, in bytes.
const SUMMARY: usize = 1024;

pub(crate) fn check(about: &Description) -> Result<(), LoadCause> {
    let Description { name, version, summary, config_spec } = about;
    let nonsense = |why: String| Err(LoadCause::Description(why));
    let grammar = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME || !name.chars().all(grammar) {
        return nonsense(format!(
            "the name {:?} is not 1 to {NAME} lower-case letters, digits, '-' and '_'",
            shown(name)
        ));
    }
    if version.len() > NAME || Version::parse(version).is_err() {
        return nonsense(format!("the version {:?} is not a semantic version such as 1.2.3", shown(version)));
    }
    if summary.len() > SUMMARY || summary.chars().any(char::is_control) {
        return nonsense(format!("the summary is not one line of at most {SUMMARY} bytes"));
    }
    if config_spec.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
        return nonsense("the configuration schema has control characters".into());
    }
    Ok(())
}

/// The first field in which two descriptions differ.
pub(crate) fn difference(one: &Description, other: &Description) -> Option<&'static str> {
    [
        ("name", one.name == other.name),
        ("version", one.version == other.version),
        ("summary", one.summary == other.summary),
        ("config-spec", one.config_spec == other.config_spec),
    ]
    .into_iter()
    .find_map(|(part, same)| (!same).then_some(part))
}

fn shown(text: &str) -> String {
    crate::journal::clean(text, 80).0
}

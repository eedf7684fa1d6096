//! Whether what a guest says of itself can be used: its name becomes Nomad's name of the plugin.

use semver::Version;

use crate::driver::DriverDescription;
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
    schema("configuration schema", config_spec)
}

/// What a task driver says beside its description.
pub(crate) fn check_driver(description: &DriverDescription) -> Result<(), LoadCause> {
    let DriverDescription { about, task_spec, capabilities: _ } = description;
    check(about)?;
    schema("task schema", task_spec)
}

fn schema(what: &str, text: &str) -> Result<(), LoadCause> {
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
        return Err(LoadCause::Description(format!("the {what} has control characters")));
    }
    Ok(())
}

/// The first field in which two descriptions differ.
pub(crate) fn difference(one: &Description, other: &Description) -> Option<&'static str> {
    first_of([
        ("name", one.name == other.name),
        ("version", one.version == other.version),
        ("summary", one.summary == other.summary),
        ("config-spec", one.config_spec == other.config_spec),
    ])
}

/// The first field in which two descriptions of a task driver differ.
pub(crate) fn difference_of_drivers(one: &DriverDescription, other: &DriverDescription) -> Option<&'static str> {
    difference(&one.about, &other.about).or_else(|| {
        first_of([
            ("task-spec", one.task_spec == other.task_spec),
            ("capabilities", one.capabilities == other.capabilities),
        ])
    })
}

fn first_of<const N: usize>(parts: [(&'static str, bool); N]) -> Option<&'static str> {
    parts.into_iter().find_map(|(part, same)| (!same).then_some(part))
}

fn shown(text: &str) -> String {
    crate::journal::clean(text, 80).0
}

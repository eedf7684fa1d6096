//! Health and attributes of the driver on a node.

use yurt_sdk::driver::{DriverHealth, Findings, Fingerprint};
use yurt_sdk::{Attribute, attribute};

use crate::config::Config;
use crate::interpreters::{Interpreter, Survey};

pub(crate) fn judge(config: &Config, findings: Findings<'_>) -> Fingerprint {
    let survey = Survey::of(config, findings);
    let complaints = survey.complaints();
    let (health, reason) = match survey.choice() {
        Some((_, Ok(choice))) => {
            let Interpreter { version, implementation, path, .. } = choice;
            let mut reason = format!("Python {version} ({implementation}) at {path}");
            // What is not installed needs no mention; what is and does not work does.
            for broken in survey.broken() {
                reason += &format!("; {broken}");
            }
            return Fingerprint { health: DriverHealth::Healthy, reason, attributes: attributes(choice, &survey) };
        }
        Some((name, Err(why))) => (DriverHealth::Unhealthy, format!("{name}: {why}")),
        None if complaints.is_empty() => (DriverHealth::Undetected, "no interpreter is configured".into()),
        None => {
            let others = config.others();
            let besides = match (others.first(), others.last()) {
                (Some(first), Some(last)) => format!("; and none of {first} to {last} is there"),
                _ => String::new(),
            };
            (DriverHealth::Undetected, format!("no Python interpreter: {}{besides}", complaints.join("; ")))
        }
    };
    Fingerprint { health, reason, attributes: Vec::new() }
}

fn attributes(choice: &Interpreter, survey: &Survey) -> Vec<Attribute> {
    let mut versions: Vec<&str> = Vec::new();
    for interpreter in survey.working() {
        if !versions.contains(&interpreter.version.as_str()) {
            versions.push(&interpreter.version);
        }
    }
    let mut attributes = vec![
        attribute::flag("driver.python", true),
        attribute::text("driver.python.version", &choice.version),
        attribute::text("driver.python.path", &choice.path),
        attribute::text("driver.python.implementation", &choice.implementation),
        attribute::text("driver.python.versions", &versions.join(",")),
    ];
    for interpreter in survey.working() {
        // A dot would nest, and a job's language cannot say a number behind one.
        let file = interpreter.name.rsplit('/').next().unwrap_or_default().replace('.', "_");
        let name = format!("driver.python.{file}");
        if !attributes.iter().any(|earlier| earlier.name == name) {
            attributes.push(attribute::text(&name, &interpreter.version));
        }
    }
    attributes
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;

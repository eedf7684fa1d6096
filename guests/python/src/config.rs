//! The operator's configuration: which interpreters to look for.

use serde::Deserialize;
use yurt_sdk::{Diagnostic, Said};

use crate::paths;

/// The configuration as its schema (`config.hcldec`) delivers it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Config {
    pub(crate) interpreters: Option<Vec<String>>,
}

/// Where nothing is configured. Today's name first: `python` is Python 2 on some systems.
const INTERPRETERS: [&str; 2] = ["python3", "python"];
/// Each is looked at twice on every fingerprint.
const MOST: usize = 16;

impl Config {
    /// Names and absolute paths, the first that is found being the driver's choice.
    pub(crate) fn interpreters(&self) -> Vec<&str> {
        match &self.interpreters {
            Some(given) => given.iter().map(String::as_str).filter(|one| fits(one)).collect(),
            None => INTERPRETERS.to_vec(),
        }
    }

    /// Looked for beside these, for jobs that name one: unless the operator said what to look for.
    pub(crate) fn others(&self) -> Vec<String> {
        if self.interpreters.is_some() {
            return Vec::new();
        }
        let mut names: Vec<String> = (6..20).rev().map(|minor| format!("python3.{minor}")).collect();
        names.extend(["python2.7", "pypy3"].map(str::to_owned));
        names
    }

    pub(crate) fn check(&self) -> Vec<Diagnostic> {
        let mut said = Said::default();
        let Some(given) = &self.interpreters else { return said.0 };
        if given.is_empty() {
            let hint = Some("leave it out, or name one: [\"python3\"]");
            said.error("interpreters", "interpreters = []: no interpreter can be found".into(), hint);
        }
        if given.len() > MOST {
            said.error("interpreters", format!("interpreters has {} entries, more than {MOST}", given.len()), None);
        }
        for (index, one) in given.iter().enumerate() {
            let path = format!("interpreters[{index}]");
            if !fits(one) {
                let message =
                    format!("{path} = {one:?}: a name such as \"python3.11\" or an absolute path is expected");
                said.error(&path, message, None);
            } else if given.iter().take(index).any(|earlier| earlier == one) {
                said.warn(&path, format!("{path} = {one:?} stands there twice"), None);
            }
        }
        said.0
    }
}

fn fits(one: &str) -> bool {
    paths::is_absolute(one) || paths::is_name(one)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

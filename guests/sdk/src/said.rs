//! What is said about a configuration, gathered while it is read.

use crate::{Diagnostic, Severity};

/// Findings in the order in which they were made.
#[derive(Debug, Default)]
pub struct Said(pub Vec<Diagnostic>);

impl Said {
    /// Something wrong at `path`; `hint` says what to write instead.
    pub fn error(&mut self, path: &str, message: String, hint: Option<&str>) {
        self.say(Severity::Error, path, message, hint);
    }

    /// Something odd at `path`, which is no reason to refuse.
    pub fn warn(&mut self, path: &str, message: String, hint: Option<&str>) {
        self.say(Severity::Warning, path, message, hint);
    }

    fn say(&mut self, severity: Severity, path: &str, message: String, hint: Option<&str>) {
        self.0.push(Diagnostic { severity, path: path.into(), message, hint: hint.map(str::to_owned) });
    }
}

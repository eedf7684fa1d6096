//! What is said about a configuration, gathered while it is read.

use yurt_sdk::{Diagnostic, Severity};

#[derive(Default)]
pub(crate) struct Said(pub(crate) Vec<Diagnostic>);

impl Said {
    pub(crate) fn error(&mut self, path: &str, message: String, hint: Option<&str>) {
        self.0.push(Diagnostic {
            severity: Severity::Error,
            path: path.into(),
            message,
            hint: hint.map(str::to_owned),
        });
    }

    pub(crate) fn warn(&mut self, path: &str, message: String, hint: Option<&str>) {
        self.0.push(Diagnostic {
            severity: Severity::Warning,
            path: path.into(),
            message,
            hint: hint.map(str::to_owned),
        });
    }
}

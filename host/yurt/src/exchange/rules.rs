//! The policy file: the guest's own keys, laid over the agent's configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use yurt_guest::read_trusted;
use yurt_guest::usb::{Diagnostic, Severity};
use yurt_nomad::config::{laid_over, place_of};
use yurt_nomad::schema::Spec;

use crate::diagnostics::sentence;

/// Longest policy file, in bytes.
const MOST: u64 = 256 << 10;

/// What the file said when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) file: PathBuf,
    pub(crate) text: Arc<str>,
}

impl Rules {
    /// None: there is no such file. Only root's or the plugin's own is read, that nobody else may write.
    pub(crate) fn read(file: &Path) -> Result<Option<Rules>, String> {
        if std::fs::symlink_metadata(file).is_err_and(|why| why.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let me = [rustix::process::geteuid().as_raw()];
        let bytes = read_trusted(file, &me, MOST).map_err(|why| format!("policy file {}: {why}", file.display()))?;
        let text = String::from_utf8(bytes).map_err(|why| {
            format!("policy file {}: byte {} is not UTF-8", file.display(), why.utf8_error().valid_up_to())
        })?;
        Ok(Some(Rules { file: file.to_owned(), text: text.into() }))
    }

    /// What the guest gets, where the agent alone would give it `below`.
    pub(crate) fn over(&self, keys: &Spec, below: &Value) -> Result<Value, String> {
        laid_over(&self.text, &self.name(), keys, below).map_err(|why| why.to_string())
    }

    /// What the guest finds wrong, each with its place in the file where it stands there.
    pub(crate) fn refusal(&self, findings: &[Diagnostic]) -> Option<String> {
        let errors = findings.iter().filter(|finding| matches!(finding.severity, Severity::Error));
        let errors: Vec<String> = errors
            .map(|finding| match place_of(&self.text, &finding.path) {
                Some((line, column)) => format!("{}:{line}:{column}: {}", self.name(), sentence(finding)),
                None => sentence(finding),
            })
            .collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    fn name(&self) -> String {
        self.file.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_that_others_may_write_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.hcl");
        assert_eq!(Rules::read(&file), Ok(None));
        std::fs::write(&file, "a = 1").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(&*Rules::read(&file).unwrap().unwrap().text, "a = 1");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(Rules::read(&file).unwrap_err().contains("chmod go-w"));
    }

    #[test]
    fn what_the_guest_finds_is_told_with_line_and_column() {
        let rules = Rules { file: "/etc/yurt/usb.hcl".into(), text: "\nrule {\n  vendor = 70000\n}\n".into() };
        let finding = |path: &str, severity| Diagnostic {
            severity,
            path: path.into(),
            message: "no vendor id".into(),
            hint: None,
        };
        let said =
            rules.refusal(&[finding("rule[0].vendor", Severity::Error), finding("other", Severity::Error)]).unwrap();
        assert_eq!(said, "/etc/yurt/usb.hcl:3:3: rule[0].vendor: no vendor id; other: no vendor id");
        assert_eq!(rules.refusal(&[finding("rule[0]", Severity::Warning)]), None);
    }
}

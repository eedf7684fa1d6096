//! What a guest finds in a configuration or in a job, as sentences for people.

use yurt_guest::usb as wit;

/// Logs what a guest finds odd and not wrong.
pub(crate) fn warned(findings: &[wit::Diagnostic]) {
    for warning in findings.iter().filter(|finding| matches!(finding.severity, wit::Severity::Warning)).map(sentence) {
        tracing::warn!("configuration: {warning}");
    }
}

/// The guest's findings as the one sentence that stops the agent's start, or nothing.
pub(crate) fn refusal(findings: &[wit::Diagnostic]) -> Option<String> {
    let errors: Vec<String> =
        findings.iter().filter(|finding| matches!(finding.severity, wit::Severity::Error)).map(sentence).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// `rule[2].vendor: not a vendor id (write "0x12f7" or "4855")`.
pub(crate) fn sentence(finding: &wit::Diagnostic) -> String {
    let mut text = located(&finding.path, &finding.message);
    if let Some(hint) = &finding.hint {
        text.push_str(&format!(" ({hint})"));
    }
    text
}

/// A message with where it belongs. One that begins with its key, `vendor = "x": …` or `script must be …`, is not told it twice.
pub(crate) fn located(path: &str, message: &str) -> String {
    let (above, key) = path.rfind('.').map_or(("", path), |dot| path.split_at(dot + 1));
    match message.strip_prefix(key) {
        _ if path.is_empty() => message.to_owned(),
        Some(rest) if rest.starts_with(' ') => format!("{above}{message}"),
        _ => format!("{path}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_sentence_that_names_its_key_once() {
        let finding = |path: &str, message: &str, hint: Option<&str>| {
            sentence(&wit::Diagnostic {
                severity: wit::Severity::Error,
                path: path.into(),
                message: message.into(),
                hint: hint.map(str::to_owned),
            })
        };
        assert_eq!(finding("", "nothing is offered", None), "nothing is offered");
        assert_eq!(
            finding("period", "period = \"x\": no duration", Some("\"10s\"")),
            "period = \"x\": no duration (\"10s\")"
        );
        assert_eq!(finding("rule[2].vendor", "vendor = \"x\": no id", None), "rule[2].vendor = \"x\": no id");
        assert_eq!(finding("rule[2].vendor", "vendors are many", None), "rule[2].vendor: vendors are many");
        assert_eq!(finding("work_dir", "work_dir must be absolute", None), "work_dir must be absolute");
    }
}

//! What was found in a job, for people with the line that it is about, and for programs.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};
use yurt_guest::usb::Severity;

use super::{Diagnostic, Of, Report};
use crate::cli::term::{Out, Style};

/// Most characters of a line that are shown, and how many of them before what is underlined.
const LINE_MAX: usize = 160;
const BEFORE: usize = 40;

/// Everything, and a line that sums it up.
pub(super) fn people(out: &mut Out, report: &Report) -> std::io::Result<()> {
    for diagnostic in &report.diagnostics {
        one(out, report, diagnostic)?;
    }
    let verdict = summary(report);
    let errors = count(report, &Severity::Error);
    let style = if errors > 0 { Style::Bad } else { Style::Good };
    out.line(&out.paint(style, &format!("{}: {verdict}", report.file)))
}

fn one(out: &mut Out, report: &Report, diagnostic: &Diagnostic) -> std::io::Result<()> {
    let place = Place::of(&report.text, &diagnostic.at);
    let style = if is_error(diagnostic) { Style::Bad } else { Style::Name };
    let message = printable(&diagnostic.message);
    out.line(&format!("{}: {}", out.paint(style, word(&diagnostic.severity)), out.paint(Style::Strong, &message)))?;
    let pad = " ".repeat(place.line.to_string().len());
    let faint = |text: &str| out.paint(Style::Faint, text);
    let of = diagnostic.of.as_ref().map_or_else(String::new, |of| format!(", in {}", whose(of)));
    let mut lines = vec![
        format!("{pad}{} {}:{}:{}{of}", faint("-->"), report.file, place.line, place.column),
        format!("{pad} {}", faint("|")),
        format!("{} {} {}", faint(&place.line.to_string()), faint("|"), place.shown).trim_end().to_owned(),
        format!("{pad} {} {}{}", faint("|"), " ".repeat(place.before), out.paint(style, &"^".repeat(place.carets))),
    ];
    if let Some(hint) = &diagnostic.hint {
        lines.push(format!("{pad} {} {}", faint("= help:"), printable(hint)));
    }
    lines.push(String::new());
    out.line(&lines.join("\n"))
}

fn whose(of: &Of) -> String {
    let group = of.group.as_ref().map_or_else(String::new, |group| format!(" of group {group:?}"));
    match of.task.as_str() {
        "" => format!("a task{group}"),
        name => format!("task {name:?}{group}"),
    }
}

fn word(severity: &Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn is_error(diagnostic: &Diagnostic) -> bool {
    matches!(diagnostic.severity, Severity::Error)
}

fn count(report: &Report, of: &Severity) -> usize {
    report.diagnostics.iter().filter(|one| word(&one.severity) == word(of)).count()
}

fn summary(report: &Report) -> String {
    let mut text = match (count(report, &Severity::Error), count(report, &Severity::Warning)) {
        (0, 0) if report.checked > 0 => format!("{} in order", of(report.checked, "task")),
        (0, 0) => "nothing to check".to_owned(),
        (0, warnings) => of(warnings, "warning"),
        (errors, 0) => of(errors, "error"),
        (errors, warnings) => format!("{}, {}", of(errors, "error"), of(warnings, "warning")),
    };
    let passed: usize = report.passed_over.values().sum();
    if passed > 0 {
        let drivers: Vec<String> = report.passed_over.keys().map(|name| printable(name)).collect();
        let _ = write!(text, "; {} of other drivers passed over ({})", of(passed, "task"), drivers.join(", "));
    }
    if report.cut {
        text.push_str("; the rest of the job was not looked at");
    }
    text
}

fn of(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The machine's form.
pub(super) fn json(report: &Report) -> Value {
    let diagnostics = report.diagnostics.iter().map(|diagnostic| {
        let (place, end) = (Place::of(&report.text, &diagnostic.at), position(&report.text, diagnostic.at.end));
        let of = diagnostic.of.as_ref();
        json!({
            "severity": word(&diagnostic.severity),
            "line": place.line,
            "column": place.column,
            "end_line": end.0,
            "end_column": end.1,
            "group": of.and_then(|of| of.group.as_deref()),
            "task": of.map(|of| of.task.as_str()),
            "driver": of.map(|of| of.driver.as_str()),
            "path": of.and_then(|of| of.path.as_deref()),
            "message": diagnostic.message,
            "hint": diagnostic.hint,
        })
    });
    json!({
        "file": report.file,
        "checked": report.checked,
        "passed_over": report.passed_over,
        "cut": report.cut,
        "error": null,
        "diagnostics": diagnostics.collect::<Vec<_>>(),
    })
}

/// The same where nothing could be judged.
pub(super) fn not_checked(file: &Path, why: &anyhow::Error) -> Value {
    json!({
        "file": file.display().to_string(),
        "checked": 0,
        "passed_over": {},
        "cut": false,
        "error": format!("{why:#}"),
        "diagnostics": [],
    })
}

/// Where something is, as it is shown.
struct Place {
    line: usize,
    column: usize,
    /// The line, or what of a long one is around the place.
    shown: String,
    /// Characters of it before the place, and of the place.
    before: usize,
    carets: usize,
}

impl Place {
    fn of(text: &str, at: &Range<usize>) -> Place {
        let (line, column) = position(text, at.start);
        let whole = text.split('\n').nth(line - 1).unwrap_or_default();
        let whole = whole.strip_suffix('\r').unwrap_or(whole);
        let length = whole.chars().count();
        let before = (column - 1).min(length);
        // Of what goes on in the next line, only the first is underlined.
        let wide =
            text.get(at.clone()).unwrap_or_default().lines().next().unwrap_or_default().trim_end().chars().count();
        let skipped = if length > LINE_MAX { before.saturating_sub(BEFORE) } else { 0 };
        let mut shown: String = whole.chars().skip(skipped).take(LINE_MAX).map(plain).collect();
        if skipped > 0 {
            shown = format!("…{}", shown.chars().skip(1).collect::<String>());
        }
        if length > skipped + LINE_MAX {
            shown.push('…');
        }
        let before = before - skipped;
        Place { line, column, shown, before, carets: wide.min(LINE_MAX - before.min(LINE_MAX)).max(1) }
    }
}

/// Line and column from 1, in characters. What is no boundary of a character is the last one before.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..text.floor_char_boundary(at)).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

/// One column each, and nothing that a terminal would obey.
fn plain(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

fn printable(text: &str) -> String {
    text.chars().map(plain).collect()
}

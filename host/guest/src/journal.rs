//! What a guest says on its way to an answer: lines of the `log` import, and what its toolchain prints on WASI's stdout and stderr.
//!
//! Lines are kept while the call runs and become `tracing` events after it, so that a slow reader of our log costs the guest no time
//! and cannot hold a call beyond its deadline.

use std::fmt::Write as _;

use crate::limits::Limits;

/// Longest line, in bytes after cleaning.
const LINE: usize = 2048;

/// How loud a line is; the five levels of `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The lines of one call, bounded.
#[derive(Debug)]
pub(crate) struct Journal {
    lines: Vec<(Level, String)>,
    lines_left: u64,
    bytes_left: usize,
    left_out: u64,
    cut: u64,
}

impl Journal {
    pub(crate) fn new(limits: &Limits) -> Journal {
        let bytes_left = usize::try_from(limits.log_bytes).unwrap_or(usize::MAX);
        Journal { lines: Vec::new(), lines_left: limits.log_lines, bytes_left, left_out: 0, cut: 0 }
    }

    /// Takes a line, or counts it.
    pub(crate) fn write(&mut self, level: Level, text: &str) {
        if self.lines_left == 0 || self.bytes_left == 0 {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let (line, cut) = clean(text.trim_end(), LINE.min(self.bytes_left));
        self.lines_left -= 1;
        self.bytes_left = self.bytes_left.saturating_sub(line.len());
        self.cut += u64::from(cut);
        self.lines.push((level, line));
    }

    /// Emits everything under target `guest`; how many lines the guest wrote.
    pub(crate) fn emit(self, guest: &str, version: &str, call: &'static str) -> u64 {
        let written = self.left_out.saturating_add(u64::try_from(self.lines.len()).unwrap_or(u64::MAX));
        for (level, line) in self.lines {
            match level {
                Level::Trace => tracing::trace!(target: "guest", guest, version, call, "{line}"),
                Level::Debug => tracing::debug!(target: "guest", guest, version, call, "{line}"),
                Level::Info => tracing::info!(target: "guest", guest, version, call, "{line}"),
                Level::Warn => tracing::warn!(target: "guest", guest, version, call, "{line}"),
                Level::Error => tracing::error!(target: "guest", guest, version, call, "{line}"),
            }
        }
        let Journal { left_out, cut, .. } = Journal { lines: Vec::new(), ..self };
        if left_out + cut > 0 {
            tracing::warn!(target: "guest", guest, version, call, left_out, cut, "the guest logged more than it may");
        }
        written
    }

    #[cfg(test)]
    pub(crate) fn lines(&self) -> &[(Level, String)] {
        &self.lines
    }
}

/// One printable line of at most `most` bytes: line breaks shown as `⏎`, other control characters and direction marks as `·`.
pub(crate) fn clean(text: &str, most: usize) -> (String, bool) {
    let mut line = String::with_capacity(text.len().min(most));
    for character in text.chars() {
        let shown = match character {
            '\n' => '⏎',
            '\t' => ' ',
            '\r' => continue,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '·',
            other if other.is_control() => '·',
            other => other,
        };
        if line.len() + shown.len_utf8() > most {
            return (line, true);
        }
        line.push(shown);
    }
    (line, false)
}

/// `bytes` as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reaches_the_log_without_control_characters() {
        let (line, cut) = clean("a\x1b[31mb\nc\u{202e}d\r\te\u{0}", 100);
        assert_eq!((line.as_str(), cut), ("a·[31mb⏎c·d e·", false));
    }

    #[test]
    fn lines_and_bytes_over_the_limit_are_counted_not_kept() {
        let mut journal = Journal::new(&Limits { log_lines: 3, log_bytes: 10, ..Limits::default() });
        for text in ["12345", "678901234", "gone", "gone"] {
            journal.write(Level::Info, text);
        }
        assert_eq!(journal.lines().iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), ["12345", "67890"]);
        assert_eq!((journal.left_out, journal.cut), (2, 1));
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(clean("ää", 3).0, "ä");
    }
}

//! Texts that devices say of themselves, made safe to show and to compare.
//!
//! A string descriptor is whatever a device's firmware put there: line breaks, escape sequences, half characters.
//! It ends up in logs, on terminals and in names, so it is cleaned once, here.

use crate::facts::{Label, SerialQuality};

/// A string descriptor holds at most 253 bytes of UTF-16 behind its header (USB 2.0 §9.6.7).
const MAX_CHARS: usize = 126;

/// Cleans the content of a sysfs string attribute; none where nothing is left to read.
///
/// The line feed that sysfs adds is not counted as the device's own.
pub(crate) fn label(attribute: &[u8]) -> Option<Label> {
    let raw = attribute.strip_suffix(b"\n").unwrap_or(attribute);
    let text = clean(&String::from_utf8_lossy(raw));
    let cleaned = text.as_bytes() != raw;
    (!text.is_empty()).then_some(Label { text, cleaned })
}

fn clean(raw: &str) -> String {
    let visible: String = raw
        .chars()
        .map(|c| if matches!(c, '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .filter(|&c| !c.is_control() && !is_invisible(c))
        .collect();
    let cut: String = visible.trim().chars().take(MAX_CHARS).collect();
    cut.trim_end().to_owned()
}

/// Marks that change how their neighbours look without showing themselves: zero-width and direction marks.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// What a serial is worth by its own looks. Whether another device has it too is for [`crate::serials`] to say.
pub(crate) fn serial_quality(serial: Option<&Label>) -> SerialQuality {
    match serial {
        None => SerialQuality::Absent,
        Some(label) if is_placeholder(&label.text) => SerialQuality::Placeholder,
        Some(_) => SerialQuality::Unique,
    }
}

fn is_placeholder(serial: &str) -> bool {
    const WORDS: &[&str] = &[
        "serial",
        "serialnumber",
        "serialno",
        "serialnum",
        "sn",
        "noserial",
        "noserialnumber",
        "none",
        "null",
        "na",
        "unknown",
        "undefined",
        "default",
        "empty",
        "test",
        "tbd",
        "string",
        "iserial",
        "iserialnumber",
        "notset",
        "notspecified",
        "notavailable",
        "tobefilledbyoem",
        "deadbeef",
        "abcdef",
        "abcdefgh",
    ];
    const RUNS: &[&str] = &[
        "0123456789abcdef0123456789abcdef",
        "1234567890abcdef1234567890abcdef",
        "123456789abcdef0",
        "12345678901234567890",
    ];

    let plain: String = serial.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let mut chars = plain.chars();
    let Some(first) = chars.next() else { return true };
    chars.all(|c| c == first)
        || WORDS.contains(&plain.as_str())
        || (plain.len() >= 4 && RUNS.iter().any(|run| run.starts_with(&plain)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cleaned(raw: &[u8]) -> (String, bool) {
        label(raw).map(|l| (l.text, l.cleaned)).unwrap_or_default()
    }

    #[test]
    fn an_ordinary_string_stays_as_it_is() {
        assert_eq!(cleaned(b"Yubico\n"), ("Yubico".into(), false));
        assert_eq!(
            cleaned("Kombi-Gerät \"5\" $x; rm -rf\n".as_bytes()),
            ("Kombi-Gerät \"5\" $x; rm -rf".into(), false)
        );
    }

    #[test]
    fn controls_blanks_and_broken_bytes_are_cleaned_and_that_is_said() {
        assert_eq!(cleaned(b"  A\tB \n"), ("A B".into(), true));
        assert_eq!(cleaned(b"A\x1b[31mB\x00\n"), ("A[31mB".into(), true));
        assert_eq!(cleaned(b"two\nlines\n"), ("two lines".into(), true));
        assert_eq!(cleaned(b"\xff\xfeX\n"), ("\u{fffd}\u{fffd}X".into(), true));
        assert_eq!(cleaned("abc\u{202e}def\n".as_bytes()), ("abcdef".into(), true));
        assert_eq!(cleaned(&[b'x'; 4096]), ("x".repeat(126), true));
    }

    #[test]
    fn a_string_of_nothing_visible_is_no_string() {
        assert_eq!(label(b"\n"), None);
        assert_eq!(label(b" \t\x01\n"), None);
    }

    #[test]
    fn serials_that_no_device_owns_are_placeholders() {
        for text in [
            "0",
            "0000000000",
            "0-0-0",
            "FFFFFFFF",
            "123456",
            "1234",
            "0123456789ABCDEF",
            "123456789012",
            "N/A",
            "Serial Number",
            "----",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["0001", "A5069RR4", "12341234", "123", "5C00000000A1", "é✓ ünï"] {
            assert!(!is_placeholder(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_clean_label(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(label) = label(&raw) {
                prop_assert!(!label.text.is_empty() && label.text.chars().count() <= MAX_CHARS);
                prop_assert!(!label.text.chars().any(char::is_control));
                prop_assert_eq!(label.text.trim(), &label.text);
                prop_assert_eq!(label.cleaned, raw.strip_suffix(b"\n").unwrap_or(&raw) != label.text.as_bytes());
                let again = super::label(label.text.as_bytes()).map(|l| (l.text, l.cleaned));
                prop_assert_eq!(again, Some((label.text.clone(), false)));
            }
        }

        #[test]
        fn any_text_has_a_serial_quality(text in ".*") {
            let label = label(text.as_bytes());
            prop_assert_eq!(serial_quality(label.as_ref()) == SerialQuality::Absent, label.is_none());
        }
    }
}

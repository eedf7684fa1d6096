//! Globs: `*` any characters, `?` one, everything else itself.

/// Whether the whole text matches. Linear memory, quadratic time at worst; both sides are bounded by the host.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to take up again when the characters after the last star turn out not to fit.
    let mut again: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let here = pattern.clone();
        match pattern.next() {
            Some('*') => again = Some((here, text.clone())),
            Some(want) => match text.next() {
                Some(have) if want == '?' || want == have => {}
                _ => {
                    let Some((star, mut skipped)) = again else { return false };
                    if skipped.next().is_none() {
                        return false;
                    }
                    (pattern, text, again) = (star, skipped, None);
                }
            },
            None => {
                if text.as_str().is_empty() {
                    return true;
                }
                let Some((star, mut skipped)) = again else { return false };
                if skipped.next().is_none() {
                    return false;
                }
                (pattern, text, again) = (star, skipped, None);
            }
        }
    }
}

/// The same, ASCII letters in any case.
pub(crate) fn matches_any_case(pattern: &str, text: &str) -> bool {
    matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        for (pattern, text, want) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("?", "", false),
            ("?", "é", true),
            ("1-1.*", "1-1.4", true),
            ("1-1.*", "1-1.4.2", true),
            ("1-1.*", "1-1", false),
            ("*ab", "aab", true),
            ("*ab", "abab", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*a?", "aaab", true),
            ("**x", "yx", true),
            ("a[b]", "a[b]", true),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} on {text}");
        }
        assert!(matches_any_case("cp210?*", "CP2102 USB to UART"));
        assert!(!matches_any_case("cp210?", "CP2102 USB to UART"));
    }

    #[test]
    fn many_stars_end_soon() {
        let pattern = "*a".repeat(60);
        assert!(!matches(&pattern, &"a".repeat(59)));
        assert!(!matches(&format!("{pattern}b"), &"a".repeat(126)));
    }
}

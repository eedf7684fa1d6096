//! Text that came from devices, guests and peers, made fit for logs and the agent's node page.

/// Control characters become blanks, runs of blanks one, and what is longer than `max` characters ends in `…`.
pub(crate) fn cleaned(text: &str, max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max.saturating_mul(4)));
    let mut length = 0usize;
    let mut blank = false;
    for character in text.chars() {
        if character.is_control() || character.is_whitespace() {
            blank = length > 0;
            continue;
        }
        if length + usize::from(blank) + 1 > max {
            if length >= max {
                clean.pop();
            }
            clean.push('…');
            return clean;
        }
        if blank {
            clean.push(' ');
            length += 1;
            blank = false;
        }
        clean.push(character);
        length += 1;
    }
    clean
}

/// The word among `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let allowed = length.div_ceil(3).min(3);
    known
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut left = i + 1;
        next.push(left);
        for (y, above) in b.iter().zip(row.windows(2)) {
            let &[diagonal, up] = above else { continue };
            left = (diagonal + usize::from(x != *y)).min(up + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_runs_of_blanks_become_one_blank() {
        assert_eq!(cleaned("  a\u{0}\u{1b}[31m\n\tb \u{85} c  ", 99), "a [31m b c");
        assert_eq!(cleaned("", 5), "");
        assert_eq!(cleaned("\n\n", 5), "");
    }

    #[test]
    fn a_long_text_ends_in_an_ellipsis_within_the_bound() {
        assert_eq!(cleaned("abcdef", 6), "abcdef");
        assert_eq!(cleaned("abcdefg", 6), "abcde…");
        assert_eq!(cleaned("äöüäöüä", 6), "äöüäö…");
        assert_eq!(cleaned("abcde fg", 6), "abcde…");
        assert_eq!(cleaned("abcdef ", 6), "abcdef");
        assert!(cleaned(&"x y ".repeat(100), 160).chars().count() <= 160);
    }

    #[test]
    fn a_near_miss_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("verndor", ["vendor", "product", "serial"]), Some("vendor"));
        assert_eq!(nearest("x", ["vendor", "product"]), None);
        assert_eq!(nearest("prodcut", ["vendor", "product"]), Some("product"));
        assert_eq!(nearest("", ["a"]), None);
    }
}

//! Names that can stand in `device "vendor/type/name"` of a job: Nomad splits there at slashes.

/// Lower-case ASCII letters, digits and single inner `-`, made from any name: `SanDisk Corp.` → `sandisk-corp`. Accents of Latin
/// letters are dropped, what has no ASCII letter separates. At most `longest` bytes; none if nothing is left.
pub fn slug(name: &str, longest: usize) -> Option<String> {
    let mut slug = String::new();
    for c in name.chars() {
        let plain = if c.is_ascii_alphanumeric() { Some(c.to_ascii_lowercase()) } else { without_accent(c) };
        match plain {
            Some(c) => slug.push(c),
            // An apostrophe joins: "Int'l" is one word.
            None if c == '\'' || c == '’' => {}
            None if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            None => {}
        }
        if slug.len() > longest {
            break;
        }
    }
    slug.truncate(longest);
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

/// The Latin letters that vendor names really use; a table of all of Unicode would be larger than the guest.
fn without_accent(c: char) -> Option<char> {
    Some(match c {
        'À'..='Å' | 'à'..='å' => 'a',
        'Ç' | 'ç' => 'c',
        'È'..='Ë' | 'è'..='ë' => 'e',
        'Ì'..='Ï' | 'ì'..='ï' => 'i',
        'Ñ' | 'ñ' => 'n',
        'Ò'..='Ö' | 'Ø' | 'ò'..='ö' | 'ø' => 'o',
        'Ù'..='Ü' | 'ù'..='ü' => 'u',
        'ß' => 's',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words_that_a_job_can_write() {
        for (name, want) in [
            ("SanDisk Corp.", Some("sandisk-corp")),
            ("Memorex", Some("memorex")),
            ("TD 2B", Some("td-2b")),
            ("A/B, Inc. (Int'l)", Some("a-b-inc-intl")),
            ("Jörg Küßner", Some("jorg-kusner")),
            ("  --  ", None),
            ("株式会社", None),
            ("", None),
            ("1234", Some("1234")),
        ] {
            assert_eq!(slug(name, 60).as_deref(), want, "{name}");
        }
        assert_eq!(slug("abc def", 4).as_deref(), Some("abc"));
    }
}

//! Which Linux this is, as far as profiles ask.

/// Major and minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Release(u32, u32);

impl Release {
    /// `4.8`; what follows two numbers is left out.
    pub(super) fn parse(text: &str) -> Option<Release> {
        let (major, rest) = text.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Release(major.parse().ok()?, rest.get(..digits)?.parse().ok()?))
    }

    /// The kernel's own; one that says nothing of the kind counts as old.
    pub(super) fn running() -> Release {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Release::parse(&release).unwrap_or(Release(0, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_apart_by_two_numbers() {
        for (text, wanted) in
            [("4.8", Release(4, 8)), ("6.18.44-1-amd64", Release(6, 18)), ("5.10-rc1", Release(5, 10))]
        {
            assert_eq!(Release::parse(text), Some(wanted), "{text}");
        }
        for text in ["", "4", "four.8", "4.", "4.x"] {
            assert_eq!(Release::parse(text), None, "{text}");
        }
        assert!(Release(4, 10) > Release(4, 8) && Release(5, 0) > Release(4, 20));
        assert!(Release::running() > Release(4, 8));
    }
}

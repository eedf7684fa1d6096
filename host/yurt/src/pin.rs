//! A guest pinned by its check sum: whatever else lies in its place does not serve, neither at a start nor by a swap.

/// What `guest_digest` says, and where the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    /// SHA-256 in hexadecimal.
    digest: String,
    key: &'static str,
}

impl Pin {
    /// From `sha256:` and 64 hexadecimal digits.
    pub(crate) fn parse(key: &'static str, given: &str) -> Result<Pin, String> {
        let digits = given.strip_prefix("sha256:").filter(|digits| digits.len() == 64);
        match digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())) {
            Some(digits) => Ok(Pin { digest: digits.to_ascii_lowercase(), key }),
            None => Err(format!(
                "{key} = {given:?}: must be \"sha256:\" and the 64 digits that `yurt guest inspect` prints"
            )),
        }
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Why a guest with this check sum must not serve.
    pub(crate) fn refusal(&self, digest: &str) -> Option<String> {
        (self.digest != digest).then(|| {
            format!(
                "its digest is sha256:{digest}, and {} allows sha256:{} only: put that guest in its place, or change the digest there",
                self.key, self.digest
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_a_whole_digest_and_names_both_where_it_refuses() {
        let [one, other] = ["a1", "b2"].map(|digits| digits.repeat(32));
        let pin = Pin::parse("yurt.guest_digest", &format!("sha256:{}", one.to_uppercase())).unwrap();
        assert_eq!(pin.refusal(&one), None);
        let why = pin.refusal(&other).unwrap();
        assert!(why.contains(&one) && why.contains(&other) && why.contains("yurt.guest_digest"), "{why}");
        for given in
            [one.as_str(), "sha256:", "sha256:abc", "sha512:00", &format!("sha256:{}", "x1".repeat(32)), "latest"]
        {
            let why = Pin::parse("--guest-digest", given).unwrap_err();
            assert!(why.contains("--guest-digest") && why.contains("64 digits"), "{why}");
        }
    }
}

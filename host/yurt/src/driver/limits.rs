//! Limits that a plan may wish for, by the kernel's name: `getrlimit(2)` in small letters, and files of the control group.

/// Where a limit is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of each process, by the kernel's number.
    Process(u32),
    /// Processes and threads of the whole task: `pids.max`.
    Pids,
}

/// Numbers as on every architecture that the kernel calls generic.
const KNOWN: [(&str, Kind); 15] = [
    ("cpu", Kind::Process(0)),
    ("fsize", Kind::Process(1)),
    ("data", Kind::Process(2)),
    ("stack", Kind::Process(3)),
    ("core", Kind::Process(4)),
    ("nproc", Kind::Process(6)),
    ("nofile", Kind::Process(7)),
    ("memlock", Kind::Process(8)),
    ("as", Kind::Process(9)),
    ("locks", Kind::Process(10)),
    ("sigpending", Kind::Process(11)),
    ("msgqueue", Kind::Process(12)),
    ("nice", Kind::Process(13)),
    ("rtprio", Kind::Process(14)),
    ("pids.max", Kind::Pids),
];

/// A limit of this name.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

pub(crate) fn is_known(name: &str) -> bool {
    kind(name).is_some()
}

pub(crate) fn names() -> Vec<&'static str> {
    KNOWN.iter().map(|(name, _)| *name).collect()
}

/// `1024`, `1024:4096` (soft and hard) or `unlimited`; `u64::MAX` is no limit.
pub(crate) fn value(text: &str) -> Option<(u64, u64)> {
    let one = |text: &str| match text.trim() {
        "unlimited" | "infinity" | "max" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let (soft, hard) = (one(soft)?, one(hard)?);
    (soft <= hard).then_some((soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_number_or_soft_and_hard() {
        assert_eq!(value("1024"), Some((1024, 1024)));
        assert_eq!(value("1024:4096"), Some((1024, 4096)));
        assert_eq!(value("8:unlimited"), Some((8, u64::MAX)));
        for wrong in ["", "x", "-1", "9:8", "1:2:3"] {
            assert_eq!(value(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_numbers_are_the_kernel_s() {
        assert_eq!(kind("nofile"), Some(Kind::Process(rustix::process::Resource::Nofile as u32)));
        assert_eq!(kind("memlock"), Some(Kind::Process(rustix::process::Resource::Memlock as u32)));
        assert_eq!((kind("pids.max"), kind("speed")), (Some(Kind::Pids), None));
    }
}

//! System calls by name, as this machine numbers them.

use syscalls::Sysno;

/// Names of the kernel's that the table has others for.
const RENAMED: &[(&str, &str)] = if cfg!(target_arch = "aarch64") { &[("newfstatat", "fstatat")] } else { &[] };

/// `None`: this machine has no such call, or nobody knows it yet.
pub(super) fn number(name: &str) -> Option<u32> {
    let name = RENAMED.iter().find(|(renamed, _)| *renamed == name).map_or(name, |(_, ours)| ours);
    name.parse::<Sysno>().ok().and_then(|call| call.id().try_into().ok())
}

/// For people.
pub(super) fn name(number: u32) -> &'static str {
    usize::try_from(number).ok().and_then(Sysno::new).map_or("?", |call| call.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernel_s() {
        for (name, wanted) in [
            ("read", libc::SYS_read),
            ("newfstatat", libc::SYS_newfstatat),
            ("clone3", libc::SYS_clone3),
            ("landlock_create_ruleset", libc::SYS_landlock_create_ruleset),
        ] {
            assert_eq!(number(name).map(i64::from), Some(wanted), "{name}");
        }
        for nowhere in ["", "Read", "arm_fadvise64_64", "s390_pci_mmio_read", "no_such_call"] {
            assert_eq!(number(nowhere), None, "{nowhere}");
        }
        assert_eq!(name(number("execve").unwrap()), "execve");
    }
}

//! Capabilities by name: `capabilities(7)`.

/// By number.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// What Nomad's own drivers leave a task.
const DEFAULT: [&str; 13] = [
    "audit_write",
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "mknod",
    "net_bind_service",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
];

/// A set, as bits by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Caps(pub(crate) u64);

impl Caps {
    /// The default set of Nomad's drivers.
    pub(crate) fn nomad() -> Caps {
        Caps(DEFAULT.iter().filter_map(|name| number(name)).fold(0, |set, bit| set | 1 << bit))
    }

    /// By names as `net_admin` or `CAP_NET_ADMIN` in any case; `all` is every one.
    pub(crate) fn named(names: &[String]) -> Result<Caps, String> {
        let mut set = 0;
        for name in names {
            let plain = name.to_ascii_lowercase();
            let plain = plain.strip_prefix("cap_").unwrap_or(&plain);
            set |= match plain {
                "all" => (1 << NAMES.len()) - 1,
                _ => 1 << number(plain).ok_or_else(|| format!("there is no capability {name:?}"))?,
            };
        }
        Ok(Caps(set))
    }

    /// Those of `self` that are not in `other`, by name, sorted.
    pub(crate) fn beyond(self, other: Caps) -> Vec<&'static str> {
        let mut names: Vec<&str> =
            (0..).zip(NAMES).filter(|(bit, _)| self.0 & !other.0 & (1 << bit) != 0).map(|(_, name)| name).collect();
        names.sort_unstable();
        names
    }
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Result<Caps, String> {
        Caps::named(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_default_set_has_the_mask_that_a_task_of_nomad_s_shows() {
        assert_eq!(Caps::nomad().0, 0xa804_05fb);
    }

    #[test]
    fn names_are_short_or_long_in_any_case_and_all_is_all() {
        assert_eq!(named(&["net_admin"]), Ok(Caps(1 << 12)));
        assert_eq!(named(&["CAP_NET_ADMIN", "Sys_Time"]), Ok(Caps(1 << 12 | 1 << 25)));
        assert_eq!(named(&["all"]).unwrap().0, (1 << 41) - 1);
        assert_eq!(named(&["not_valid"]), Err("there is no capability \"not_valid\"".to_owned()));
    }

    #[test]
    fn what_goes_beyond_a_set_is_named_in_order() {
        let wanted = named(&["sys_time", "net_admin", "chown"]).unwrap();
        assert_eq!(wanted.beyond(Caps::nomad()), ["net_admin", "sys_time"]);
    }
}

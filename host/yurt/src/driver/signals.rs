//! Signals by name: `signal(7)`.

use rustix::process::Signal;

const NAMES: [(&str, Signal); 31] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("IOT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// `SIGTERM`, `term` or `15`. The error names what is known.
pub(crate) fn number(name: &str) -> Result<i32, String> {
    let plain = name.to_ascii_uppercase();
    let plain = plain.strip_prefix("SIG").unwrap_or(&plain);
    let known = NAMES.iter().find(|(known, signal)| *known == plain || signal.as_raw().to_string() == plain);
    known.map(|(_, signal)| signal.as_raw()).ok_or_else(|| {
        format!("unknown signal {name:?}: it must be a name such as SIGTERM, or the number of a signal that has one")
    })
}

/// `SIGTERM`.
pub(crate) fn name(number: i32) -> String {
    let known = NAMES.iter().find(|(_, signal)| signal.as_raw() == number);
    known.map_or_else(|| format!("signal {number}"), |(name, _)| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_sig_in_any_case_and_numbers_are_known() {
        for text in ["SIGUSR1", "usr1", "SigUsr1", "10"] {
            assert_eq!(number(text), Ok(10), "{text}");
        }
        assert_eq!((number("SIGIOT"), name(6)), (Ok(6), "SIGABRT".to_owned()));
        for text in ["", "SIG", "SIGFOO", "0", "99", "-9", "USR1 "] {
            assert!(number(text).unwrap_err().contains("SIGTERM"), "{text}");
        }
    }
}

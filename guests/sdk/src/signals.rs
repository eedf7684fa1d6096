//! What signals mean to a task and how it is stopped, as a job says it:
//!
//! ```hcl
//! stop = ["SIGINT 5s", "all:SIGTERM 10s"]
//! signals {
//!   SIGHUP  = "all:SIGTERM"
//!   SIGUSR2 = "run:local/bin/dump --now"
//! }
//! ```
//!
//! A signal alone is for the main process, one behind `all:` for every process of the task; behind `run:` stands a command, its words
//! apart by blanks. A step of a stop ends in how long it is waited for; the last may leave that out, and gets what is left.

use std::collections::BTreeMap;

use crate::Said;
use crate::config::go_duration;
use crate::driver::{SignalAction, SignalRule, StopStep};

/// Those of `signal(7)` that can be sent by name.
const NAMES: &str = "HUP INT QUIT ILL TRAP ABRT IOT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM CHLD CONT STOP TSTP TTIN \
                     TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";
/// Most steps of a stop.
const STEPS: usize = 16;
/// What can be said in the place of a signal.
const FORMS: &str = "a signal (\"SIGTERM\"), \"all:\" with one for every process, or \"run:\" with a command";

/// Both keys of a job.
#[derive(Debug, Clone, Copy)]
pub struct Signals<'a> {
    /// By the signal that the agent sends.
    signals: Option<&'a BTreeMap<String, String>>,
    /// In order.
    stop: &'a [String],
}

impl<'a> Signals<'a> {
    /// As they were typed, where they were.
    pub fn of(signals: &'a Option<BTreeMap<String, String>>, stop: &'a Option<Vec<String>>) -> Signals<'a> {
        Signals { signals: signals.as_ref(), stop: stop.as_deref().unwrap_or_default() }
    }

    /// What is wrong with them, each at its path.
    pub fn check(&self, said: &mut Said) {
        for (name, text) in self.signals.into_iter().flatten() {
            let path = format!("signals.{name}");
            if !is_signal(name) {
                said.error(&path, format!("signals: there is no signal {name:?}"), Some("a name such as SIGHUP"));
            } else if let Err(why) = action(text) {
                said.error(&path, format!("{path} = {text:?}: {why}"), None);
            }
        }
        if self.stop.len() > STEPS {
            said.error("stop", format!("stop has {} steps, more than {STEPS}", self.stop.len()), None);
        }
        for (at, text) in self.stop.iter().enumerate() {
            let path = format!("stop[{at}]");
            if let Err(why) = step(text, at + 1 == self.stop.len()) {
                said.error(&path, format!("{path} = {text:?}: {why}"), Some("for example \"SIGINT 5s\""));
            }
        }
    }

    /// For the plan; what [`Signals::check`] refuses is left out.
    pub fn rules(&self) -> Vec<SignalRule> {
        let rule =
            |(name, text): (&String, &String)| Some(SignalRule { signal: name.clone(), action: action(text).ok()? });
        self.signals.into_iter().flatten().filter_map(rule).collect()
    }

    /// For the plan; what [`Signals::check`] refuses is left out.
    pub fn steps(&self) -> Vec<StopStep> {
        self.stop.iter().filter_map(|text| step(text, true).ok()).collect()
    }
}

/// `SIGTERM`, `all:SIGTERM`, `run:program words`.
fn action(text: &str) -> Result<SignalAction, String> {
    if let Some(command) = text.strip_prefix("run:") {
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        return if words.is_empty() {
            Err("there is no command behind run:".into())
        } else {
            Ok(SignalAction::Command(words))
        };
    }
    match text.strip_prefix("all:") {
        Some(name) if is_signal(name) => Ok(SignalAction::All(name.to_owned())),
        None if is_signal(text) => Ok(SignalAction::Main(text.to_owned())),
        _ => Err(format!("{FORMS} is expected")),
    }
}

/// The same with how long it is waited for.
fn step(text: &str, last: bool) -> Result<StopStep, String> {
    let text = text.trim();
    let (what, wait) = match text.rsplit_once(char::is_whitespace) {
        Some((what, word)) if word.starts_with(|c: char| c.is_ascii_digit()) => (what.trim_end(), Some(word)),
        _ => (text, None),
    };
    let wait_milliseconds = match wait {
        Some(word) => {
            let micros = go_duration(word).map_err(|why| format!("{word:?} is no duration: {why}"))?;
            u32::try_from(micros / 1000).map_err(|_| format!("{word} is too long to be waited for"))?
        }
        None if last => u32::MAX,
        None => return Err("how long is it waited for before the next step?".into()),
    };
    Ok(StopStep { action: action(what)?, wait_milliseconds })
}

/// In any case, with or without `SIG`.
fn is_signal(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    NAMES.split(' ').any(|known| known == name.strip_prefix("SIG").unwrap_or(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(signals: &[(&str, &str)], stop: &[&str]) -> Vec<String> {
        let signals = signals.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let stop = stop.iter().map(|step| (*step).to_owned()).collect();
        let mut said = Said::default();
        Signals::of(&Some(signals), &Some(stop)).check(&mut said);
        said.0.into_iter().map(|found| format!("{}: {}", found.path, found.message)).collect()
    }

    #[test]
    fn what_is_sent_to_whom_is_one_word_and_a_command_several() {
        assert_eq!(action("SIGTERM"), Ok(SignalAction::Main("SIGTERM".into())));
        assert_eq!(action("all:usr1"), Ok(SignalAction::All("usr1".into())));
        assert_eq!(action("run:bin/dump  --now"), Ok(SignalAction::Command(vec!["bin/dump".into(), "--now".into()])));
        for wrong in ["", "TREM", "all:", "all: TERM", "run:", "run: ", "main:TERM", "SIGTERM 5s", "15"] {
            assert!(action(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_step_ends_in_how_long_it_is_waited_for_and_the_last_has_what_is_left() {
        let wait = |text, last| step(text, last).map(|step| step.wait_milliseconds);
        assert_eq!((wait("SIGINT 5s", false), wait("all:SIGTERM 1m500ms", false)), (Ok(5000), Ok(60_500)));
        assert_eq!(wait("SIGTERM", true), Ok(u32::MAX));
        assert!(wait("SIGTERM", false).unwrap_err().contains("how long"));
        assert!(wait("SIGTERM 5", false).unwrap_err().contains("no duration"));
        assert!(wait("SIGTERM 2000h", false).unwrap_err().contains("too long"));
        // A command's last word is a duration where it reads like one.
        let step = step("run:bin/drain --wait 30s", true).unwrap();
        assert_eq!(step.wait_milliseconds, 30_000);
        assert_eq!(step.action, SignalAction::Command(vec!["bin/drain".into(), "--wait".into()]));
    }

    #[test]
    fn everything_wrong_is_named_at_its_path() {
        assert!(said(&[("SIGHUP", "all:SIGTERM"), ("usr2", "run:x")], &["SIGINT 5s", "all:SIGKILL"]).is_empty());
        assert_eq!(
            said(&[("SIGFOO", "SIGTERM"), ("SIGHUP", "TREM")], &["SIGINT", "SIGTERM 5"]),
            [
                "signals.SIGFOO: signals: there is no signal \"SIGFOO\"",
                &format!("signals.SIGHUP: signals.SIGHUP = \"TREM\": {FORMS} is expected"),
                "stop[0]: stop[0] = \"SIGINT\": how long is it waited for before the next step?",
                "stop[1]: stop[1] = \"SIGTERM 5\": \"5\" is no duration: a unit is missing",
            ]
        );
        assert_eq!(said(&[], &["SIGINT 1s"; 17]), ["stop: stop has 17 steps, more than 16"]);
    }
}

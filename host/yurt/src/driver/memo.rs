//! What is kept of a plan while its task runs, so that no guest is asked about it again: it stands in the task's state file.

use serde::{Deserialize, Serialize};

use super::devices::Devices;

/// Kept as JSON; fields are only ever added, each with a default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memo {
    /// The task's name: its events are looked up by it.
    pub(crate) task_name: String,
    /// Its allocation.
    pub(crate) alloc_id: String,
    /// Check sum of the guest that planned it.
    pub(crate) guest: String,
    /// What signals mean that do not simply go to the main process, by the kernel's number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) signals: Vec<(i32, Action)>,
    /// How it is stopped where the job does not say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<StopStep>,
    /// Put before each command that is run in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) exec_prefix: Vec<String>,
    /// Sentences for exit codes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) exit_notes: Vec<(i32, String)>,
    /// The task is a component: no command runs in it, and signals only end it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) component: bool,
    /// Which devices it may open.
    #[serde(skip_serializing_if = "Devices::is_empty")]
    pub(crate) devices: Devices,
}

/// What is done for a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// That signal to the main process.
    Main(i32),
    /// That signal to every process.
    All(i32),
    /// This command in the task.
    Command(Vec<String>),
}

/// One step of a stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StopStep {
    pub(crate) action: Action,
    pub(crate) wait_milliseconds: u32,
}

impl Memo {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// One that cannot be read is an empty one: signals then go to the main process, and stopping is the job's signal.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Memo {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// What a signal means to the task.
    pub(crate) fn action(&self, signal: i32) -> Action {
        let rule = self.signals.iter().find(|(number, _)| *number == signal);
        rule.map_or(Action::Main(signal), |(_, action)| action.clone())
    }

    pub(crate) fn exit_note(&self, code: i32) -> Option<&str> {
        self.exit_notes.iter().find(|(noted, _)| *noted == code).map(|(_, text)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memo_comes_back_and_a_later_one_s_fields_are_skipped() {
        let memo = Memo {
            task_name: "server".to_owned(),
            signals: vec![(1, Action::All(15)), (3, Action::Command(vec!["dump".to_owned()]))],
            stop: vec![StopStep { action: Action::Main(15), wait_milliseconds: 500 }],
            exit_notes: vec![(2, "bad usage".to_owned())],
            ..Memo::default()
        };
        assert_eq!(Memo::from_bytes(&memo.to_bytes()), memo);
        let later = Memo::from_bytes(br#"{"task_name":"x","flavour":{"new":1}}"#);
        assert_eq!(later, Memo { task_name: "x".to_owned(), ..Memo::default() });
        assert_eq!(Memo::from_bytes(b"\xff"), Memo::default());
    }

    /// What release 0.1.0 kept of a task that runs on: see `host/task/src/frozen_tests.rs`.
    #[test]
    fn a_frozen_memo_is_read_and_written_again_as_it_was() {
        let frozen = include_str!("../../../task/tests/frozen/0.1.0/memo.json").trim_end();
        let memo = Memo {
            task_name: "web".to_owned(),
            alloc_id: "8d1bc1b2-0c6f-4d2e-9a55-0f5a4c3b2a19".to_owned(),
            guest: "ab".repeat(32),
            signals: vec![(1, Action::All(15)), (10, Action::Command(vec!["bin/dump".to_owned(), "--now".to_owned()]))],
            stop: vec![
                StopStep { action: Action::Main(2), wait_milliseconds: 5000 },
                StopStep { action: Action::All(15), wait_milliseconds: u32::MAX },
            ],
            exec_prefix: vec!["/usr/bin/env".to_owned()],
            exit_notes: vec![(2, "wrong usage".to_owned())],
            devices: serde_json::from_str(
                r#"{"fixed":[[false,188,0,"rw"]],"directories":["/run/yurt-devices/x/usb/1-1"]}"#,
            )
            .unwrap(),
            component: false,
        };
        assert_eq!(Memo::from_bytes(frozen.as_bytes()), memo);
        assert_eq!(String::from_utf8(memo.to_bytes()).unwrap(), frozen);
    }

    #[test]
    fn a_signal_without_a_rule_goes_to_the_main_process() {
        let memo = Memo { signals: vec![(1, Action::All(15))], ..Memo::default() };
        assert_eq!((memo.action(1), memo.action(2)), (Action::All(15), Action::Main(2)));
    }
}

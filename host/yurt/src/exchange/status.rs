//! What became of the last candidates, for whoever asks.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use yurt_guest::GuestTotals;

use super::GuestName;
use crate::record::Progress;

/// Attempts that are remembered.
const ATTEMPTS: usize = 16;

/// What `yurt guest status` shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) serving: GuestName,
    /// The policy file, if its rules are in force.
    pub(crate) rules: Option<String>,
    /// `auto`, `approve`, `off`.
    pub(crate) mode: String,
    /// Grows with every exchange, from 1.
    pub(crate) turn: u64,
    /// Seconds until the present turn has proved itself; none: it has.
    pub(crate) on_probation_seconds: Option<u64>,
    /// Who would serve after a rollback.
    pub(crate) before: Option<GuestName>,
    /// What waits for approval.
    pub(crate) waiting: Option<String>,
    /// The newest last.
    pub(crate) attempts: VecDeque<Attempt>,
    /// What its guests took so far.
    #[serde(default)]
    pub(crate) calls: Vec<GuestTotals>,
    /// How far recording came, where it is wanted.
    #[serde(default)]
    pub(crate) recording: Option<Progress>,
}

/// One candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// What was new.
    pub(crate) what: String,
    pub(crate) outcome: Outcome,
    /// Why, or how far it came.
    pub(crate) reason: String,
    /// What a node and its tasks see of it.
    pub(crate) changes: Vec<String>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Served,
    Waits,
    Refused,
    RolledBack,
}

impl Attempt {
    pub(crate) fn now(what: String, outcome: Outcome, reason: String, changes: Vec<String>) -> Attempt {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Attempt { at, what, outcome, reason, changes }
    }
}

/// The last few.
#[derive(Debug, Default)]
pub(crate) struct Attempts(VecDeque<Attempt>);

impl Attempts {
    pub(crate) fn add(&mut self, attempt: Attempt) {
        if self.0.len() >= ATTEMPTS {
            self.0.pop_front();
        }
        self.0.push_back(attempt);
    }

    pub(crate) fn all(&self) -> VecDeque<Attempt> {
        self.0.clone()
    }
}

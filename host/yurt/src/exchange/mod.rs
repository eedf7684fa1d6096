//! The exchange of what decides, while it serves: a new guest or a new rule is loaded beside the present one, tried, held against it by
//! the calls that were really made, and then published by one pointer. Whatever is wrong with it, the one that serves is untouched.
//!
//! One task owns the exchange of a plugin (`task.rs`); guests are compiled and called on threads of their own. People talk to it over a
//! socket (`control.rs`).

mod control;
mod files;
mod kept;
mod report;
mod rules;
mod serving;
mod settings;
mod stage;
mod status;
mod task;
mod turn;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use yurt_guest::{Import, Runtime, Source};

use crate::choice::Plugin;
use crate::host_config::Common;
use crate::pin::Pin;
use crate::places::Places;
use crate::record::Recorder;

pub(crate) use control::{Answer, Request, ask};
pub(crate) use kept::Kept;
pub(crate) use report::{Hidden, Report, both, remember};
pub(crate) use rules::Rules;
pub(crate) use serving::{Guest, Seat, Serving};
pub(crate) use settings::{Concern, Mode, Swap};
pub(crate) use stage::Known;
pub(crate) use status::{Attempt, Outcome, Status};
pub(crate) use task::start;
pub(crate) use turn::{Turn, Turns, Undone};

/// What serves, as far as the exchange needs to know it.
pub(crate) trait Serves: Send + Sync + 'static {
    fn guest(&self) -> GuestName;
    fn imports(&self) -> &[Import];
    fn common(&self) -> &Common;
    fn rules(&self) -> Option<&Arc<Rules>>;
}

/// A kind of plugin, as far as the exchange needs its help. Both take as long as guests take.
pub(crate) trait Side: Send + Sync + 'static {
    type Serving: Serves;
    fn turns(&self) -> &Turns<Self::Serving>;
    /// The agent's configuration evaluated anew for `guest` (none: the present one) with `rules` laid over it. Refused where Nomad could
    /// not go on with what the present one told it.
    fn prepare(&self, guest: Option<Plugin>, rules: Option<Arc<Rules>>) -> Result<Self::Serving, String>;
    /// Lets both answer the last real calls. An error is the candidate's.
    fn compare(&self, now: &Self::Serving, next: &Self::Serving) -> Result<Report, String>;
}

/// What the exchange of a plugin works on.
pub(crate) struct Parts<S: Side> {
    pub(crate) side: Arc<S>,
    pub(crate) runtime: Runtime,
    /// Where its guest comes from.
    pub(crate) source: Source,
    /// The only guest that may serve, by the plugin's arguments.
    pub(crate) pin: Option<Pin>,
    /// What was read there at the start, if that serves.
    pub(crate) known: Option<Known>,
    pub(crate) places: Places,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) undone: mpsc::UnboundedReceiver<Undone<S::Serving>>,
}

/// A guest, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestName {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SHA-256 in hexadecimal.
    pub(crate) digest: String,
    /// The file, or the built-in guest.
    pub(crate) origin: String,
}

impl fmt::Display for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, self.version, self.digest.get(..12).unwrap_or(&self.digest))
    }
}

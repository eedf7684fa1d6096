//! Plug → offer: the one task that owns what is offered.
//!
//! A snapshot, a configuration or the policy's own wish to be asked again leads to one guest call; its answer, once it has
//! passed the checks, becomes the newest value of a `watch` channel. No lock is held across an await or a guest call, and
//! nothing that goes wrong here ends the task: the last good offer stands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use yurt_guest::{GuestError, usb as wit};
use yurt_nomad::device::Group;
use yurt_usb::facts::Snapshot;
use yurt_usb::{Past, Roots, Settings, Watcher};

use crate::check::{self, Offer};
use crate::convert;
use crate::device_side::{DeviceSide, Serving};
use crate::exchange::{Side as _, Turn};
use crate::folders::Folders;
use crate::lean;
use crate::places::{self, Places};

/// After a failed call the policy is asked again after this long even if nothing changes.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// A policy that wants to be asked more often than this is not.
const SOONEST: Duration = Duration::from_millis(50);

/// After this many answers everything that a quiet plugin does has been done once.
const AT_REST: u64 = 2;

/// What the rest of the plugin sees of the task.
pub(crate) struct Offers {
    pub(crate) watcher: Watcher,
    /// The directories of reserved instances.
    pub(crate) folders: Arc<Folders>,
    pub(crate) current: watch::Receiver<Arc<Current>>,
}

/// The newest offer, and whose it is: nobody else is asked about what stands in it. `number` 0 before the first answer.
pub(crate) struct Current {
    pub(crate) number: u32,
    pub(crate) offer: Offer,
    pub(crate) turn: Arc<Turn<Serving>>,
}

/// Starts looking at hardware. Called at the first Fingerprint, never before.
pub(crate) fn start(
    side: Arc<DeviceSide>,
    roots: Roots,
    places: &Places,
    published: watch::Sender<Option<Arc<Vec<Group>>>>,
) -> Arc<Offers> {
    let turns = side.turns().subscribe();
    let turn = Arc::clone(&turns.borrow());
    let past = past(&places.history());
    let watcher = Watcher::start_after(past, roots, settings(&turn.serving));
    let (sender, current) = watch::channel(Arc::new(Current { number: 0, offer: Offer::default(), turn }));
    let folders = Arc::new(Folders::at(places.folders()));
    let memory_file = places.memory();
    let offers = Arc::new(Offers { watcher, folders, current });
    let task = Task {
        side,
        snapshots: offers.watcher.snapshots(),
        offers: Arc::clone(&offers),
        turns,
        published,
        sender,
        memory: std::fs::read_to_string(&memory_file).ok(),
        memory_file,
        history_file: places.history(),
        trouble: None,
        refused: Vec::new(),
    };
    tokio::spawn(task.run());
    offers
}

/// What an earlier process saw; what cannot be read is as if there was none.
fn past(file: &Path) -> Past {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Past::default(),
        Err(why) => {
            tracing::warn!(error = %why, "{}: what was plugged before is not known", file.display());
            return Past::default();
        }
    };
    Past::parse(&text).unwrap_or_else(|why| {
        tracing::warn!("{}: {why}; what was plugged before is not known", file.display());
        Past::default()
    })
}

fn settings(serving: &Serving) -> Settings {
    let host = &serving.host;
    Settings { settle: host.settle, settle_max: host.settle_max, grace: host.grace }
}

struct Task {
    side: Arc<DeviceSide>,
    offers: Arc<Offers>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    turns: watch::Receiver<Arc<Turn<Serving>>>,
    published: watch::Sender<Option<Arc<Vec<Group>>>>,
    sender: watch::Sender<Arc<Current>>,
    memory: Option<String>,
    memory_file: PathBuf,
    history_file: PathBuf,
    /// The failure that was said last, so that it is said once.
    trouble: Option<String>,
    refused: Vec<String>,
}

impl Task {
    async fn run(mut self) {
        let mut answers = 0_u64;
        loop {
            let snapshot = self.snapshots.borrow_and_update().clone();
            let turn = self.turns.borrow_and_update().clone();
            self.offers.watcher.configure(settings(&turn.serving));
            if snapshot.number > 0
                && let Some(again) = self.ask(&turn, &snapshot).await
            {
                self.offers.watcher.look_again_in(again.max(SOONEST));
                answers += 1;
                if answers == AT_REST {
                    lean::forget_the_start();
                }
            }
            // After the answer: no offer waits for a disk.
            if let Some(past) = self.offers.watcher.past() {
                keep(self.history_file.clone(), Some(past), "what was plugged where").await;
            }
            tokio::select! {
                changed = self.snapshots.changed() => if changed.is_err() { return },
                changed = self.turns.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One question to the policy; how long until the next one if nothing happens.
    async fn ask(&mut self, turn: &Arc<Turn<Serving>>, snapshot: &Arc<Snapshot>) -> Option<Duration> {
        self.side.heard_group(snapshot, self.memory.as_deref());
        let (serving, memory, facts) = (Arc::clone(&turn.serving), self.memory.clone(), Arc::clone(snapshot));
        let answer = tokio::task::spawn_blocking(move || {
            serving.guest.policy.group(&serving.config, &convert::snapshot(&facts), memory.as_deref())
        })
        .await;
        match answer {
            Ok(Ok(Ok(answer))) => self.accept(answer, turn, snapshot).await,
            Ok(Ok(Err(why))) => Some(self.stand(format!("the policy cannot decide: {why}"), snapshot).await),
            // The one before serves again, and is asked at once.
            Ok(Err(why)) if self.side.turns().failed(turn, &why) => None,
            Ok(Err(why)) => Some(self.stand(failed(&why), snapshot).await),
            Err(why) => Some(self.stand(format!("the policy call was lost: {why}"), snapshot).await),
        }
    }

    async fn accept(
        &mut self,
        answer: wit::Offer,
        turn: &Arc<Turn<Serving>>,
        snapshot: &Arc<Snapshot>,
    ) -> Option<Duration> {
        if self.trouble.take().is_some() {
            tracing::info!("the policy answers again");
        }
        let (mut offer, refused) = check::offer(&answer, snapshot, turn.serving.host.grants);
        let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
        for reason in refused.iter().filter(|reason| !self.refused.contains(reason)) {
            tracing::warn!("not offered: {reason}");
        }
        self.refused = refused;
        if let Some(why) = self.offers.folders.trouble() {
            check::note(&mut offer, &why);
        }
        self.publish(offer, turn, snapshot).await;
        if answer.memory != self.memory {
            self.memory = answer.memory;
            self.remember().await;
        }
        answer.ask_again_milliseconds.map(|ms| Duration::from_millis(u64::from(ms)))
    }

    /// The last good offer stands; its health texts and one log line say why.
    async fn stand(&mut self, why: String, snapshot: &Arc<Snapshot>) -> Duration {
        if self.trouble.as_ref() != Some(&why) {
            tracing::error!("the last good offer stands: {why}");
        }
        let last = Arc::clone(&self.sender.borrow());
        self.publish(check::standing(&last.offer, snapshot, &why), &last.turn, snapshot).await;
        self.trouble = Some(why);
        AFTER_FAILURE
    }

    /// Tasks that hold a device get its nodes before anybody is told that it is back.
    async fn publish(&self, offer: Offer, turn: &Arc<Turn<Serving>>, snapshot: &Arc<Snapshot>) {
        let folders = Arc::clone(&self.offers.folders);
        let offer = if folders.any() {
            let (snapshot, turn) = (Arc::clone(snapshot), Arc::clone(turn));
            let followed = tokio::task::spawn_blocking(move || {
                folders.follow(&offer, &snapshot, &turn.serving.host.nodes);
                offer
            });
            match followed.await {
                Ok(offer) => offer,
                Err(why) => return tracing::error!("an offer was lost with its node directories: {why}"),
            }
        } else {
            offer
        };
        let groups = offer.groups.clone();
        self.sender.send_modify(|current| {
            *current = Arc::new(Current { number: current.number.saturating_add(1), offer, turn: Arc::clone(turn) });
        });
        self.published.send_if_modified(|published| {
            let different = published.as_deref() != Some(&groups);
            if different {
                *published = Some(Arc::new(groups));
            }
            different
        });
    }

    async fn remember(&self) {
        keep(self.memory_file.clone(), self.memory.clone(), "the policy's memory").await;
    }
}

/// Replaces a file, or removes it where there is nothing to keep.
async fn keep(file: PathBuf, text: Option<String>, what: &'static str) {
    let written = tokio::task::spawn_blocking(move || match text {
        Some(text) => places::replace(&file, text.as_bytes()),
        None => match std::fs::remove_file(&file) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        },
    });
    if let Ok(Err(why)) = written.await {
        tracing::warn!(error = %why, "{what} could not be kept; it lasts until the next restart");
    }
}

/// A guest's failure as a health text: no numbers that change from call to call.
fn failed(why: &GuestError) -> String {
    let text = why.to_string();
    text.lines().next().unwrap_or("the policy failed").to_owned()
}

//! The task that owns the exchange of one plugin: looks when files change, when a turn fails or has proved itself, and when people ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::control::{Asked, Control};
use super::files::Files;
use super::stage::{self, Candidate, Found, Stamp, Wanted};
use super::status::Attempts;
use super::{
    Answer, Attempt, GuestName, Kept, Mode, Outcome, Parts, Request, Rules, Serves, Side, Status, Turn, Undone,
};

/// Begins; ends with the runtime.
pub(crate) fn start<S: Side>(parts: Parts<S>) {
    let (sender, requests) = mpsc::channel(8);
    let control = Control::listen(&parts.places.control(), sender).inspect_err(|why| {
        tracing::warn!(error = %why, "`yurt guest status` and its like cannot reach this plugin");
    });
    let kept = Kept::open(&parts.places);
    let exchange = Exchange {
        kept,
        requests,
        attempts: Attempts::default(),
        waiting: None,
        seen: None,
        tried: None,
        proved: 0,
        previous: None,
        parts,
    };
    tokio::spawn(async move {
        exchange.run().await;
        drop(control);
    });
}

struct Exchange<S: Side> {
    parts: Parts<S>,
    kept: Kept,
    requests: mpsc::Receiver<Asked>,
    attempts: Attempts,
    waiting: Option<Waiting<S::Serving>>,
    /// How the files were when they were read last.
    seen: Option<[Stamp; 2]>,
    /// What was in them when it was tried last.
    tried: Option<Tried>,
    /// The last turn that was kept for the next start.
    proved: u64,
    previous: Option<Arc<S::Serving>>,
}

/// A candidate that waits for approval, and the turn that it was held against.
struct Waiting<S> {
    candidate: Candidate<S>,
    what: String,
    against: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Tried {
    Unreadable(String),
    Read { digest: String, rules: Option<Arc<Rules>> },
}

/// Who wants a look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    File,
    Person,
}

impl<S: Side> Exchange<S> {
    async fn run(mut self) {
        let mut turns = self.parts.side.turns().subscribe();
        loop {
            let turn = Arc::clone(&turns.borrow_and_update());
            let swap = &turn.serving.common().swap;
            self.prove(&turn).await;
            let wanted = self.wanted(&turn);
            let files = Files::watch(if swap.mode == Mode::Off { Vec::new() } else { wanted.files().collect() });
            if swap.mode != Mode::Off && self.look(&turn, &wanted, By::File).await.is_some() {
                // What was published is watched by its own settings.
                continue;
            }
            tokio::select! {
                () = files.changed() => {}
                changed = turns.changed() => if changed.is_err() { return },
                Some(undone) = self.parts.undone.recv() => self.undone(undone).await,
                Some((request, answer)) = self.requests.recv() => {
                    let said = self.request(&turn, &wanted, request).await;
                    let _ = answer.send(said);
                }
                () = proved(turn.on_probation_until()) => {}
            }
        }
    }

    fn wanted(&self, turn: &Turn<S::Serving>) -> Wanted {
        Wanted { guest: self.parts.source.clone(), rules: turn.serving.common().policy_file.clone() }
    }

    /// Keeps what has proved itself for the next start.
    async fn prove(&mut self, turn: &Turn<S::Serving>) {
        if turn.number == self.proved || turn.on_probation_until().is_some() {
            return;
        }
        self.previous = turn.before().or(self.previous.take());
        turn.prove();
        self.proved = turn.number;
        let (kept, serving) = (self.kept.clone(), Arc::clone(&turn.serving));
        let (runtime, source) = (self.parts.runtime.clone(), self.parts.source.clone());
        blocking(move || {
            let digest = serving.guest().digest;
            kept.wait_for_approval(serving.common().swap.mode == Mode::Approve);
            kept.keep_rules(serving.rules().map(|rules| &**rules));
            if kept.has(&digest) {
                return;
            }
            // Another one may lie there by now: that one has not proved itself.
            if let Ok(source) = runtime.read(&source)
                && source.digest().as_deref() == Some(&digest)
            {
                kept.serves(&source, &digest);
            }
        })
        .await;
    }

    /// Tries what the files hold, if it is another thing than what serves and what was tried. None: nothing new.
    async fn look(&mut self, turn: &Arc<Turn<S::Serving>>, wanted: &Wanted, by: By) -> Option<Attempt> {
        if by == By::File && self.seen.as_ref() == Some(&wanted.stamps()) {
            return None;
        }
        self.seen = Some(wanted.still().await);
        let (runtime, files, mut known) = (self.parts.runtime.clone(), wanted.clone(), self.parts.known.clone());
        let serving = turn.serving.guest().digest;
        let read = move || (files.read(&runtime, &mut known, &serving), known);
        let (found, known) = blocking(read).await?;
        self.parts.known = known;
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                let tried = Some(Tried::Unreadable(why.clone()));
                let told = by == By::File && self.tried == tried;
                self.tried = tried;
                return if told { None } else { self.refused("what the files hold".to_owned(), why) };
            }
        };
        let now = &turn.serving;
        let same_guest = now.guest().digest == found.digest;
        let same_rules = now.rules().map(|rules| &rules.text) == found.rules.as_ref().map(|rules| &rules.text);
        let tried = Tried::Read { digest: found.digest.clone(), rules: found.rules.clone() };
        let again = self.tried.as_ref() == Some(&tried);
        self.tried = Some(tried);
        if same_guest && same_rules {
            self.waiting = None;
            return None;
        }
        if again && by == By::File {
            return None;
        }
        let what = what(&found, same_guest, same_rules);
        if let Some(why) = self.not_pinned(turn, &found.digest) {
            return self.refused(what, why);
        }
        for digest in [Some(found.digest.clone()).filter(|_| !same_guest), found.rules.as_deref().map(digest_of)] {
            let Some(digest) = digest else { continue };
            if by == By::Person {
                self.kept.pardon(&digest);
            } else if let Some(why) = self.kept.refused(&digest) {
                return self
                    .refused(what, format!("it was rolled back before: {why} (`yurt guest swap` tries it again)"));
            }
        }
        self.attempt(turn, found, what, by).await
    }

    async fn attempt(&mut self, turn: &Arc<Turn<S::Serving>>, found: Found, what: String, by: By) -> Option<Attempt> {
        let (side, runtime, now) =
            (Arc::clone(&self.parts.side), self.parts.runtime.clone(), Arc::clone(&turn.serving));
        let outcome = blocking(move || stage::candidate(&*side, &runtime, &now, &found)).await?;
        let candidate = match outcome {
            Ok(candidate) => candidate,
            Err(why) => return self.refused(what, why),
        };
        let swap = &turn.serving.common().swap;
        let against: Vec<&str> = swap
            .refuse_if
            .iter()
            .filter(|concern| candidate.report.concerns.contains(concern))
            .map(|concern| concern.name())
            .collect();
        if !against.is_empty() {
            let changes = candidate.report.changes.join("; ");
            return self.refused(what, format!("refuse_if {}: {changes}", against.join(", ")));
        }
        if swap.mode == Mode::Approve && by == By::File {
            let attempt = Attempt::now(
                what.clone(),
                Outcome::Waits,
                "it waits for `yurt guest approve`".to_owned(),
                candidate.report.changes.clone(),
            );
            tracing::warn!("{what} waits for `yurt guest approve`: {}", changes_of(&attempt));
            self.waiting = Some(Waiting { candidate, what, against: turn.number });
            self.attempts.add(attempt);
            return None;
        }
        self.publish(turn, candidate, what)
    }

    fn publish(&mut self, turn: &Turn<S::Serving>, candidate: Candidate<S::Serving>, what: String) -> Option<Attempt> {
        let budget = turn.serving.common().swap.budget;
        let calls = candidate.report.calls;
        self.waiting = None;
        if !self.parts.side.turns().publish(turn.number, candidate.serving, Some(budget)) {
            // The agent has configured the plugin meanwhile: it is prepared anew from that.
            (self.seen, self.tried) = (None, None);
            return None;
        }
        self.previous = Some(Arc::clone(&turn.serving));
        let reason = format!("it answered the last {calls} calls beside the one before");
        let attempt = Attempt::now(what, Outcome::Served, reason, candidate.report.changes);
        tracing::info!("{} serves from now on: {}", attempt.what, changes_of(&attempt));
        self.attempts.add(attempt.clone());
        Some(attempt)
    }

    fn refused(&mut self, what: String, why: String) -> Option<Attempt> {
        tracing::error!("{what} does not serve, and what served before still does: {why}");
        let attempt = Attempt::now(what, Outcome::Refused, why, Vec::new());
        self.attempts.add(attempt);
        None
    }

    /// Why a guest with this digest must not serve, by the operator's word.
    fn not_pinned(&self, turn: &Turn<S::Serving>, digest: &str) -> Option<String> {
        let pins = [self.parts.pin.as_ref(), turn.serving.common().guest_digest.as_ref()];
        pins.into_iter().flatten().find_map(|pin| pin.refusal(digest))
    }

    /// A turn failed, and the one before it serves already.
    async fn undone(&mut self, undone: Undone<S::Serving>) {
        let failed = undone.failed;
        let now = self.parts.side.turns().now();
        tracing::error!("{} is rolled back to {}: {}", failed.guest(), now.serving.guest(), undone.why);
        self.forbid(&failed, &now.serving, &undone.why).await;
        let what = format!("guest {}", failed.guest());
        self.attempts.add(Attempt::now(what, Outcome::RolledBack, undone.why, Vec::new()));
        self.previous = None;
    }

    /// What makes the difference is not tried again by itself.
    async fn forbid(&self, failed: &Arc<S::Serving>, now: &Arc<S::Serving>, why: &str) {
        let (kept, failed, now, why) = (self.kept.clone(), Arc::clone(failed), Arc::clone(now), why.to_owned());
        blocking(move || {
            let digest = failed.guest().digest;
            match failed.rules() {
                _ if digest != now.guest().digest => kept.refuse(&digest, &why),
                Some(rules) => kept.refuse(&digest_of(rules), &why),
                None => {}
            }
        })
        .await;
    }

    async fn request(&mut self, turn: &Arc<Turn<S::Serving>>, wanted: &Wanted, request: Request) -> Answer {
        match request {
            Request::Status => Answer::Status(Box::new(self.status(turn))),
            Request::Swap => {
                self.look(turn, wanted, By::Person).await;
                let last = self.attempts.all().pop_back();
                match last.filter(|_| self.differs(turn)) {
                    Some(attempt) => Answer::Done(attempt),
                    None => Answer::Nothing("the files hold what serves already".to_owned()),
                }
            }
            Request::Approve => match self.waiting.take() {
                None => Answer::Nothing("nothing waits for approval".to_owned()),
                Some(waiting) if waiting.against != turn.number => {
                    (self.seen, self.tried) = (None, None);
                    Answer::Nothing(
                        "what serves has changed since it was tried: it is tried again, look at it once more"
                            .to_owned(),
                    )
                }
                Some(waiting) => match self.publish(turn, waiting.candidate, waiting.what) {
                    Some(attempt) => Answer::Done(attempt),
                    None => Answer::Nothing("the plugin was configured anew just now: look at it once more".to_owned()),
                },
            },
            Request::Rollback => match turn.before().or(self.previous.take()) {
                None => Answer::Nothing("nothing served before in this process".to_owned()),
                Some(before) if let Some(why) = self.not_pinned(turn, &before.guest().digest) => {
                    Answer::Nothing(format!("guest {} served before: {why}", before.guest()))
                }
                Some(before) => {
                    let why = "rolled back by hand";
                    self.forbid(&turn.serving, &before, why).await;
                    let what = format!("guest {}", before.guest());
                    self.parts.side.turns().publish(turn.number, before, None);
                    let attempt = Attempt::now(what, Outcome::RolledBack, why.to_owned(), Vec::new());
                    tracing::warn!("{} is rolled back by hand to {}", turn.serving.guest(), attempt.what);
                    self.attempts.add(attempt.clone());
                    Answer::Done(attempt)
                }
            },
        }
    }

    /// The last look found something else than what serves at `turn`.
    fn differs(&self, turn: &Turn<S::Serving>) -> bool {
        match &self.tried {
            Some(Tried::Read { digest, rules }) => {
                turn.serving.guest().digest != *digest
                    || turn.serving.rules().map(|rules| &rules.text) != rules.as_ref().map(|rules| &rules.text)
            }
            _ => true,
        }
    }

    fn status(&self, turn: &Turn<S::Serving>) -> Status {
        let serving = &turn.serving;
        let mode = match serving.common().swap.mode {
            Mode::Auto => "auto",
            Mode::Approve => "approve",
            Mode::Off => "off",
        };
        let left = |until: Instant| until.saturating_duration_since(Instant::now()).as_secs();
        let before: Option<GuestName> = turn.before().or(self.previous.clone()).map(|before| before.guest());
        Status {
            serving: serving.guest(),
            rules: serving.rules().map(|rules| rules.file.display().to_string()),
            mode: mode.to_owned(),
            turn: turn.number,
            on_probation_seconds: turn.on_probation_until().map(left),
            before,
            waiting: self.waiting.as_ref().map(|waiting| waiting.what.clone()),
            attempts: self.attempts.all(),
            calls: self.parts.runtime.totals(),
            recording: self.parts.recorder.progress(),
        }
    }
}

fn what(found: &Found, same_guest: bool, same_rules: bool) -> String {
    let guest = || format!("guest {} ({})", found.guest.origin(), found.digest.get(..12).unwrap_or(&found.digest));
    let rules = || match &found.rules {
        Some(rules) => format!("policy file {}", rules.file.display()),
        None => "the agent's configuration without a policy file".to_owned(),
    };
    match (same_guest, same_rules) {
        (true, _) => rules(),
        (false, true) => guest(),
        (false, false) => format!("{} with {}", guest(), rules()),
    }
}

fn changes_of(attempt: &Attempt) -> String {
    if attempt.changes.is_empty() {
        "nothing that a node or a task would see".to_owned()
    } else {
        attempt.changes.join("; ")
    }
}

/// Check sum of rules, by which they are known again.
pub(super) fn digest_of(rules: &Rules) -> String {
    Sha256::digest(rules.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Off the wire's thread. None: the runtime is ending.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(why) => {
            if why.is_panic() {
                tracing::error!("a fault of the host's, please report it: {why}");
            }
            None
        }
    }
}

async fn proved(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until((until + Duration::from_millis(1)).into()).await,
        None => std::future::pending().await,
    }
}

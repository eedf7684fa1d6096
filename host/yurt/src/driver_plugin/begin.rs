//! StartTask: planned by the guest, prepared, started; or taken up, where an earlier process of this plugin started it.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use yurt_nomad::driver::{Opaque, PluginError, StartError, Started, TaskConfig, TaskDriver};

use super::{DriverPlugin, HANDLE_VERSION};
use crate::driver::fingerprint::Looked;
use crate::driver::known::{Claim, Running, Whose};
use crate::driver::prepare;
use crate::driver::start::{self, Failure, Planned, Terms};
use crate::exchange::Side as _;

/// Longest that a start waits for the first look at the node.
const FIRST_LOOK: Duration = Duration::from_secs(20);
/// Longest that a start waits for one of the same task that is under way: as long as a keeper may take.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// How often it looks.
const AGAIN: Duration = Duration::from_millis(20);
/// A start that takes longer says what it is at.
const SLOW: Duration = Duration::from_secs(10);

impl DriverPlugin {
    /// See [`TaskDriver::start`].
    pub(super) async fn started(&self, task: TaskConfig, config: Value) -> Result<Started, StartError> {
        let claim = self.known.claim(&task.id)?;
        let (whose, stage) = (Whose::from(&task), Stage::default());
        let mut beginning = pin!(self.begin(task, config, &claim, &stage));
        tokio::select! {
            begun = &mut beginning => return begun,
            () = tokio::time::sleep(SLOW) => {}
        }
        self.known.tell(&whose, format!("The start takes longer than {SLOW:?}: {}", stage.now()));
        beginning.await
    }

    /// Starts the task, or takes up what an earlier process of this plugin started by the same request: an agent whose plugin dies
    /// during a start asks once more, and by then that start may be under way, through, or its task ended.
    async fn begin(
        &self,
        task: TaskConfig,
        config: Value,
        claim: &Claim,
        stage: &Stage,
    ) -> Result<Started, StartError> {
        let tasks = self.tasks()?;
        let request = start::request_digest(&task, &config);
        let (whose, end) = (Whose::from(&task), Instant::now() + UNDER_WAY);
        let mut planned: Option<Planned> = None;
        loop {
            if let Some(left) = tasks.adopt(&task.id).await.map_err(|why| PluginError::internal(why.to_string()))? {
                if left.request() != request {
                    return Err(PluginError::failed_precondition(format!(
                        "task {:?} was started by an earlier process of this plugin, from another request: it must be destroyed first",
                        task.id
                    ))
                    .into());
                }
                tracing::info!(task = task.id, "the task was started by an earlier process of this plugin: it goes on");
                return Ok(handed_over(&self.known.keep(left)));
            }
            let mut plan = match planned.take() {
                Some(plan) => plan,
                None => {
                    stage.is("it is planned");
                    self.plan(&task, &config, &whose).await?
                }
            };
            stage.is("what goes before its program is made and run");
            let tell = |message| self.known.tell(&whose, message);
            let begun = match prepare::all(&tasks, &mut plan.launch, &mut plan.prepare, &claim.given_up, tell).await {
                Ok(()) => {
                    stage.is("its root is made and its program started");
                    tasks.start(plan.launch.clone()).await
                }
                Err(prepare::Failure::Start(why)) => Err(why),
                Err(prepare::Failure::Told(why)) => return Err(why),
            };
            match begun {
                Ok(begun) => {
                    let running = self.known.keep(begun);
                    let read_only = running.task.read_only().map(|why| {
                        format!(
                            "The host's directories are read-only in the task, and hide what its own hold there: {why}"
                        )
                    });
                    for message in plan.warnings.into_iter().chain(read_only).chain(plan.note) {
                        self.known.tell(&whose, message);
                    }
                    return Ok(handed_over(&running));
                }
                // A keeper of that earlier process is at it.
                Err(yurt_task::StartError::AlreadyRunning { .. }) if Instant::now() < end => {
                    stage.is("an earlier process of this plugin is starting it");
                    planned = Some(plan);
                    tokio::time::sleep(AGAIN).await;
                }
                Err(why) if why.recoverable() => return Err(StartError::recoverable(why.to_string())),
                Err(why) => return Err(PluginError::failed_precondition(start::sentence_on(&why)).into()),
            }
        }
    }

    /// If the guest fails and the one before it takes over again, that one plans.
    async fn plan(&self, task: &TaskConfig, config: &Value, whose: &Whose) -> Result<Planned, StartError> {
        let topology = self.topology.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut over = 0;
        loop {
            let looked = self.looked(over).await;
            let now = self.side.turns().now();
            // A new configuration of the same guest holds at once, before the node is looked at by it.
            let same = Arc::ptr_eq(&now.serving.guest, &looked.turn.serving.guest);
            let turn = if same { &now } else { &looked.turn };
            let serving = &turn.serving;
            let terms = Terms {
                side: &self.side,
                serving,
                findings: &looked.findings,
                topology: topology.as_ref(),
                runtime: &self.begun.runtime,
            };
            match start::plan(&terms, task, config).await {
                Ok(planned) => return Ok(planned),
                Err(Failure::Start(why)) => return Err(why),
                Err(Failure::Refused(why)) => {
                    self.known.tell(whose, format!("Refused by the operator's configuration: {why}"));
                    return Err(PluginError::failed_precondition(why).into());
                }
                Err(Failure::Guest(why)) if over == 0 && self.side.turns().failed(turn, &why) => {
                    over = turn.number;
                }
                Err(Failure::Guest(why)) => return Err(PluginError::internal(why.to_string()).into()),
            }
        }
    }

    /// The last look at the node that is not of the turn `over`; plans are made from it. An agent asks for the first long before a start.
    async fn looked(&self, over: u64) -> Arc<Looked> {
        drop(TaskDriver::fingerprint(self));
        let mut looks = self.looked.subscribe();
        let fits = |looked: &Option<Arc<Looked>>| looked.as_ref().is_some_and(|looked| looked.turn.number != over);
        let waited = tokio::time::timeout(FIRST_LOOK, looks.wait_for(fits)).await;
        let looked = waited.ok().and_then(Result::ok).and_then(|looked| looked.clone());
        looked.unwrap_or_else(|| Arc::new(Looked { turn: self.side.turns().now(), findings: Arc::from([]) }))
    }
}

fn handed_over(running: &Running) -> Started {
    Started { version: HANDLE_VERSION, driver_state: Opaque(running.task.handle().to_bytes()), network: None }
}

/// What a start is at.
#[derive(Default)]
struct Stage(Mutex<&'static str>);

impl Stage {
    fn is(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    fn now(&self) -> &'static str {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Plugins and keepers are killed all the time, and tasks come and go: every exit code is the right one, nothing is left, and nobody is
//! killed who is not a task.
//!
//! A few tasks here; `just chaos` has ten thousand short ones and two hundred that live through all of it.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Code;
use yurt_conformance::driver::{Node, Program, Request, Site, exists, of_yurt, soon, status_field};
use yurt_nomad::client::{CallError, Driver};
use yurt_nomad::driver::{ExitResult, TaskConfig, TaskHandle, WaitResult};

use crate::many::count;

/// Short tasks at a time.
const AT_ONCE: usize = 24;
/// One keeper in so many is killed.
const KEEPERS: usize = 20;
/// How long a task may take from its last act to its end.
const LAST_ACT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn l10_whatever_is_killed_every_exit_code_is_right_and_nothing_is_left() {
    of_yurt("L10", "its tasks end with their executor", async |node| {
        let (short, long) = (count("YURT_CHAOS_SHORT", 120), count("YURT_CHAOS_LONG", 6));
        let mut bystanders: Vec<Child> = (0..20).map(|_| bystander()).collect();
        let (plugins, plugin) = watch::channel(Now { driver: node.driver.clone(), died: Vec::new() });

        let mut lasting = JoinSet::new();
        let mut sites = Vec::new();
        for number in 0..long {
            let task = Life::new(node, number, UNTIL_TOLD);
            make_gate(&task.site);
            sites.push(Arc::clone(&task.site));
            lasting.spawn(task.live(plugin.clone()));
        }
        let mut passing = JoinSet::new();
        let mut tally = Tally::default();
        let (mut begun, mut ended) = (0, 0);
        let mut kills = interval(Duration::from_secs(1));
        kills.set_missed_tick_behavior(MissedTickBehavior::Delay);
        kills.tick().await;
        while ended < short {
            while begun < short && passing.len() < AT_ONCE {
                passing.spawn(Life::new(node, begun, A_MOMENT).live(plugin.clone()));
                begun += 1;
            }
            tokio::select! {
                Some(life) = passing.join_next() => {
                    tally.add(life.expect("no panic"));
                    ended += 1;
                    if ended % 1000 == 0 {
                        eprintln!("L10: {}: {ended} of {short}: {tally:?}", node.subject);
                    }
                }
                _ = kills.tick() => {
                    let died = SystemTime::now();
                    node.kill_plugin().await;
                    tally.plugins += 1;
                    node.relaunch().await;
                    plugins.send_modify(|now| {
                        now.died.push(died);
                        now.driver = node.driver.clone();
                    });
                }
            }
        }
        for site in sites {
            open_gate(&site);
        }
        for life in lasting.join_all().await {
            tally.add(life);
        }
        for bystander in &mut bystanders {
            assert!(exists(bystander.id()), "somebody was killed who is no task of ours");
            bystander.kill().and_then(|()| bystander.wait()).expect("a child");
        }
        eprintln!("L10: {}: {tally:?}", node.subject);
        assert_eq!(tally.tasks, short + long);
        assert!(tally.plugins > 0 && (short < 5 * KEEPERS || tally.keepers > 0), "nothing was killed: {tally:?}");
    })
    .await;
}

/// What a short task does. The time of its file is that of its last act.
const A_MOMENT: &str = "sleep 0.$WAIT; : > $NOMAD_ALLOC_DIR/data/last; exit $CODE";
/// What one does that lives through it all. It waits at a pipe: two hundred that look for a file would leave the rest no processor.
const UNTIL_TOLD: &str = "read word < $NOMAD_ALLOC_DIR/data/gate; : > $NOMAD_ALLOC_DIR/data/last; exit $CODE";

fn make_gate(site: &Site) {
    let gate = site.alloc_dir.join("alloc/data/gate");
    mknodat(CWD, &gate, FileType::Fifo, Mode::empty(), 0).expect("a named pipe");
    std::fs::set_permissions(&gate, Permissions::from_mode(0o666)).expect("a mode");
}

/// Fails if no task waits at it.
fn open_gate(site: &Site) {
    let options = OFlags::NONBLOCK.bits().cast_signed();
    let gate = OpenOptions::new().write(true).custom_flags(options).open(site.alloc_dir.join("alloc/data/gate"));
    gate.and_then(|mut gate| gate.write_all(b"go\n")).expect("a task waits at its gate");
}

/// Nobody's task, with all that one could be taken for by its name alone.
fn bystander() -> Child {
    Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().expect("a process")
}

#[derive(Debug, Default)]
struct Tally {
    tasks: usize,
    plugins: usize,
    keepers: usize,
    /// Starts that failed with their keeper, and were tried again.
    tried_again: usize,
    /// Code -1, with the reason.
    unknown: usize,
}

impl Tally {
    fn add(&mut self, life: Lived) {
        self.tasks += 1;
        self.keepers += usize::from(life.keeper_killed);
        self.tried_again += life.tried_again;
        self.unknown += usize::from(life.unknown);
    }
}

/// The plugin that serves.
#[derive(Debug)]
struct Now {
    driver: Driver,
    /// When those before it were killed.
    died: Vec<SystemTime>,
}

/// A task, from its start to the look for what is left of it, as an agent sees to it over plugins that come and go.
struct Life {
    number: usize,
    site: Arc<Site>,
    config: TaskConfig,
    code: i32,
}

struct Lived {
    keeper_killed: bool,
    tried_again: usize,
    unknown: bool,
}

/// When nobody watched the task: from the death of one plugin until the next one had it.
type Gap = (SystemTime, SystemTime);

impl Life {
    fn new(node: &Node, number: usize, text: &str) -> Life {
        let code = i32::try_from(number % 120 + 1).expect("a small number");
        let site = Arc::new(Site::make(node.dir(), node.subject, false));
        let request = Request::of(Program::shell(text))
            .memory(64)
            .env("CODE", &code.to_string())
            .env("WAIT", &format!("{:03}", moment(number).as_millis()));
        Life { number, config: node.task_config(&site, &request), site, code }
    }

    async fn live(self, mut plugin: watch::Receiver<Now>) -> Lived {
        let mut lived = Lived { keeper_killed: false, tried_again: 0, unknown: false };
        let started = self.start(&mut plugin, &mut lived).await;
        if loses_its_keeper(self.number) {
            tokio::time::sleep(Duration::from_millis(mixed(self.number) as u64 % 300)).await;
            lived.keeper_killed = self.kill_keeper();
        }
        let (result, gaps) = self.end(&mut plugin, started).await;
        lived.unknown = self.is_right(&result, lived.keeper_killed, &gaps);
        while let Err(why) = soon(serving(&mut plugin).0.destroy(&self.config.id, true)).await {
            another(&mut plugin, why).await;
        }
        assert_eq!(self.site.cgroups.processes(), Vec::<u32>::new(), "processes are left");
        assert_eq!(self.site.cgroups.strange(), Vec::<std::path::PathBuf>::new(), "control groups are left");
        let site = Arc::clone(&self.site);
        tokio::task::spawn_blocking(move || site.remove()).await.expect("no panic");
        lived
    }

    /// The handle, and which plugin knows the task.
    async fn start(&self, plugin: &mut watch::Receiver<Now>, lived: &mut Lived) -> (TaskHandle, usize) {
        loop {
            let (mut driver, deaths) = serving(plugin);
            match soon(driver.start(&self.config)).await {
                Ok((handle, _)) => return (handle, deaths),
                Err(why) => {
                    another(plugin, why).await;
                    lived.tried_again += 1;
                }
            }
        }
    }

    /// Waits for its end, and has every plugin that does not know it find it first.
    async fn end(
        &self,
        plugin: &mut watch::Receiver<Now>,
        (handle, mut known): (TaskHandle, usize),
    ) -> (WaitResult, Vec<Gap>) {
        let mut gaps = Vec::new();
        loop {
            let (mut driver, deaths) = serving(plugin);
            let outcome = if deaths == known {
                driver.wait(&self.config.id).await.map(Some)
            } else {
                soon(driver.recover(&handle)).await.map(|()| None)
            };
            match outcome {
                Ok(Some(result)) => return (result, gaps),
                Ok(None) => {
                    let died = plugin.borrow().died.get(known).copied().expect("it was killed");
                    gaps.push((died, SystemTime::now()));
                    known = deaths;
                }
                Err(why) => another(plugin, why).await,
            }
        }
    }

    /// Whether the end is unknown, which it may be only of a task whose keeper was killed and which ended when no plugin watched it.
    fn is_right(&self, result: &WaitResult, keeper_killed: bool, gaps: &[Gap]) -> bool {
        if result.unknown.is_none() {
            assert_eq!(result.exit, ExitResult::code(self.code), "task {}", self.number);
            return false;
        }
        assert!(keeper_killed && result.exit.code == -1, "task {}: {result:?}", self.number);
        let last = self.site.alloc_dir.join("alloc/data/last");
        let last = std::fs::metadata(&last).and_then(|file| file.modified()).expect("its last act");
        let unwatched = |(since, until): &Gap| last + LAST_ACT >= *since && last <= *until;
        assert!(gaps.iter().any(unwatched), "task {} ended at {last:?}, and was watched: {gaps:?}", self.number);
        true
    }

    /// As long as there is one.
    fn kill_keeper(&self) -> bool {
        let Some(keeper) = self.site.cgroups.supervisor() else { return false };
        let Some(pid) = i32::try_from(keeper).ok().and_then(Pid::from_raw) else { return false };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        status_field(keeper, "Name").as_deref() == Some("yurt-keeper") && pidfd_send_signal(pidfd, Signal::KILL).is_ok()
    }
}

/// The one of now, and how many there were before it; the next one is news.
fn serving(plugin: &mut watch::Receiver<Now>) -> (Driver, usize) {
    let now = plugin.borrow_and_update();
    (now.driver.clone(), now.died.len())
}

/// Waits for the next plugin where the call failed with this one; any other failure is one of the test.
async fn another(plugin: &mut watch::Receiver<Now>, why: CallError) {
    let died = |code: &Code| matches!(code, Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal);
    assert!(matches!(&why, CallError::Refused { code, .. } if died(code)), "{why}");
    soon(plugin.changed()).await.unwrap_or_else(|_| panic!("no plugin died: {why}"));
}

fn loses_its_keeper(number: usize) -> bool {
    mixed(number + 7).is_multiple_of(KEEPERS)
}

/// How long a short task lives.
fn moment(number: usize) -> Duration {
    Duration::from_millis(if loses_its_keeper(number) { 999 } else { mixed(number) as u64 % 400 })
}

/// Numbers that look like chance and are the same in each run.
fn mixed(number: usize) -> usize {
    (number.wrapping_mul(0x9E37_79B9) >> 8) & 0xFFFF
}

//! `yurt demo`: a Nomad agent in miniature, played against this very binary.
//!
//! Nothing is taken from the plugin's inside: the binary is linked into a plugin directory and launched three times as an
//! agent does (asked what it is, asked whether its configuration is right, started for good), and all that is shown came
//! over the wire. Without a USB bus a simulated one is written: a sysfs tree and uevents, as the kernel writes them. The task of the
//! second half is a real process.

mod author;
mod bus;
mod launch;
mod show;
mod task;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use yurt_nomad::client::{Agent, Launched, Offers};
use yurt_nomad::device::Group;
use yurt_usb::{Roots, scan};

use self::bus::SimulatedBus;
use super::term::{Out, Style};
use crate::choice::Named;
use crate::places::{self, Places};

/// Offers every device that is no hub.
const CONFIG: &str = "fingerprint_period = \"10s\"\nrule {}\n";
/// How long anything may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often figures are asked for, and how many times they are shown.
const BEAT: Duration = Duration::from_millis(500);
const BEATS: usize = 2;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A simulated bus even where there is a real one
    #[arg(long)]
    simulate: bool,
    /// A guest of one's own instead: its offers on a simulated bus, until interrupted
    #[arg(long, value_name = "FILE")]
    guest: Option<PathBuf>,
    /// What the operator of that guest writes, instead of demo.hcl beside it
    #[arg(long, value_name = "FILE", requires = "guest")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let play = async {
            match &arguments.guest {
                Some(guest) => author::play(guest, arguments.config.as_deref()).await,
                None => Demo::new(arguments.simulate)?.play().await,
            }
        };
        tokio::select! {
            outcome = play => outcome.map(|()| ExitCode::SUCCESS),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Ok(ExitCode::from(130))
            }
        }
    })
}

struct Demo {
    out: Out,
    agent: Agent,
    bus: Option<SimulatedBus>,
    state: PathBuf,
    plugins: PathBuf,
    _scratch: Scratch,
}

impl Demo {
    fn new(simulate: bool) -> anyhow::Result<Demo> {
        let scratch = Scratch::make()?;
        let (state, plugins) = directories(&scratch)?;

        let real = scan(&Roots::system()).devices.iter().any(|device| !device.is_hub);
        let bus = if simulate || !real { Some(SimulatedBus::make(&scratch.0.join("usb"))?) } else { None };
        let agent = Agent {
            program: launch::linked(&plugins, "usb")?,
            args: bus.iter().flat_map(|bus| ["--usb-root".into(), bus.dir.clone().into_os_string()]).collect(),
            env: vec![(places::STATE_DIR.into(), state.clone().into())],
            ..Agent::default()
        };
        Ok(Demo { out: Out::new(), agent, bus, state, plugins, _scratch: scratch })
    }

    async fn play(mut self) -> anyhow::Result<()> {
        let bus = if self.bus.is_some() { "a simulated USB bus" } else { "this machine's USB bus" };
        self.out.heading("an agent in miniature", &format!("this binary as a Nomad device plugin, on {bus}"))?;
        let (mut plugin, _) = launch::launched(&mut self.out, &self.agent, CONFIG).await?;
        let offers = patient("the first offer", plugin.device.fingerprint()).await?;
        let mut offer = Watch { offers, groups: Vec::new() };
        self.offered(&mut offer).await?;
        let picked = self.picked(&mut offer).await?;
        self.reserved(&mut plugin, &picked).await?;
        self.measured(&mut plugin, &picked).await?;
        self.pulled(&mut plugin, &mut offer, &picked).await?;

        drop(offer);
        let ended = plugin.end().await;
        ensure!(ended.graceful, "the plugin did not end when it was asked to, and was killed");
        task::play(&mut self.out, &self.state, &self.plugins).await?;
        self.out.heading("ended", &format!("as an agent ends it, in {}", show::span(ended.took)))?;
        Ok(())
    }

    async fn offered(&mut self, offer: &mut Watch) -> anyhow::Result<()> {
        let began = Instant::now();
        offer.until("an offer with devices", |groups| !ids(groups).is_empty()).await?;
        self.out.heading("offer", &format!("what the node would show, after {}", show::span(began.elapsed())))?;
        show::groups(&mut self.out, &offer.groups)
    }

    /// An instance to reserve: on a simulated bus one that is plugged now.
    async fn picked(&mut self, offer: &mut Watch) -> anyhow::Result<String> {
        let Some(bus) = &self.bus else {
            let healthy = offer.groups.iter().flat_map(|group| &group.instances).find(|one| one.health.is_healthy());
            return healthy
                .map(|one| one.id.clone())
                .context("every device is offered as unhealthy; see the reasons above");
        };
        let before = ids(&offer.groups);
        let began = Instant::now();
        bus.plug()?;
        offer.until("the plugged device", |groups| ids(groups).len() > before.len()).await?;
        let new: Vec<String> = ids(&offer.groups).difference(&before).cloned().collect();
        let [id] = new.as_slice() else { bail!("one device was plugged, and the offer got {new:?}") };
        self.out.heading(
            "plug",
            &format!("a memory stick at {}, offered after {}", SimulatedBus::PORT, show::span(began.elapsed())),
        )?;
        show::group_of(&mut self.out, &offer.groups, id)?;
        Ok(id.clone())
    }

    async fn reserved(&mut self, plugin: &mut Launched, id: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        let reservation = patient("a reservation", plugin.device.reserve(vec![id.to_owned()])).await?;
        ensure!(!reservation.devices.is_empty(), "the reservation of {id} hands out no device node");
        self.out.heading("reserve", &format!("{id}: what the task gets, after {}", show::span(began.elapsed())))?;
        show::reservation(&mut self.out, &reservation)
    }

    async fn measured(&mut self, plugin: &mut Launched, id: &str) -> anyhow::Result<()> {
        self.out.heading("stats", &format!("of {id}, every {}", show::span(BEAT)))?;
        let mut figures = patient("figures", plugin.device.stats(BEAT)).await?;
        for _ in 0..BEATS {
            let groups = patient("figures", figures.next()).await?;
            let found = groups.iter().find_map(|group| group.instances.get(id));
            let Some(found) = found else { bail!("there are no figures of {id}") };
            show::figures(&mut self.out, found)?;
            if let Some(bus) = &self.bus {
                bus.use_it()?;
            }
        }
        Ok(())
    }

    /// Unplug and plug again, where that harms nobody.
    async fn pulled(&mut self, plugin: &mut Launched, offer: &mut Watch, id: &str) -> anyhow::Result<()> {
        let Some(bus) = &self.bus else {
            return Ok(self.out.heading("unplug, replug", "only on a simulated bus: yurt demo --simulate")?);
        };
        let began = Instant::now();
        bus.unplug()?;
        offer.until("an offer without the device", |groups| !ids(groups).contains(id)).await?;
        self.out.heading("unplug", &format!("{id} is no longer offered after {}", show::span(began.elapsed())))?;
        match patient("a refusal", async { Ok(plugin.device.reserve(vec![id.to_owned()]).await) }).await? {
            Ok(_) => bail!("{id} is unplugged and could be reserved"),
            Err(why) => self
                .out
                .line(&format!("  reserved all the same: {}", self.out.paint(Style::Faint, &why.to_string())))?,
        }

        let began = Instant::now();
        bus.plug()?;
        offer.until("the same device again", |groups| ids(groups).contains(id)).await?;
        Ok(self.out.heading("replug", &format!("{id} again, the same id, after {}", show::span(began.elapsed())))?)
    }
}

/// The newest offer of a stream.
struct Watch {
    offers: Offers,
    groups: Vec<Group>,
}

impl Watch {
    async fn until(&mut self, what: &str, holds: impl Fn(&[Group]) -> bool) -> anyhow::Result<()> {
        patient(what, async {
            while !holds(&self.groups) {
                self.groups = self.offers.next().await?;
            }
            Ok(())
        })
        .await
    }
}

fn ids(groups: &[Group]) -> BTreeSet<String> {
    groups.iter().flat_map(|group| &group.instances).map(|instance| instance.id.clone()).collect()
}

async fn patient<T>(
    what: &str,
    call: impl Future<Output = Result<T, yurt_nomad::client::CallError>>,
) -> anyhow::Result<T> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => bail!("{what} did not come within {}", show::span(PATIENCE)),
    }
}

/// Where the demo's plugins keep compiled guests: a guest that was checked need not be compiled again to be shown, and the reverse.
pub(super) fn cache() -> Option<PathBuf> {
    let state = places::base().join("demo");
    let plugins = state.join("plugins");
    places::private_dir(&plugins).ok()?;
    let places = Places::below(&state, &Named::from_argv0(Some(plugins.join("usb").into())));
    places.prepare().ok()?;
    Some(places.cache())
}

/// The demo's state directory and the plugin directory in it. They stay where they can, so that only the first demo has to compile
/// the guests.
fn directories(scratch: &Scratch) -> anyhow::Result<(PathBuf, PathBuf)> {
    let stays = places::base().join("demo");
    let state = if places::private_dir(&stays).is_ok() { stays } else { scratch.0.join("state") };
    let plugins = state.join("plugins");
    places::private_dir(&plugins).with_context(|| format!("cannot make {}", plugins.display()))?;
    Ok((state, plugins))
}

/// Holds the simulated bus; gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> anyhow::Result<Scratch> {
        let dir = std::env::temp_dir().join(format!("yurt-demo-{}", std::process::id()));
        places::private_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! Yurt's python driver beside Nomad's own raw_exec and exec: the same tasks in the same directories, control groups and log pipes,
//! started in turn in one run, measured as an agent and the kernel see them.
//!
//! A task counts only if it ended as it should have, and in the end nothing may be left of any.

#![allow(clippy::print_stdout)]

mod bulk;
mod crowd;
mod program;
mod side;
mod thing;
mod turn;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use serde_json::{Map, json};
use tokio::signal::unix::{SignalKind, signal};
use yurt_benches::{load_average, processors, report};
use yurt_conformance::driver::{Flavour, Isolation, Subject};

use side::Side;
use thing::Measured;

impl Arguments {
    fn pairs(&self) -> impl Iterator<Item = &'static Pair> {
        PAIRS.iter().filter(|pair| self.modes.iter().any(|mode| mode == pair.mode))
    }
}

/// A mode of Yurt's and the driver of Nomad's that does the same, if one does.
#[derive(Clone, Copy)]
struct Pair {
    mode: &'static str,
    peer: Option<Flavour>,
    isolation: Isolation,
}

static PAIRS: [Pair; 4] = [
    Pair { mode: "none", peer: Some(Flavour::RawExec), isolation: Isolation::None },
    Pair { mode: "chroot", peer: Some(Flavour::Exec), isolation: Isolation::Chroot },
    Pair { mode: "overlay", peer: None, isolation: Isolation::Overlay },
    Pair { mode: "landlock", peer: None, isolation: Isolation::Landlock },
];

#[derive(Debug, Parser)]
#[command(about = "Measures yurt's task driver beside Nomad's own")]
struct Arguments {
    /// The release binary
    #[arg(long, default_value = "target/release/yurt")]
    yurt: PathBuf,
    /// The peers, built by tests/agent/build.sh; without them only yurt is measured
    #[arg(long)]
    drivers: Option<PathBuf>,
    /// Modes of Yurt's that are measured, and the peers that do the same
    #[arg(long, value_delimiter = ',', default_value = "none,chroot,overlay,landlock")]
    modes: Vec<String>,
    /// Turns of each
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Tasks that are started at once
    #[arg(long, default_value_t = 50)]
    crowd: usize,
    /// Tasks that are there at once and do nothing
    #[arg(long, default_value_t = 50)]
    idle: usize,
    /// How often that is done
    #[arg(long, default_value_t = 3)]
    crowds: usize,
    /// JSON instead of the tables
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(rustix::process::geteuid().is_root(), "needs root, for control groups, mounts and tasks of another user");
    let before = load_average();
    // Whatever ends the run, dropping what was begun ends that, too.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let all = tokio::select! {
        all = measure(&arguments) => all?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    };
    let load = format!("{before} before, {} after, on {} processors", load_average(), processors());
    let mut by_mode = Map::new();
    for (pair, (ours, theirs)) in arguments.pairs().zip(&all) {
        let rows = thing::rows(ours, theirs.as_ref(), pair.isolation, arguments.crowd, arguments.idle);
        let peer = pair.peer.map_or("nobody", Flavour::name);
        if arguments.json {
            by_mode.insert(pair.mode.to_owned(), report::json(&rows, peer));
        } else {
            println!("Isolation {}\n{}\n", pair.mode, report::table(&rows, peer));
        }
    }
    let Arguments { runs, crowd, idle, crowds, .. } = arguments;
    if arguments.json {
        println!(
            "{}",
            json!({ "isolation": by_mode, "load": load, "runs": runs, "crowd": crowd, "idle": idle, "crowds": crowds })
        );
    } else {
        println!(
            "Median (least–greatest) of {runs} turns, and of {crowds} with {crowd} tasks at once and {idle} that are idle. Load {load}."
        );
    }
    Ok(())
}

/// Of each pair, Yurt's first.
async fn measure(arguments: &Arguments) -> Result<Vec<(Measured, Option<Measured>)>> {
    let mut sides = Vec::new();
    for Pair { peer, isolation, .. } in arguments.pairs().copied() {
        sides.push(Side::start(Subject { flavour: Flavour::Python, isolation }, &arguments.yurt).await?);
        if let (Some(drivers), Some(flavour)) = (&arguments.drivers, peer) {
            sides.push(Side::start(Subject { flavour, isolation }, drivers).await?);
        }
    }
    // The first round fills caches. Nobody is always the first, or behind the same other.
    for round in 0..=arguments.runs {
        in_turn(&mut sides, round, async |side| turn::turn(side).await).await?;
        if round == 0 {
            sides.iter_mut().for_each(|side| side.measured = Measured::default());
        }
    }
    for round in 0..arguments.crowds {
        in_turn(&mut sides, round, async |side| {
            crowd::short_lived(side, arguments.crowd).await?;
            crowd::idle(side, arguments.idle).await?;
            bulk::much_output(side).await
        })
        .await?;
    }
    let mut measured = Vec::new();
    for side in sides {
        measured.push(side.finish().await);
    }
    let mut measured = measured.into_iter();
    let mut pairs = Vec::new();
    for Pair { peer, .. } in arguments.pairs().copied() {
        let ours = measured.next().context("one side for each mode")?;
        let theirs = arguments.drivers.as_ref().and(peer).and_then(|_| measured.next());
        pairs.push((ours, theirs));
    }
    Ok(pairs)
}

async fn in_turn(sides: &mut [Side], round: usize, act: impl AsyncFn(&mut Side) -> Result<()>) -> Result<()> {
    let count = sides.len();
    for number in 0..count {
        let at = if round.is_multiple_of(2) { number } else { count - 1 - number };
        let Some(side) = sides.get_mut(at) else { continue };
        act(side).await.with_context(|| format!("{}, round {round}", side.node.subject))?;
    }
    Ok(())
}

//! Yurt and Nomad's own example device plugin side by side: launched in turn, then serving in the same minutes, measured as an agent
//! and the kernel see them.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use serde_json::json;
use tokio::task::JoinSet;
use yurt_benches::meter::{self, Meter, SLICE, Spent};
use yurt_benches::peer::{DEVICES, PERIOD, Peer};
use yurt_benches::report::{self, Figures, Goal, Row};
use yurt_benches::{load_average, mebibytes, milliseconds, processors};
use yurt_nomad::client::{Launched, Offers};

/// Interval of the figures while serving: an agent's default.
const STATS: Duration = Duration::from_secs(1);
/// How long a plugin may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a launch leaves behind is over by then.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Debug, Parser)]
#[command(about = "Measures yurt beside Nomad's example device plugin")]
struct Arguments {
    /// The release binary
    #[arg(long, default_value = "target/release/yurt")]
    yurt: PathBuf,
    /// The peer, built by tests/agent/build.sh; without it only yurt is measured
    #[arg(long)]
    fsdev: Option<PathBuf>,
    /// Launches of each
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// First launches, with nothing cached
    #[arg(long, default_value_t = 7)]
    cold: usize,
    /// How long a minute of serving is, in seconds; there are two of them
    #[arg(long, default_value_t = 60)]
    minute: u64,
    /// JSON instead of the table
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let before = load_average();
    let yurt = Peer::yurt(&arguments.yurt)?;
    let fsdev = arguments.fsdev.as_deref().map(Peer::fsdev).transpose()?;
    let peers: Vec<&Peer> = [Some(&yurt), fsdev.as_ref()].into_iter().flatten().collect();

    let mut first = Vec::new();
    for _ in 0..arguments.cold {
        first.push(launch(&Peer::yurt(&arguments.yurt)?).await?.schema);
    }
    let mut launches: Vec<Vec<Launch>> = peers.iter().map(|_| Vec::new()).collect();
    // The first round fills caches.
    for round in 0..=arguments.runs {
        for (peer, its) in peers.iter().zip(&mut launches) {
            let launch = launch(peer).await.with_context(|| peer.name)?;
            its.extend((round > 0).then_some(launch));
        }
    }
    let mut offers: Vec<Vec<FirstOffer>> = peers.iter().map(|_| Vec::new()).collect();
    for _ in 0..arguments.runs {
        for (peer, its) in peers.iter().zip(&mut offers) {
            its.push(first_offer(peer).await.with_context(|| peer.name)?);
        }
    }
    let minute = Duration::from_secs(arguments.minute);
    let served = serve(&peers, minute).await?;

    let rows = rows(&peers, &first, &launches, &offers, &served, minute);
    let load = format!("{before} before, {} after, on {} processors", load_average(), processors());
    if arguments.json {
        println!("{}", json!({ "rows": report::json(&rows, "fsdev"), "load": load, "minute_s": arguments.minute }));
    } else {
        println!("{}", report::table(&rows, "fsdev"));
        println!("Median (least–greatest). {DEVICES} devices each, looked at every {PERIOD} s. Load {load}.");
    }
    Ok(())
}

/// What an agent's first launch of a plugin takes.
struct Launch {
    handshake: Duration,
    schema: Duration,
    cpu: Duration,
    end: Duration,
}

async fn launch(peer: &Peer) -> Result<Launch> {
    let started = Instant::now();
    let mut launched = peer.agent.launch().await?;
    launched.base.plugin_info().await?;
    launched.base.config_schema().await?.context("no schema")?;
    let schema = started.elapsed();
    let (handshake, cpu) = (launched.plugin.handshake_took(), meter::cpu(launched.plugin.pid()));
    Ok(Launch { handshake, schema, cpu, end: launched.end().await.took })
}

/// What the launch of the copy that serves goes on with.
struct FirstOffer {
    took: Duration,
    end: Duration,
}

async fn first_offer(peer: &Peer) -> Result<FirstOffer> {
    let mut launched = peer.start().await?;
    let asked = Instant::now();
    let offers = offered(&mut launched).await?;
    let took = asked.elapsed();
    // An agent leaves its streams before it ends a plugin.
    drop(offers);
    Ok(FirstOffer { took, end: launched.end().await.took })
}

/// A stream of offers that has offered all devices.
async fn offered(launched: &mut Launched) -> Result<Offers> {
    let mut offers = launched.device.fingerprint().await?;
    let all = async {
        while offers.next().await?.iter().map(|group| group.instances.len()).sum::<usize>() < DEVICES {}
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, all).await.with_context(|| format!("{DEVICES} devices were not offered"))??;
    Ok(offers)
}

/// What two minutes of serving cost.
struct Served {
    idle: Spent,
    busy: Spent,
    resident: f64,
    share: f64,
}

/// All at the same time: whatever the machine does otherwise, it does to both.
async fn serve(peers: &[&Peer], minute: Duration) -> Result<Vec<Served>> {
    let mut all = Vec::new();
    // The streams of an agent, read by tasks of their own. One that ends is an error.
    let mut streams = JoinSet::new();
    for peer in peers {
        let mut launched = peer.start().await?;
        let mut offers = offered(&mut launched).await?;
        streams.spawn(async move { while offers.next().await.is_ok() {} });
        all.push(launched);
    }
    let pids: Vec<u32> = all.iter().map(|launched| launched.plugin.pid()).collect();
    tokio::time::sleep(QUIET).await;
    let idle = watch(&pids, minute).await;
    for launched in &mut all {
        let mut figures = launched.device.stats(STATS).await?;
        streams.spawn(async move { while figures.next().await.is_ok() {} });
    }
    tokio::time::sleep(QUIET).await;
    let busy = watch(&pids, minute).await;
    anyhow::ensure!(streams.try_join_next().is_none(), "a stream ended");
    let mut served = Vec::new();
    for ((pid, idle), busy) in pids.into_iter().zip(idle).zip(busy) {
        let (resident, share) = meter::memory(pid).context("a plugin ended")?;
        served.push(Served { idle, busy, resident: mebibytes(resident << 10), share: mebibytes(share << 10) });
    }
    drop(streams);
    for launched in all {
        launched.end().await;
    }
    Ok(served)
}

async fn watch(pids: &[u32], span: Duration) -> Vec<Spent> {
    let mut meters: Vec<(Meter, Spent)> = pids.iter().map(|pid| (Meter::of(*pid), Spent::NOTHING)).collect();
    let end = Instant::now() + span;
    let mut slices = tokio::time::interval(SLICE);
    slices.tick().await;
    while Instant::now() < end {
        slices.tick().await;
        for (meter, spent) in &mut meters {
            meter.look(spent);
        }
    }
    meters.into_iter().map(|(_, spent)| spent).collect()
}

fn rows(
    peers: &[&Peer],
    first: &[Duration],
    launches: &[Vec<Launch>],
    offers: &[Vec<FirstOffer>],
    served: &[Served],
    minute: Duration,
) -> Vec<Row> {
    let row = |what: &str, figures: &dyn Fn(usize) -> Option<Figures>, goal| Row {
        what: what.to_owned(),
        ours: figures(0),
        theirs: figures(1),
        goal,
    };
    let launched = |of: fn(&Launch) -> Duration| {
        move |peer: usize| Figures::of(launches.get(peer)?.iter().map(|launch| milliseconds(of(launch))))
    };
    let offered = |of: fn(&FirstOffer) -> Duration| {
        move |peer: usize| Figures::of(offers.get(peer)?.iter().map(|offer| milliseconds(of(offer))))
    };
    let serving = |of: fn(&Served) -> f64| move |peer: usize| Figures::of([of(served.get(peer)?)]);
    let seconds = minute.as_secs();
    // Where the first look falls into the minute is chance.
    #[allow(clippy::cast_precision_loss)]
    let looks = (seconds.div_ceil(PERIOD)) as f64;
    vec![
        row("launch → handshake line, ms", &launched(|l| l.handshake), Some(Goal::OfTheirs(0.5))),
        row("launch → ConfigSchema answered, ms", &launched(|l| l.schema), Some(Goal::OfTheirs(1.0))),
        row("… processor time of that, ms", &launched(|l| l.cpu), None),
        row(
            "… at the very first launch (compiling), ms",
            &|peer| if peer == 0 { Figures::of(first.iter().map(|took| milliseconds(*took))) } else { None },
            None,
        ),
        row("Fingerprint → all devices offered, ms", &offered(|o| o.took), None),
        row("end after Shutdown, nothing called, ms", &launched(|l| l.end), Some(Goal::AtMost(5.0))),
        row("end after Shutdown, while serving, ms", &offered(|o| o.end), Some(Goal::AtMost(5.0))),
        row("resident memory (RSS), MiB", &serving(|s| s.resident), Some(Goal::AtMost(15.0))),
        row("… its share where shared (PSS), MiB", &serving(|s| s.share), None),
        row(
            &format!("idle {seconds} s: moments awake"),
            &serving(|s| f64::from(s.idle.moments)),
            Some(Goal::AtMost(looks)),
        ),
        row(&format!("idle {seconds} s: switches of threads"), &serving(|s| count(s.idle.switches)), None),
        row(&format!("idle {seconds} s: processor time, ms"), &serving(|s| milliseconds(s.idle.cpu)), None),
        row(&format!("Stats every second, {seconds} s: switches"), &serving(|s| count(s.busy.switches)), None),
        row(&format!("Stats every second, {seconds} s: processor, ms"), &serving(|s| milliseconds(s.busy.cpu)), None),
        row("binary, MiB", &|peer| Figures::of([mebibytes(peers.get(peer)?.size)]), None),
    ]
}

#[allow(clippy::cast_precision_loss)]
fn count(number: u64) -> f64 {
    number as f64
}

//! `benches/run.sh records`: what looking at the devices costs, on a simulated bus of plain files: the whole record of all of them, that of one
//! branch after an event, and the figures of all of them through the policy, as an agent asks for them.

#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use yurt_benches::{load_average, milliseconds, quartiles};
use yurt_nomad::client::Agent;
use yurt_nomad::config::from_hcl;
use yurt_usb::sim::{Bus, models};
use yurt_usb::{Reader, Roots};

/// Of each.
const ROUNDS: usize = 100;

#[derive(Debug, Parser)]
#[command(about = "Measures what looking at many devices costs")]
struct Arguments {
    /// The release binary
    #[arg(long, default_value = "target/release/yurt")]
    yurt: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("files in {}, load {}; median (quartiles), goal", file_system(&std::env::temp_dir()), load_average());
    for (devices, goal) in [(16, 8.0), (127, 60.0)] {
        let place = tempfile::tempdir()?;
        let roots = Roots::simulated(place.path());
        let _bus = bus(&roots, devices)?;
        let reader = Reader::new(roots);
        ensure!(reader.full().0.len() > devices, "not all of them are there");
        row(&format!("the whole record of {devices} devices"), goal, || drop(reader.full()));
        row(&format!("one branch among {devices}"), 2.0, || drop(reader.one("1-1.1")));
        let keys: Vec<String> = reader.full().0.iter().map(|device| device.key.clone()).collect();
        row(&format!("the totals of {devices}"), 5.0, || drop(reader.counters(&keys)));
    }
    stats(&arguments.yurt, 127, 5.0).await
}

/// Hubs full of serial adapters, on as many buses as it takes: one has 127 addresses.
fn bus(roots: &Roots, devices: usize) -> Result<Bus> {
    let bus = Bus::create(roots)?;
    bus.set_pause(Duration::ZERO);
    for number in 0..devices {
        let (root, hub, port) = (number / 64 + 1, number % 64 / 15 + 1, number % 64 % 15 + 1);
        if number % 64 == 0 {
            bus.plug(&format!("usb{root}"), &models::root_hub(15))?;
        }
        if port == 1 {
            bus.plug(&format!("{root}-{hub}"), &models::hub(15))?;
        }
        bus.plug(&format!("{root}-{hub}.{port}"), &models::cp2102().with_serial(format!("{number:08}")))?;
    }
    Ok(bus)
}

/// Stats of the agent's first second, over the wire; the following ones come by the plugin's own interval.
async fn stats(yurt: &Path, devices: usize, goal: f64) -> Result<()> {
    let place = tempfile::tempdir()?;
    let usb = place.path().join("usb");
    let _bus = bus(&Roots::simulated(&usb), devices)?;
    let program = place.path().join("usb-plugin");
    std::os::unix::fs::symlink(std::path::absolute(yurt)?, &program)?;
    let agent = Agent {
        args: ["--usb-root".into(), usb.into_os_string(), "--guest".into(), "usb".into()].into(),
        env: vec![
            ("YURT_STATE_DIR".into(), place.path().join("state").into()),
            ("YURT_RUNTIME_DIR".into(), place.path().join("run").into()),
        ],
        ..Agent::new(program)
    };
    let asked = agent.interrogate().await?;
    let config = from_hcl("rule {\n driver = \"cp210x\"\n}", "agent.hcl", &asked.schema.context("no schema")?)?;
    let mut launched = agent.start(&config).await?;
    let mut offers = launched.device.fingerprint().await?;
    while offers.next().await?.iter().map(|group| group.instances.len()).sum::<usize>() < devices {}
    let mut spans = Vec::new();
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        let mut stats = launched.device.stats(Duration::from_secs(60)).await?;
        let first = stats.next().await?;
        spans.push(milliseconds(asked.elapsed()));
        ensure!(first.iter().map(|group| group.instances.len()).sum::<usize>() == devices, "figures are missing");
    }
    said(&format!("figures of {devices} devices, over the wire"), spans, goal);
    launched.end().await;
    Ok(())
}

fn row(what: &str, goal: f64, mut look: impl FnMut()) {
    let spans = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        look();
        milliseconds(start.elapsed())
    });
    said(what, spans.collect(), goal);
}

fn said(what: &str, spans: Vec<f64>, goal: f64) {
    let [low, median, high] = quartiles(spans);
    println!(
        "{what}: {median:.2} ms ({low:.2}–{high:.2}), goal ≤ {goal} ms: {}",
        if median <= goal { "met" } else { "NOT MET" }
    );
}

/// The type of the file system that holds a directory.
fn file_system(of: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let holds = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let at = left.split(' ').nth(4)?;
        of.starts_with(at).then(|| (at.len(), right.split(' ').next().unwrap_or_default().to_owned()))
    });
    holds.max().map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind)
}

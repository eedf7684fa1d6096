//! What a guest costs: size, loading from the cache, a call with a few and with many devices.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use yurt_guest::{Options, Runtime, Source, Trial, UsbPolicy, usb};

#[allow(unreachable_pub)]
#[path = "../../../benches/policy_call/facts.rs"]
mod facts;

const CONFIG: &str = r#"{"vendor_name":"shelf","rule":[{"vendor":"0x10c4","product":"0xea60","group":"console"}]}"#;
/// Least of so many.
const ROUNDS: usize = 5;
const CALLS: usize = 20;

/// Figures of one component.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) bytes: u64,
    /// From the cache, in a new runtime: described, tried.
    pub(crate) load: Duration,
    /// `group` with 8 devices.
    pub(crate) few: Duration,
    /// `group` with 127 devices.
    pub(crate) many: Duration,
}

pub(crate) fn measure(component: &Path) -> anyhow::Result<Figures> {
    let cache = tempfile::tempdir()?;
    let load = || -> anyhow::Result<(UsbPolicy, Duration)> {
        let start = Instant::now();
        let options = Options { cache_dir: Some(cache.path().join("cache")), ..Options::default() };
        let runtime = Runtime::new(options).map_err(|why| anyhow!("{why}"))?;
        let loaded = runtime.open(&Source::File(component.to_owned())).map_err(|why| anyhow!("{why}"))?;
        let policy = loaded.activate(&Trial { config: CONFIG }).map_err(|why| anyhow!("{why}"))?;
        Ok((policy, start.elapsed()))
    };
    let (policy, _) = load()?;
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        least = least.min(load()?.1);
    }
    Ok(Figures {
        bytes: std::fs::metadata(component)?.len(),
        load: least,
        few: call(&policy, 8)?,
        many: call(&policy, 127)?,
    })
}

/// As in a plugin's life: with the memory of the call before.
fn call(policy: &UsbPolicy, devices: usize) -> anyhow::Result<Duration> {
    let facts = facts::snapshot(devices);
    let mut memory: Option<String> = None;
    let mut least = Duration::MAX;
    for _ in 0..CALLS {
        let start = Instant::now();
        let answer = policy.group(CONFIG, &facts, memory.as_deref()).map_err(|why| anyhow!("{why}"))?;
        least = least.min(start.elapsed());
        let offer = answer.map_err(|why| anyhow!("{why}"))?;
        let offered: usize = offer.groups.iter().map(|group| group.instances.len()).sum();
        anyhow::ensure!(offered == devices, "{offered} of {devices} devices are offered");
        memory = Some(offer.memory.context("nothing is remembered")?);
    }
    Ok(least)
}

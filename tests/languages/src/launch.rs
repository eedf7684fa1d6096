//! What an agent waits for: from starting the plugin until it answers for its guest.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use yurt_nomad::client::Agent;

/// Launches of each kind; the median counts.
const ROUNDS: usize = 5;

/// From the start of the process to the answered ConfigSchema.
#[derive(Debug)]
pub(crate) struct Launches {
    /// Never seen before.
    pub(crate) first: Duration,
    /// The same, by Winch's code.
    pub(crate) winch: Duration,
    /// From the cache.
    pub(crate) cached: Duration,
}

pub(crate) fn launches(yurt: &Path, component: &Path) -> anyhow::Result<Launches> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let state = tempfile::tempdir()?;
        let first = answered(yurt, component, state.path(), &[]).await?;
        let mut cached = Vec::new();
        for _ in 0..ROUNDS {
            cached.push(answered(yurt, component, state.path(), &[]).await?);
        }
        let mut winch = Vec::new();
        for _ in 0..ROUNDS {
            let state = tempfile::tempdir()?;
            winch.push(answered(yurt, component, state.path(), &["--first-tier", "winch"]).await?);
        }
        Ok(Launches { first, winch: median(winch), cached: median(cached) })
    })
}

async fn answered(yurt: &Path, component: &Path, state: &Path, more: &[&str]) -> anyhow::Result<Duration> {
    let plugins = tempfile::tempdir()?;
    let program = plugins.path().join("policy");
    fs::copy(yurt, &program)?;
    let mut args = vec!["--guest".into(), component.as_os_str().to_owned()];
    args.extend(more.iter().map(Into::into));
    let agent = Agent { args, env: vec![("YURT_STATE_DIR".into(), state.into())], ..Agent::new(program) };
    let start = Instant::now();
    let mut launched = agent.launch().await?;
    launched.base.plugin_info().await?;
    launched.base.config_schema().await?.context("no schema")?;
    let took = start.elapsed();
    launched.end().await;
    Ok(took)
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

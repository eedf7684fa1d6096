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
        let node = tempfile::tempdir()?;
        let first = answered(yurt, component, node.path(), &[]).await?;
        let mut cached = Vec::new();
        for _ in 0..ROUNDS {
            cached.push(answered(yurt, component, node.path(), &[]).await?);
        }
        let mut winch = Vec::new();
        for _ in 0..ROUNDS {
            let node = tempfile::tempdir()?;
            winch.push(answered(yurt, component, node.path(), &["--first-tier", "winch"]).await?);
        }
        Ok(Launches { first, winch: median(winch), cached: median(cached) })
    })
}

/// On a node with a plugin directory and a state directory.
async fn answered(yurt: &Path, component: &Path, node: &Path, more: &[&str]) -> anyhow::Result<Duration> {
    let plugins = node.join("plugins");
    fs::create_dir_all(&plugins)?;
    let program = plugins.join("policy");
    fs::copy(yurt, &program)?;
    let mut args = vec!["--guest".into(), component.as_os_str().to_owned()];
    args.extend(more.iter().map(Into::into));
    let agent = Agent { args, env: vec![("YURT_STATE_DIR".into(), node.join("state").into())], ..Agent::new(program) };
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

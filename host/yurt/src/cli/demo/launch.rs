//! What an agent does with a plugin before it serves: the link in its directory, and the three launches.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use serde_json::Value;
use yurt_nomad::client::{Agent, Launched};
use yurt_nomad::config;
use yurt_nomad::schema::Spec;

use crate::cli::term::Out;

/// Links this binary into `plugins` under a name.
pub(super) fn linked(plugins: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let link = plugins.join(name);
    let draft = plugins.join(format!(".{name}.{}", std::process::id()));
    symlink(std::env::current_exe()?, &draft)?;
    std::fs::rename(&draft, &link)?;
    Ok(link)
}

/// The three launches of an agent's start, by a configuration in HCL. What it evaluates to is for further launches.
pub(super) async fn launched(out: &mut Out, agent: &Agent, hcl: &str) -> anyhow::Result<(Launched, Value)> {
    let progress = out.progress("the guest is compiled the first time");
    let asked = agent.interrogate().await.context("launch 1: asked what it is")?;
    progress.finish_and_clear();
    out.step("launch 1", &format!("asked what it is: {} {}", asked.info.name, asked.info.version), asked.took)?;

    let schema = asked.schema.unwrap_or_else(Spec::empty);
    let config = config::from_hcl(hcl, "demo.hcl", &schema)?;
    let began = Instant::now();
    agent.validate(&config).await.context("launch 2: asked whether its configuration is right")?;
    let words: Vec<&str> = hcl.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    out.step("launch 2", &format!("its configuration is right: {}", words.join(" ").trim_end()), began.elapsed())?;

    let plugin = started(out, agent, &config, "launch 3").await?;
    Ok((plugin, config))
}

/// A launch for good.
pub(super) async fn started(out: &mut Out, agent: &Agent, config: &Value, name: &str) -> anyhow::Result<Launched> {
    let began = Instant::now();
    let plugin = agent.start(config).await.with_context(|| format!("{name}: started for good"))?;
    out.step(name, "started for good", began.elapsed())?;
    Ok(plugin)
}

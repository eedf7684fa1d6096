//! What a policy offers of some devices under some configuration, as the commands for people ask: without a plugin, an agent, or a device
//! being opened. What a running plugin remembers – ids that it gave before, unplugged devices that it still offers – is not known here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::Value;
use yurt_guest::Source;
use yurt_nomad::config::{from_agent_file, from_hcl};
use yurt_usb::facts::Snapshot;
use yurt_usb::{Roots, scan};

use super::demo;
use crate::check::{self, Grants, Offer};
use crate::choice::{self, Device, Plugin};
use crate::{convert, device_plugin, diagnostics};

/// Whose devices.
#[derive(Debug, Args)]
pub(super) struct Facts {
    /// Devices that `yurt devices record` wrote instead of this machine's
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// A simulated bus instead of this machine's
    #[arg(long, value_name = "DIR", hide = true, conflicts_with = "replay")]
    usb_root: Option<PathBuf>,
}

impl Facts {
    pub(super) fn read(&self) -> anyhow::Result<Snapshot> {
        match &self.replay {
            Some(file) => recorded(file),
            None => Ok(scan(&self.roots())),
        }
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.replay.is_some()
    }

    pub(super) fn roots(&self) -> Roots {
        self.usb_root.as_deref().map_or_else(Roots::system, Roots::simulated)
    }
}

fn recorded(file: &Path) -> anyhow::Result<Snapshot> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut facts: Snapshot = serde_json::from_str(&text)
        .map_err(|why| anyhow!("{}: {why}: it should be what `yurt devices record` writes", file.display()))?;
    // Whoever edits a file need not keep the order.
    facts.devices.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(facts)
}

/// By what.
#[derive(Debug, Args)]
pub(super) struct Under {
    /// The agent's configuration file, or one with the keys of the stanza's config block alone; without it everything but hubs is allowed
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Whose stanza of the agent's file
    #[arg(long, value_name = "NAME", default_value = "usb")]
    plugin: String,
    /// Another policy than the built-in one
    #[arg(long, value_name = "FILE")]
    guest: Option<PathBuf>,
}

/// A policy with its configuration.
pub(super) struct Decides {
    pub(super) policy: Device,
    /// The guest's part, as the agent would hand it over.
    pub(super) config: Value,
    grants: Grants,
}

impl Under {
    /// Whether anything was said of what decides.
    pub(super) fn is_given(&self) -> bool {
        self.config.is_some() || self.guest.is_some()
    }

    pub(super) fn decides(&self) -> anyhow::Result<Decides> {
        let policy = self.policy()?;
        let (config, grants) = self.config(&policy)?;
        Ok(Decides { policy, config, grants })
    }

    fn policy(&self) -> anyhow::Result<Device> {
        let source = match &self.guest {
            Some(file) => Source::File(std::path::absolute(file)?),
            None => choice::built_in("usb", false).context("the built-in policy is missing")?,
        };
        let runtime = choice::patient(demo::cache()).map_err(|why| anyhow!("{why}"))?;
        let loaded = runtime.open(&source).map_err(|why| anyhow!("{why}"))?;
        match choice::ready(loaded).map_err(|why| anyhow!("{why}"))? {
            Plugin::Device(device) => Ok(*device),
            Plugin::Driver(_) => bail!("{}: a task driver's guest; devices are a USB policy's", source.origin()),
        }
    }

    fn config(&self, policy: &Device) -> anyhow::Result<(Value, Grants)> {
        let Some(file) = &self.config else {
            let config = from_hcl("rule {}", "everything", &policy.keys);
            return Ok((config.or_else(|_| from_hcl("", "nothing", &policy.keys))?, Grants::default()));
        };
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let name = file.display().to_string();
        let whole = match from_agent_file(&text, &name, &self.plugin, &policy.schema)? {
            Some(whole) => whole,
            None => from_hcl(&text, &name, &policy.schema)?,
        };
        let (config, host) = device_plugin::split(whole).map_err(|why| anyhow!("{name}: {why}"))?;
        let findings = policy.policy.check_config(&config.to_string()).map_err(|why| anyhow!("{why}"))?;
        match diagnostics::refusal(&findings) {
            Some(why) => bail!("{name}: {why}"),
            None => Ok((config, host.grants)),
        }
    }
}

impl Decides {
    /// What is offered, and what the host leaves out.
    pub(super) fn offer(&self, facts: &Snapshot) -> anyhow::Result<(Offer, Vec<String>)> {
        let answer = self
            .policy
            .policy
            .group(&self.config.to_string(), &convert::snapshot(facts), None)
            .map_err(|why| anyhow!("{why}"))?
            .map_err(|why| anyhow!("the policy cannot decide: {why}"))?;
        let (offer, refused) = check::offer(&answer, facts, self.grants);
        Ok((offer, refused.iter().map(ToString::to_string).collect()))
    }
}

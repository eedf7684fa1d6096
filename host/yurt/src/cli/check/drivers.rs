//! Which drivers judge a job: those of the agent's file, as its plugin stanzas say, and the built-in ones.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use yurt_guest::{Runtime, Source};
use yurt_nomad::config::{from_agent_file, from_hcl, plugins_of};

use crate::choice::{self, Driver, Named, Plugin};
use crate::cli::demo;
use crate::exchange::Rules;
use crate::{diagnostics, driver_plugin, plugin};

/// A driver and what its operator configured.
pub(super) struct Served {
    pub(super) driver: Driver,
    /// The guest's part, as JSON text.
    pub(super) config: String,
}

/// Drivers by the name with which a task asks for them.
#[derive(Default)]
pub(super) struct Drivers {
    pub(super) by_name: BTreeMap<String, Served>,
    /// Their names by that of the plugin's file, where that is another.
    pub(super) by_file: BTreeMap<String, String>,
}

/// An agent's configuration.
struct Agent {
    file: String,
    text: String,
    /// Guests by stanza; those of other plugins are left out.
    stanzas: Vec<(String, Source)>,
    /// There is no stanza at all: it holds the keys of a `config` block.
    bare: bool,
}

/// Whether the agent's file can be read at all.
pub(super) fn readable(agent: Option<&Path>) -> anyhow::Result<()> {
    agent.map(Agent::read).transpose().map(drop)
}

/// The drivers among `wanted` that are Yurt's. A built-in guest is loaded only if it is wanted; what driver is in a component, only the
/// component says.
pub(super) fn serving(wanted: &BTreeSet<&str>, agent: Option<&Path>) -> anyhow::Result<Drivers> {
    let agent = agent.map(Agent::read).transpose()?;
    let mut drivers = Drivers::default();
    if wanted.is_empty() {
        return Ok(drivers);
    }
    let runtime = choice::patient(demo::cache()).map_err(|why| anyhow!("{why}"))?;
    if let Some(agent) = &agent {
        for (stanza, source) in agent.stanzas.iter().filter(|(_, source)| is_wanted(source, wanted)) {
            let Some(driver) = opened(&runtime, source)? else { continue };
            let name = driver.logic.about().name.clone();
            drivers.by_file.insert(stanza.clone(), name.clone());
            if let Entry::Vacant(free) = drivers.by_name.entry(name) {
                free.insert(agent.configured(driver, Some(stanza))?);
            }
        }
    }
    for &name in wanted {
        let Some(source) = choice::built_in(name, true) else { continue };
        let Source::Embedded { name: driver, .. } = &source else { continue };
        if drivers.by_name.contains_key(name) || drivers.by_file.contains_key(name) {
            continue;
        }
        let driver = (*driver).to_owned();
        match opened(&runtime, &source)? {
            Some(_) if driver != name => {
                drivers.by_file.insert(name.to_owned(), driver);
            }
            Some(driver) => {
                let served = match &agent {
                    Some(agent) if agent.bare => agent.configured(driver, None)?,
                    _ => Served { config: driver.defaults.guest.to_string(), driver },
                };
                drivers.by_name.insert(name.to_owned(), served);
            }
            None => {}
        }
    }
    Ok(drivers)
}

fn is_wanted(source: &Source, wanted: &BTreeSet<&str>) -> bool {
    match source {
        Source::Embedded { name, .. } => wanted.contains(name),
        Source::File(_) | Source::Read(_) => true,
    }
}

/// None: it is a policy of devices.
fn opened(runtime: &Runtime, source: &Source) -> anyhow::Result<Option<Driver>> {
    let loaded = runtime.open(source).map_err(|why| anyhow!("{why}"))?;
    match choice::ready(loaded).map_err(|why| anyhow!("{why}"))? {
        Plugin::Driver(driver) => Ok(Some(*driver)),
        Plugin::Device(_) => Ok(None),
    }
}

impl Agent {
    fn read(path: &Path) -> anyhow::Result<Agent> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| file.clone())?;
        let plugins = plugins_of(&text, &file)?;
        // An agent that is told its plugins' directory elsewhere is mostly told so beside this file.
        let beside = || path.parent().map(Path::to_owned).unwrap_or_default();
        let dir = plugins.dir.as_ref().map_or_else(beside, PathBuf::from);
        let bare = plugins.stanzas.is_empty();
        let mut stanzas = Vec::new();
        for (name, args) in plugins.stanzas {
            let named = Named { file_name: name.clone(), plugin_dir: std::path::absolute(&dir)? };
            match (plugin::guest_of(&args), choice::source(&named, None)) {
                (Ok(Some(guest)), _) => {
                    let source = choice::source(&named, Some(&guest))
                        .map_err(|why| anyhow!("{file}: plugin {name:?}: {why}"))?;
                    stanzas.push((name, source));
                }
                (Ok(None), Ok(source)) => stanzas.push((name, source)),
                (Err(why), Ok(_)) => bail!("{file}: plugin {name:?}: {why}"),
                // Somebody else's.
                (_, Err(_)) => {}
            }
        }
        Ok(Agent { file, text, stanzas, bare })
    }

    /// What a stanza, or the bare file, says to a driver, which must be content with it.
    fn configured(&self, driver: Driver, stanza: Option<&str>) -> anyhow::Result<Served> {
        let whole: Option<Value> = match stanza {
            Some(stanza) => from_agent_file(&self.text, &self.file, stanza, &driver.schema)?,
            None => Some(from_hcl(&self.text, &self.file, &driver.schema)?),
        };
        let Some(whole) = whole else { bail!("{}: the stanza is gone", self.file) };
        let isolation = driver.logic.description().capabilities.isolation;
        let wrong = |why: String| anyhow!("{}: {why}", self.file);
        let (config, host) = driver_plugin::split(whole, isolation).map_err(wrong)?;
        let rules = host.block.common.policy_file().map(Rules::read).transpose().map_err(wrong)?.flatten();
        let config = match &rules {
            Some(rules) => rules.over(&driver.keys, &config).map_err(|why| anyhow!("{why}"))?,
            None => config,
        };
        let config = config.to_string();
        let findings = driver.logic.check_config(&config).map_err(|why| anyhow!("{why}"))?;
        let refusal = rules.map_or_else(|| diagnostics::refusal(&findings), |rules| rules.refusal(&findings));
        match refusal {
            Some(why) => bail!("{}: {why}", self.file),
            None => Ok(Served { driver, config }),
        }
    }
}

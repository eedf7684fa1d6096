//! The device plugin as Nomad sees it, wired from its parts: schema and configuration here, offers in `offer.rs`,
//! reservations in `reserve.rs`, figures in `statistics.rs`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::watch;
use yurt_go_plugin::log;
use yurt_guest::UsbPolicy;
use yurt_nomad::config::from_msgpack;
use yurt_nomad::device::{AgentConfig, Group, GroupStats, Info, PluginError, Reservation};
use yurt_nomad::schema::Spec;
use yurt_usb::Roots;

use crate::choice::Device;
use crate::host_config::{self, HostConfig};
use crate::offer::{self, Offers};
use crate::places::Places;
use crate::{diagnostics, reserve, statistics};

/// The configuration in force: the guest's own keys as JSON text, and the host's block.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) guest: Arc<str>,
    pub(crate) host: HostConfig,
}

/// One USB device plugin: a guest, a bus, and what was offered last.
pub(crate) struct DevicePlugin {
    policy: UsbPolicy,
    schema: Spec,
    config: watch::Sender<Arc<Config>>,
    published: watch::Sender<Option<Arc<Vec<Group>>>>,
    offers: OnceLock<Arc<Offers>>,
    roots: Roots,
    memory_file: PathBuf,
    log: log::Control,
}

impl DevicePlugin {
    /// Touches no hardware.
    pub(crate) fn new(device: Device, roots: Roots, places: &Places, log: log::Control) -> DevicePlugin {
        DevicePlugin {
            policy: device.policy,
            schema: device.schema,
            config: watch::Sender::new(Arc::new(device.defaults)),
            published: watch::Sender::new(None),
            offers: OnceLock::new(),
            roots,
            memory_file: places.memory(),
            log,
        }
    }

    /// The task that looks at hardware, started by the first call.
    fn offers(&self) -> &Arc<Offers> {
        self.offers.get_or_init(|| {
            offer::start(
                self.policy.clone(),
                self.roots.clone(),
                self.memory_file.clone(),
                self.config.subscribe(),
                self.published.clone(),
            )
        })
    }
}

/// The guest's keys with the host's block beside them.
pub(crate) fn schema(guest: &str) -> Result<Spec, yurt_nomad::schema::SpecError> {
    host_config::beside(guest, host_config::spec()?)
}

/// What a schema makes of a stanza without `config`.
pub(crate) fn defaults(schema: &Spec) -> Result<Config, String> {
    from_msgpack(&[], schema).map_err(|why| why.to_string()).and_then(split)
}

/// Takes the host's block out; the rest is the guest's.
pub(crate) fn split(mut config: Value) -> Result<Config, String> {
    let block = host_config::taken_from(&mut config);
    Ok(Config { host: HostConfig::from_json(&block)?, guest: config.to_string().into() })
}

#[tonic::async_trait]
impl yurt_nomad::device::DevicePlugin for DevicePlugin {
    fn info(&self) -> Info {
        let about = self.policy.about();
        Info { name: about.name.clone(), version: about.version.clone() }
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        Ok(Some(self.schema.clone()))
    }

    async fn set_config(&self, msgpack: &[u8], _agent: Option<AgentConfig>) -> Result<(), PluginError> {
        let json = from_msgpack(msgpack, &self.schema).map_err(|why| PluginError::invalid_argument(why.to_string()))?;
        let config = split(json).map_err(PluginError::invalid_argument)?;
        let (policy, guest) = (self.policy.clone(), Arc::clone(&config.guest));
        diagnostics::accepted(move || policy.check_config(&guest)).await?;
        self.log.set_level(config.host.log_level);
        self.config.send_replace(Arc::new(config));
        Ok(())
    }

    fn groups(&self) -> watch::Receiver<Option<Arc<Vec<Group>>>> {
        self.offers();
        self.published.subscribe()
    }

    async fn reserve(&self, ids: Vec<String>) -> Result<Reservation, PluginError> {
        let config = Arc::clone(&self.config.borrow().guest);
        reserve::reserve(&self.policy, config, self.offers(), &ids).await
    }

    async fn stats(&self) -> Result<Vec<GroupStats>, PluginError> {
        let config = Arc::clone(&self.config.borrow().guest);
        statistics::stats(&self.policy, config, self.offers()).await
    }
}

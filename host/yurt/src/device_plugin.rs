//! The device plugin as Nomad sees it, wired from its parts: schema and configuration here, what decides in `device_side.rs`, offers in
//! `offer.rs`, reservations in `reserve.rs`, figures in `statistics.rs`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;
use tokio::sync::watch;
use yurt_nomad::config::from_msgpack;
use yurt_nomad::device::{AgentConfig, Group, GroupStats, Info, PluginError, Reservation};
use yurt_nomad::schema::Spec;
use yurt_usb::Roots;

use crate::choice::Device;
use crate::device_side::{DeviceSide, Serving};
use crate::exchange::{self, Kept, Parts, Serves as _, Side as _};
use crate::guest_call::blocking;
use crate::host_config::{self, HostConfig};
use crate::offer::{self, Offers};
use crate::plugin::Begun;
use crate::{reserve, statistics};

/// The configuration in force: the guest's own keys as JSON text, and the host's block.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) guest: Arc<str>,
    pub(crate) host: HostConfig,
}

/// One USB device plugin: a guest, a bus, and what was offered last.
pub(crate) struct DevicePlugin {
    side: Arc<DeviceSide>,
    /// Until the exchange begins.
    exchange: Mutex<Option<Parts<DeviceSide>>>,
    published: watch::Sender<Option<Arc<Vec<Group>>>>,
    offers: OnceLock<Arc<Offers>>,
    roots: Roots,
    begun: Arc<Begun>,
}

impl DevicePlugin {
    /// Touches no hardware.
    pub(crate) fn new(device: Device, roots: Roots, begun: Begun) -> DevicePlugin {
        let (side, undone) = DeviceSide::new(device, Kept::open(&begun.places));
        let side = Arc::new(side);
        let parts = Parts {
            side: Arc::clone(&side),
            runtime: begun.runtime.clone(),
            source: begun.source.clone(),
            pin: begun.pin.clone(),
            known: begun.known.clone(),
            places: begun.places.clone(),
            recorder: Arc::clone(&begun.recorder),
            undone,
        };
        DevicePlugin {
            side,
            exchange: Mutex::new(Some(parts)),
            published: watch::Sender::new(None),
            offers: OnceLock::new(),
            roots,
            begun: Arc::new(begun),
        }
    }

    /// The tasks that look at hardware and at the guest's files, started by the first call.
    fn offers(&self) -> &Arc<Offers> {
        self.offers.get_or_init(|| {
            if let Some(parts) = self.exchange.lock().unwrap_or_else(PoisonError::into_inner).take() {
                exchange::start(parts);
            }
            let roots = self.roots.clone();
            let offers = offer::start(Arc::clone(&self.side), roots, &self.begun.places, self.published.clone());
            self.begun.serve_metrics(Some(Arc::clone(&offers)), None);
            offers
        })
    }

    fn serving(&self) -> Arc<Serving> {
        Arc::clone(&self.side.turns().now().serving)
    }
}

/// The guest's keys with the host's block beside them.
pub(crate) fn schema(guest: &str) -> Result<Spec, yurt_nomad::schema::SpecError> {
    host_config::beside(guest, host_config::spec()?)
}

/// What a schema makes of a stanza without `config`.
pub(crate) fn defaults(schema: &Spec) -> Result<Config, String> {
    let (keys, host) = from_msgpack(&[], schema).map_err(|why| why.to_string()).and_then(split)?;
    Ok(Config { guest: keys.to_string().into(), host })
}

/// Takes the host's block out; the rest is the guest's.
pub(crate) fn split(mut config: Value) -> Result<(Value, HostConfig), String> {
    let block = host_config::taken_from(&mut config);
    Ok((config, HostConfig::from_json(&block)?))
}

#[tonic::async_trait]
impl yurt_nomad::device::DevicePlugin for DevicePlugin {
    fn info(&self) -> Info {
        let guest = self.serving().guest();
        Info { name: guest.name, version: guest.version }
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        Ok(Some(self.serving().guest.schema.clone()))
    }

    async fn set_config(&self, msgpack: &[u8], _agent: Option<AgentConfig>) -> Result<(), PluginError> {
        let (side, begun, msgpack) = (Arc::clone(&self.side), Arc::clone(&self.begun), msgpack.to_vec());
        blocking(move || side.configure(&msgpack, &begun)).await??;
        self.begun.configured(self.serving().common());
        Ok(())
    }

    fn groups(&self) -> watch::Receiver<Option<Arc<Vec<Group>>>> {
        self.offers();
        self.published.subscribe()
    }

    async fn reserve(&self, ids: Vec<String>) -> Result<Reservation, PluginError> {
        reserve::reserve(&self.side, self.offers(), &ids).await
    }

    async fn stats(&self) -> Result<Vec<GroupStats>, PluginError> {
        statistics::stats(&self.side, self.offers()).await
    }
}

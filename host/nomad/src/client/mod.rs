//! The agent's side of the wire: typed calls to a plugin, for tests, demonstrations and benchmarks.
//!
//! [`Agent`] makes the launches that an agent makes. The calls are thin: what a plugin answers is handed on as it is, where an
//! agent would have checked it.

mod agent;
mod answers;
mod driver;
mod exec;

use std::time::Duration;

use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::base;
use crate::config::to_msgpack;
use crate::device::{AgentConfig, Group, GroupStats, Reservation, wire};
use crate::driver::error::is_recoverable;
use crate::proto::base as base_proto;
use crate::proto::base::base_plugin_client::BasePluginClient;
use crate::proto::device as device_proto;
use crate::proto::device::device_plugin_client::DevicePluginClient;
use crate::schema::{Spec, SpecError};
use crate::time::span;
pub use agent::{Agent, AgentError, Asked, Launched};
pub use driver::{Driver, Events, Fingerprints, TaskFigures};
pub use exec::{ExecAnswer, ExecSender, ExecSession};

/// Longest message in either direction: what an agent allows.
const MESSAGE_MAX: usize = i32::MAX as usize;

/// Why a call to a plugin has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The plugin answered with an error.
    #[error("{call}: the plugin answers {code:?}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// As it came: agents take `Unavailable` and `Cancelled` for the plugin's death.
        code: Code,
        /// The plugin's sentence.
        message: String,
        /// It says that trying again may help, which agents ask of StartTask.
        recoverable: bool,
    },
    /// The answer lacks what an agent relies on.
    #[error("{call}: the answer has no {missing}, which an agent relies on")]
    Lacking {
        /// The call.
        call: &'static str,
        /// The field.
        missing: &'static str,
    },
    /// The schema is none.
    #[error("ConfigSchema: {0}")]
    Schema(#[from] SpecError),
    /// A stream ended, after which an agent stops the plugin for good.
    #[error("{0}: the stream ended, after which an agent stops the plugin for good")]
    Ended(&'static str),
    /// A stream ended, after which an agent asks again at once, without end.
    #[error("{0}: the stream ended, after which an agent asks again at once, without end")]
    AskedAgain(&'static str),
}

fn refused(call: &'static str) -> impl FnOnce(Status) -> CallError {
    move |status| CallError::Refused {
        call,
        code: status.code(),
        message: status.message().to_owned(),
        recoverable: is_recoverable(&status),
    }
}

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// Device or driver; the number where it is neither.
    pub kind: Result<PluginKind, i32>,
    /// The plugin API versions that it speaks.
    pub api_versions: Vec<String>,
    /// Its own version.
    pub version: String,
    /// Its name.
    pub name: String,
}

/// The kinds of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginKind {
    /// Offers devices.
    Device,
    /// Runs tasks.
    Driver,
}

/// The calls that every plugin answers.
#[derive(Debug, Clone)]
pub struct Base {
    client: BasePluginClient<Channel>,
}

impl Base {
    /// Over a connection to a plugin.
    pub fn new(channel: Channel) -> Base {
        let client = BasePluginClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        Base { client }
    }

    /// Who it is.
    pub async fn plugin_info(&mut self) -> Result<PluginInfo, CallError> {
        let request = base_proto::PluginInfoRequest {};
        let info = self.client.plugin_info(request).await.map_err(refused("PluginInfo"))?.into_inner();
        let kind = match info.r#type() {
            base_proto::PluginType::Device => Ok(PluginKind::Device),
            base_proto::PluginType::Driver => Ok(PluginKind::Driver),
            base_proto::PluginType::Unknown => Err(info.r#type),
        };
        Ok(PluginInfo { kind, api_versions: info.plugin_api_versions, version: info.plugin_version, name: info.name })
    }

    /// What configuration it takes; `None`: none.
    pub async fn config_schema(&mut self) -> Result<Option<Spec>, CallError> {
        let request = base_proto::ConfigSchemaRequest {};
        let schema = self.client.config_schema(request).await.map_err(refused("ConfigSchema"))?.into_inner();
        Ok(schema.spec.as_ref().map(Spec::from_proto).transpose()?)
    }

    /// Sets the configuration, evaluated already ([`from_hcl`](crate::config::from_hcl)). `agent` as for the copy that is to
    /// serve; copies that only validate are not told.
    pub async fn set_config(&mut self, config: &Value, agent: Option<AgentConfig>) -> Result<(), CallError> {
        self.set_config_bytes(to_msgpack(config), agent).await
    }

    /// The same with the bytes as they are; none for a plugin without schema.
    pub async fn set_config_bytes(&mut self, msgpack: Vec<u8>, agent: Option<AgentConfig>) -> Result<(), CallError> {
        let request = base_proto::SetConfigRequest {
            msgpack_config: msgpack,
            nomad_config: agent.map(|config| base_proto::NomadConfig { driver: Some(base::agent(config)) }),
            plugin_api_version: crate::API_VERSION.to_owned(),
        };
        self.client.set_config(request).await.map_err(refused("SetConfig"))?;
        Ok(())
    }
}

/// The calls that a device plugin answers.
#[derive(Debug, Clone)]
pub struct Device {
    client: DevicePluginClient<Channel>,
}

impl Device {
    /// Over a connection to a plugin.
    pub fn new(channel: Channel) -> Device {
        let client = DevicePluginClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        Device { client }
    }

    /// Opens a stream of offers.
    pub async fn fingerprint(&mut self) -> Result<Offers, CallError> {
        let request = device_proto::FingerprintRequest {};
        let stream = self.client.fingerprint(request).await.map_err(refused("Fingerprint"))?.into_inner();
        Ok(Offers { stream })
    }

    /// Reserves instances of one group.
    pub async fn reserve(&mut self, ids: Vec<String>) -> Result<Reservation, CallError> {
        let request = device_proto::ReserveRequest { device_ids: ids };
        let answer = self.client.reserve(request).await.map_err(refused("Reserve"))?.into_inner();
        wire::reservation_from(answer).ok_or(CallError::Lacking { call: "Reserve", missing: "container_res" })
    }

    /// Opens a stream of figures.
    pub async fn stats(&mut self, interval: Duration) -> Result<Figures, CallError> {
        let request = device_proto::StatsRequest { collection_interval: span(interval) };
        let stream = self.client.stats(request).await.map_err(refused("Stats"))?.into_inner();
        Ok(Figures { stream })
    }
}

/// A stream of offers.
#[derive(Debug)]
pub struct Offers {
    stream: Streaming<device_proto::FingerprintResponse>,
}

impl Offers {
    /// Waits for the next offer: all devices, replacing the offer before.
    pub async fn next(&mut self) -> Result<Vec<Group>, CallError> {
        let message = self.stream.message().await.map_err(refused("Fingerprint"))?;
        message.map(wire::offer_from).ok_or(CallError::Ended("Fingerprint"))
    }
}

/// A stream of figures.
#[derive(Debug)]
pub struct Figures {
    stream: Streaming<device_proto::StatsResponse>,
}

impl Figures {
    /// Waits for the next beat.
    pub async fn next(&mut self) -> Result<Vec<GroupStats>, CallError> {
        let message = self.stream.message().await.map_err(refused("Stats"))?;
        message.map(wire::stats_from).ok_or(CallError::Ended("Stats"))
    }
}

//! The questions that every plugin is asked: who it is, what configuration it takes, and here it is.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::caught::{caught, caught_now};
use crate::error::PluginError;
use crate::proto::base as proto;
use crate::proto::base::base_plugin_server::{BasePlugin, BasePluginServer};
use crate::schema::Spec;

/// Longest message in either direction: what the agent's side allows.
pub(crate) const MESSAGE_MAX: usize = i32::MAX as usize;

/// Who a plugin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Name in the agent's catalogue, and of a driver what a job's `driver` says; of two plugins of one name the agent keeps one.
    pub name: String,
    /// The plugin's own version, semantic.
    pub version: String,
}

/// What the agent says of itself with a configuration. Copies that only validate a configuration are not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentConfig {
    /// Lowest port for the plugin's own use; agents say 14000.
    pub min_port: u32,
    /// Highest port for the plugin's own use; agents say 14512.
    pub max_port: u32,
}

/// What plugins of every kind decide.
#[tonic::async_trait]
pub(crate) trait AnyPlugin: Send + Sync + 'static {
    const KIND: proto::PluginType;
    fn info(&self) -> Info;
    async fn schema(&self) -> Result<Option<Spec>, PluginError>;
    async fn set_config(&self, msgpack: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError>;
}

/// The service around one.
pub(crate) fn server<P: AnyPlugin + ?Sized>(plugin: Arc<P>) -> BasePluginServer<impl BasePlugin> {
    BasePluginServer::new(Base { plugin }).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
}

struct Base<P: ?Sized> {
    plugin: Arc<P>,
}

#[tonic::async_trait]
impl<P: AnyPlugin + ?Sized> BasePlugin for Base<P> {
    async fn plugin_info(
        &self,
        _request: Request<proto::PluginInfoRequest>,
    ) -> Result<Response<proto::PluginInfoResponse>, Status> {
        let info = caught_now("PluginInfo", || self.plugin.info())?;
        if info.name.is_empty() || info.version.is_empty() {
            return Err(PluginError::internal("the plugin has no name or no version").into());
        }
        Ok(Response::new(proto::PluginInfoResponse {
            r#type: P::KIND.into(),
            plugin_api_versions: vec![crate::API_VERSION.to_owned()],
            plugin_version: info.version,
            name: info.name,
        }))
    }

    async fn config_schema(
        &self,
        _request: Request<proto::ConfigSchemaRequest>,
    ) -> Result<Response<proto::ConfigSchemaResponse>, Status> {
        let spec = caught("ConfigSchema", self.plugin.schema()).await?;
        Ok(Response::new(proto::ConfigSchemaResponse { spec: spec.map(|spec| spec.to_proto()) }))
    }

    async fn set_config(
        &self,
        request: Request<proto::SetConfigRequest>,
    ) -> Result<Response<proto::SetConfigResponse>, Status> {
        let request = request.into_inner();
        let agent = request
            .nomad_config
            .and_then(|config| config.driver)
            .map(|driver| AgentConfig { min_port: driver.client_min_port, max_port: driver.client_max_port });
        caught("SetConfig", self.plugin.set_config(&request.msgpack_config, agent)).await?;
        Ok(Response::new(proto::SetConfigResponse {}))
    }
}

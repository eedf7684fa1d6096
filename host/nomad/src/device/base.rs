//! The questions that every plugin is asked: who it is, what configuration it takes, and here it is.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::caught::{caught, caught_now};
use super::{AgentConfig, DevicePlugin};
use crate::error::PluginError;
use crate::proto::base as proto;
use crate::proto::base::base_plugin_server::BasePlugin;

pub(super) struct Base {
    pub(super) plugin: Arc<dyn DevicePlugin>,
}

#[tonic::async_trait]
impl BasePlugin for Base {
    async fn plugin_info(
        &self,
        _request: Request<proto::PluginInfoRequest>,
    ) -> Result<Response<proto::PluginInfoResponse>, Status> {
        let info = caught_now("PluginInfo", || self.plugin.info())?;
        if info.name.is_empty() || info.version.is_empty() {
            return Err(PluginError::internal("the plugin has no name or no version").into());
        }
        Ok(Response::new(proto::PluginInfoResponse {
            r#type: proto::PluginType::Device.into(),
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

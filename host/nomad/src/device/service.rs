//! The gRPC side of a device plugin: unary calls here, the two streams in `fingerprint.rs` and `stats.rs`.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::{AgentConfig, DevicePlugin, Info, PluginError, fingerprint, stats, wire};
use crate::base::{AnyPlugin, MESSAGE_MAX, server};
use crate::caught::caught;
use crate::proto::base::PluginType;
use crate::proto::device as proto;
use crate::proto::device::device_plugin_server::{DevicePlugin as DeviceService, DevicePluginServer};
use crate::schema::Spec;
use crate::text::cleaned;
use crate::time::{from_span, interval};

/// Serves a device plugin: `BasePlugin` and `DevicePlugin`, to stand beside go-plugin's own services.
///
/// Must be called within a tokio runtime that has timers.
pub fn routes(plugin: Arc<dyn DevicePlugin>) -> Routes {
    let base = server(Arc::clone(&plugin));
    let device = DevicePluginServer::new(Device { plugin })
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    Routes::new(base).add_service(device)
}

#[tonic::async_trait]
impl AnyPlugin for dyn DevicePlugin {
    const KIND: PluginType = PluginType::Device;

    fn info(&self) -> Info {
        DevicePlugin::info(self)
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        DevicePlugin::schema(self).await
    }

    async fn set_config(&self, msgpack: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError> {
        DevicePlugin::set_config(self, msgpack, agent).await
    }
}

struct Device {
    plugin: Arc<dyn DevicePlugin>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DeviceService for Device {
    type FingerprintStream = Answers<proto::FingerprintResponse>;
    type StatsStream = Answers<proto::StatsResponse>;

    async fn fingerprint(
        &self,
        _request: Request<proto::FingerprintRequest>,
    ) -> Result<Response<Self::FingerprintStream>, Status> {
        let answers = fingerprint::start(Arc::clone(&self.plugin));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn reserve(
        &self,
        request: Request<proto::ReserveRequest>,
    ) -> Result<Response<proto::ReserveResponse>, Status> {
        let ids = request.into_inner().device_ids;
        match caught("Reserve", self.plugin.reserve(ids.clone())).await {
            Ok(reservation) => Ok(Response::new(wire::reservation(reservation))),
            Err(why) => {
                tracing::warn!(ids = %cleaned(&ids.join(","), 400), "refused a reservation: {why}");
                Err(why.into())
            }
        }
    }

    async fn stats(&self, request: Request<proto::StatsRequest>) -> Result<Response<Self::StatsStream>, Status> {
        let asked = from_span(request.into_inner().collection_interval);
        let answers = stats::start(Arc::clone(&self.plugin), interval(asked));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

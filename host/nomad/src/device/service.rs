//! The gRPC side of a device plugin: unary calls here, the two streams in `fingerprint.rs` and `stats.rs`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::base::Base;
use super::caught::caught;
use super::{DevicePlugin, fingerprint, stats, wire};
use crate::proto::base::base_plugin_server::BasePluginServer;
use crate::proto::device as proto;
use crate::proto::device::device_plugin_server::{DevicePlugin as DeviceService, DevicePluginServer};
use crate::text::cleaned;

/// Longest message in either direction: what the agent's side allows.
pub(crate) const MESSAGE_MAX: usize = i32::MAX as usize;

/// Serves a device plugin: `BasePlugin` and `DevicePlugin`, to stand beside go-plugin's own services.
///
/// Must be called within a tokio runtime that has timers.
pub fn routes(plugin: Arc<dyn DevicePlugin>) -> Routes {
    let base = BasePluginServer::new(Base { plugin: Arc::clone(&plugin) })
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let device = DevicePluginServer::new(Device { plugin })
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    Routes::new(base).add_service(device)
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
        let asked = request.into_inner().collection_interval.and_then(|interval| Duration::try_from(interval).ok());
        let answers = stats::start(Arc::clone(&self.plugin), stats::interval(asked));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

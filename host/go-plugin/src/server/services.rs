//! The services that every plugin has: health, controller, broker, standard streams.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::ServingStatus;

use crate::HEALTH_SERVICE;
use crate::proto::grpc_broker_server::{GrpcBroker, GrpcBrokerServer};
use crate::proto::grpc_controller_server::{GrpcController, GrpcControllerServer};
use crate::proto::grpc_stdio_server::{GrpcStdio, GrpcStdioServer};
use crate::proto::{ConnInfo, Empty, StdioData};

/// The plugin's own services beside go-plugin's. `asked_to_end` is notified when the parent calls `Shutdown`.
pub(super) async fn beside(routes: Routes, asked_to_end: Arc<Notify>) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(HEALTH_SERVICE, ServingStatus::Serving).await;
    routes
        .add_service(health)
        .add_service(GrpcControllerServer::new(Controller { asked_to_end }))
        .add_service(GrpcBrokerServer::new(Broker))
        .add_service(GrpcStdioServer::new(Stdio))
}

struct Controller {
    asked_to_end: Arc<Notify>,
}

#[tonic::async_trait]
impl GrpcController for Controller {
    /// Answers at once; the parent has no deadline for this call.
    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.asked_to_end.notify_one();
        Ok(Response::new(Empty {}))
    }
}

struct Broker;

#[tonic::async_trait]
impl GrpcBroker for Broker {
    type StartStreamStream = Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

    /// Open until the parent closes its side. No side connections are offered, and none of the parent's are taken.
    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        Ok(Response::new(Box::pin(request.into_inner().filter_map(|_| None))))
    }
}

struct Stdio;

#[tonic::async_trait]
impl GrpcStdio for Stdio {
    type StreamStdioStream = tokio_stream::Pending<Result<StdioData, Status>>;

    /// Open and silent: what this process has to say goes to its real stderr, where it also arrives when the connection is gone.
    async fn stream_stdio(&self, _request: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

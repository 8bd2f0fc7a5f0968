//! Health: whether we serve. Source: gRPC's health checking protocol.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use lighter_containerd_api::health::health_check_response::ServingStatus;
use lighter_containerd_api::health::health_server::Health;
use lighter_containerd_api::health::{HealthCheckRequest, HealthCheckResponse};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::error::Result;

/// Who answers at all, serves.
pub(crate) struct Service {
    /// Watches end with it.
    pub(crate) stopping: CancellationToken,
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>> {
        match request.get_ref().service.as_str() {
            "" => Ok(Response::new(answer(ServingStatus::Serving))),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>> {
        let status = match request.get_ref().service.as_str() {
            "" => ServingStatus::Serving,
            _ => ServingStatus::ServiceUnknown,
        };
        let now = stream::iter([Ok(answer(status))]);
        let rest = stream::pending().take_until(self.stopping.clone().cancelled_owned());
        Ok(Response::new(Box::pin(now.chain(rest))))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

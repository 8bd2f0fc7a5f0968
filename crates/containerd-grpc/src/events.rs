//! Events: publish, forward, subscribe.

use std::pin::Pin;

use futures_util::{Stream, stream};
use lighter_containerd::events::{Envelope, Subscription};
use lighter_containerd::time::{from_wire, to_wire};
use lighter_containerd::{Layer, identifier};
use lighter_containerd_api::event_service as api;
use lighter_containerd_api::event_service::events_server::Events;
use lighter_containerd_api::types;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::error::{Result, status};
use crate::request::namespace;

pub(crate) struct Service {
    pub(crate) layer: Layer,
    /// Subscriptions end with it.
    pub(crate) stopping: CancellationToken,
}

#[tonic::async_trait]
impl Events for Service {
    async fn publish(&self, request: Request<api::PublishRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let api::PublishRequest { topic, event } = request.into_inner();
        check(&topic)?;
        self.layer
            .events()
            .publish(&namespace, &topic, event.unwrap_or_default());
        Ok(Response::new(()))
    }

    async fn forward(&self, request: Request<api::ForwardRequest>) -> Result<Response<()>> {
        let envelope = request.into_inner().envelope;
        let envelope = envelope.ok_or_else(|| Status::invalid_argument("the event is missing"))?;
        identifier::check("namespace", &envelope.namespace).map_err(status)?;
        check(&envelope.topic)?;
        let timestamp = envelope.timestamp.as_ref();
        let timestamp = timestamp.ok_or_else(|| Status::invalid_argument("the event has no time"))?;
        self.layer.events().forward(Envelope {
            timestamp: from_wire(timestamp),
            namespace: envelope.namespace,
            topic: envelope.topic,
            event: envelope.event.unwrap_or_default(),
        });
        Ok(Response::new(()))
    }

    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<types::Envelope>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<api::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>> {
        let subscription = self.layer.events().subscribe(&request.get_ref().filters);
        let state = Some((subscription.map_err(status)?, self.stopping.clone()));
        Ok(Response::new(Box::pin(stream::unfold(state, next))))
    }
}

/// The next of a subscription. After an error nothing comes.
async fn next(
    state: Option<(Subscription, CancellationToken)>,
) -> Option<(Result<types::Envelope>, Option<(Subscription, CancellationToken)>)> {
    let (mut subscription, stopping) = state?;
    let next = tokio::select! {
        next = subscription.next() => next?,
        () = stopping.cancelled() => return Some((Err(Status::unavailable("the server is stopping")), None)),
    };
    Some(match next {
        Ok(envelope) => (Ok(message(&envelope)), Some((subscription, stopping))),
        Err(error) => (Err(status(error)), None),
    })
}

fn message(envelope: &Envelope) -> types::Envelope {
    types::Envelope {
        timestamp: Some(to_wire(envelope.timestamp)),
        namespace: envelope.namespace.clone(),
        topic: envelope.topic.clone(),
        event: Some(envelope.event.clone()),
    }
}

/// A topic is a path of identifiers: `/tasks/exit`.
fn check(topic: &str) -> Result<()> {
    let parts = topic.strip_prefix('/').filter(|parts| !parts.is_empty());
    let parts =
        parts.ok_or_else(|| Status::invalid_argument(format!("topic {topic:?} must begin with '/'")))?;
    let mut parts = parts.split('/');
    parts.try_for_each(|part| identifier::check("topic", part).map_err(status))
}

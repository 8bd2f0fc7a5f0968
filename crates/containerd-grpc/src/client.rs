//! The little that is done as a client of a layer.

use std::path::Path;

use lighter_containerd_api::event_service::PublishRequest;
use lighter_containerd_api::event_service::events_client::EventsClient;
use lighter_containerd_api::{Any, NAMESPACE_HEADER};
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("connect")]
    Connect(#[from] tonic::transport::Error),
    /// The namespace is no word of a header.
    #[error("the namespace cannot be sent")]
    Namespace(#[from] InvalidMetadataValue),
    /// The layer refused it.
    #[error("{}", .0.message())]
    Refused(Status),
}

/// Publishes an event at the layer that serves `address`.
pub async fn publish(address: &Path, namespace: &str, topic: &str, event: Any) -> Result<(), Error> {
    let endpoint = Endpoint::try_from(format!("unix://{}", address.display()))?;
    let mut client = EventsClient::new(endpoint.connect().await?);
    let mut request = Request::new(PublishRequest {
        topic: topic.to_owned(),
        event: Some(event),
    });
    request
        .metadata_mut()
        .insert(NAMESPACE_HEADER, namespace.parse()?);
    client.publish(request).await.map_err(Error::Refused)?;
    Ok(())
}

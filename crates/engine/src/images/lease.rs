//! A lease for the streams of a transfer.
//!
//! To containerd a stream is a resource like a blob: one that no lease keeps is closed by the next collection, and the transfer that
//! names it then finds nothing.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use lighter_containerd_api::{LEASE_HEADER, leases};
use tonic::metadata::{Ascii, MetadataValue};

use crate::layer::Layer;
use crate::{Error, Result};

/// When the layer ends a lease that nobody ended: as containerd's own clients have it.
const LIFE: SignedDuration = SignedDuration::from_hours(24);
const EXPIRE: &str = "containerd.io/gc.expire";

/// Ends when dropped.
pub(crate) struct Lease {
    layer: Layer,
    id: MetadataValue<Ascii>,
}

impl Lease {
    pub(crate) async fn take(layer: &Layer, number: u64, now: Timestamp) -> Result<Lease> {
        let id = format!("lighter-streams-{number:016x}");
        let create = leases::CreateRequest {
            id: id.clone(),
            labels: HashMap::from([(EXPIRE.to_owned(), (now + LIFE).to_string())]),
        };
        let created = layer.leases().create(create).await;
        created.map_err(|status| Error::from_layer(&status))?;
        let id = id.parse();
        Ok(Lease {
            layer: layer.clone(),
            id: id.map_err(|error| Error::system("a lease's name is no header").with_source(error))?,
        })
    }

    /// The request, for what the lease is to keep.
    pub(crate) fn keep<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert(LEASE_HEADER, self.id.clone());
        request
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (layer, id) = (self.layer.clone(), self.id.clone());
        tokio::spawn(async move {
            let id = id.to_str().unwrap_or_default().to_owned();
            let delete = leases::DeleteRequest { id, sync: false };
            if let Err(status) = layer.leases().delete(delete).await {
                tracing::debug!(%status, "the lease of a transfer's streams stays for a day");
            }
        });
    }
}

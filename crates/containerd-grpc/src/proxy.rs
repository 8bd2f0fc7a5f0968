//! Proxy plug-ins: a snapshotter that another program serves on a unix socket.
//!
//! What it is asked for is passed on with the namespace and the lease of the request; it keeps the names and the labels itself,
//! and our collector does not look into it. The connection is made when it is first needed, and again when it was lost.
//!
//! Source: containerd, docs/PLUGINS.md (`[proxy_plugins]`).

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lighter_containerd_api::snapshots as api;
use lighter_containerd_api::snapshots::snapshots_client::SnapshotsClient;
use lighter_containerd_api::{LEASE_HEADER, NAMESPACE_HEADER};
use lighter_snapshots::{Error, Info, Labels, Mount, Result, Snapshotter, Snapshotters, Usage};
use lighter_stdx::kind::Kind;
use prost_types::FieldMask;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::convert::{mounts, to_labels};
use crate::snapshots::{given, message};

/// A snapshotter behind a socket.
#[derive(Debug)]
pub struct Proxy {
    name: &'static str,
    known_as: String,
    address: String,
    channel: Channel,
}

impl Proxy {
    /// The snapshotter that is called `name` here, and is served on `socket` by a program that calls it `known_as`. Nothing is connected
    /// yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the path cannot be one of a socket.
    pub fn new(
        name: &str,
        known_as: &str,
        socket: PathBuf,
    ) -> std::result::Result<Proxy, tonic::transport::Error> {
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display()))?;
        Ok(Proxy {
            // It lives as long as the program.
            name: Box::leak(name.to_owned().into_boxed_str()),
            known_as: known_as.to_owned(),
            address: socket.display().to_string(),
            channel: endpoint.connect_lazy(),
        })
    }
}

impl Snapshotters for Proxy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn address(&self) -> Option<&str> {
        Some(&self.address)
    }

    fn namespace(&self, namespace: &str, lease: Option<&str>) -> Arc<dyn Snapshotter> {
        Arc::new(Remote {
            name: self.name,
            known_as: self.known_as.clone(),
            client: SnapshotsClient::new(self.channel.clone())
                .max_decoding_message_size(crate::serve::MESSAGE)
                .max_encoding_message_size(crate::serve::MESSAGE),
            namespace: namespace.to_owned(),
            lease: lease.map(str::to_owned),
        })
    }
}

#[derive(Debug)]
struct Remote {
    name: &'static str,
    known_as: String,
    client: SnapshotsClient<Channel>,
    namespace: String,
    lease: Option<String>,
}

impl Remote {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let headers = [
            (NAMESPACE_HEADER, Some(&self.namespace)),
            (LEASE_HEADER, self.lease.as_ref()),
        ];
        for (header, value) in headers {
            // Both were headers before they came here.
            if let Some(value) = value.and_then(|value| value.parse().ok()) {
                request.metadata_mut().insert(header, value);
            }
        }
        request
    }

    fn failed(&self, status: Status) -> Error {
        let kind = match status.code() {
            Code::NotFound => Kind::NotFound,
            Code::AlreadyExists => Kind::AlreadyExists,
            Code::InvalidArgument => Kind::InvalidArgument,
            Code::FailedPrecondition => Kind::FailedPrecondition,
            Code::ResourceExhausted => Kind::Exhausted,
            Code::Unavailable => Kind::Unavailable,
            _ => Kind::Internal,
        };
        Error::Remote {
            kind,
            source: format!("{}: {}", self.name, status.message()).into(),
        }
    }
}

#[async_trait]
impl Snapshotter for Remote {
    async fn stat(&self, name: &str) -> Result<Info> {
        let request = self.request(api::StatSnapshotRequest {
            snapshotter: self.known_as.clone(),
            key: name.to_owned(),
        });
        let answer = self.client.clone().stat(request).await;
        Ok(given(
            answer
                .map_err(|status| self.failed(status))?
                .into_inner()
                .info
                .unwrap_or_default(),
        ))
    }

    async fn update(&self, info: Info, fields: &[String]) -> Result<Info> {
        let paths = fields.to_vec();
        let request = self.request(api::UpdateSnapshotRequest {
            snapshotter: self.known_as.clone(),
            info: Some(message(info)),
            update_mask: (!paths.is_empty()).then_some(FieldMask { paths }),
        });
        let answer = self.client.clone().update(request).await;
        Ok(given(
            answer
                .map_err(|status| self.failed(status))?
                .into_inner()
                .info
                .unwrap_or_default(),
        ))
    }

    async fn usage(&self, name: &str) -> Result<Usage> {
        let request = self.request(api::UsageRequest {
            snapshotter: self.known_as.clone(),
            key: name.to_owned(),
        });
        let answer = self.client.clone().usage(request).await;
        let usage = answer.map_err(|status| self.failed(status))?.into_inner();
        Ok(Usage {
            inodes: u64::try_from(usage.inodes).unwrap_or(0),
            size: u64::try_from(usage.size).unwrap_or(0),
        })
    }

    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let request = self.request(api::MountsRequest {
            snapshotter: self.known_as.clone(),
            key: key.to_owned(),
        });
        let answer = self.client.clone().mounts(request).await;
        Ok(mounts(
            answer.map_err(|status| self.failed(status))?.into_inner().mounts,
        ))
    }

    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        let request = self.request(api::PrepareSnapshotRequest {
            snapshotter: self.known_as.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: to_labels(labels),
        });
        let answer = self.client.clone().prepare(request).await;
        Ok(mounts(
            answer.map_err(|status| self.failed(status))?.into_inner().mounts,
        ))
    }

    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        let request = self.request(api::ViewSnapshotRequest {
            snapshotter: self.known_as.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: to_labels(labels),
        });
        let answer = self.client.clone().view(request).await;
        Ok(mounts(
            answer.map_err(|status| self.failed(status))?.into_inner().mounts,
        ))
    }

    async fn commit(&self, name: &str, key: &str, labels: Labels) -> Result<()> {
        let request = self.request(api::CommitSnapshotRequest {
            snapshotter: self.known_as.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: to_labels(labels),
        });
        let answer = self.client.clone().commit(request).await;
        answer.map(drop).map_err(|status| self.failed(status))
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let request = self.request(api::RemoveSnapshotRequest {
            snapshotter: self.known_as.clone(),
            key: name.to_owned(),
        });
        let answer = self.client.clone().remove(request).await;
        answer.map(drop).map_err(|status| self.failed(status))
    }

    async fn walk(&self, filters: &[String]) -> Result<Vec<Info>> {
        let request = self.request(api::ListSnapshotsRequest {
            snapshotter: self.known_as.clone(),
            filters: filters.to_vec(),
        });
        let answer = self.client.clone().list(request).await;
        let mut batches = answer.map_err(|status| self.failed(status))?.into_inner();
        let mut all = Vec::new();
        while let Some(batch) = batches.message().await.map_err(|status| self.failed(status))? {
            all.extend(batch.info.into_iter().map(given));
        }
        Ok(all)
    }

    async fn cleanup(&self) -> Result<()> {
        let request = self.request(api::CleanupRequest {
            snapshotter: self.known_as.clone(),
        });
        let answer = self.client.clone().cleanup(request).await;
        answer.map(drop).map_err(|status| self.failed(status))
    }
}

//! Snapshots: file trees that containers stand on.

use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::stream::{self, Iter};
use lighter_containerd::Layer;
use lighter_containerd::time::{from_wire, to_wire};
use lighter_containerd_api::snapshots as api;
use lighter_containerd_api::snapshots::snapshots_server::Snapshots;
use lighter_containerd_api::types::Mount as WireMount;
use lighter_snapshots::{Info, Kind, Mount, Snapshotter};
use tonic::{Request, Response, Status};

use crate::convert::{fields, labels, to_labels};
use crate::descriptor::bytes;
use crate::error::{Result, status};
use crate::request::{lease, namespace};

pub(crate) struct Service(pub(crate) Layer);

/// Snapshots of one message of a list. Source: containerd's snapshots service.
const BATCH: usize = 100;

#[tonic::async_trait]
impl Snapshots for Service {
    async fn prepare(
        &self,
        request: Request<api::PrepareSnapshotRequest>,
    ) -> Result<Response<api::PrepareSnapshotResponse>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        let request = request.into_inner();
        let prepared = snapshots.prepare(&request.key, &request.parent, labels(request.labels));
        let mounts = to_mounts(prepared.await.map_err(status)?);
        Ok(Response::new(api::PrepareSnapshotResponse { mounts }))
    }

    async fn view(
        &self,
        request: Request<api::ViewSnapshotRequest>,
    ) -> Result<Response<api::ViewSnapshotResponse>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        let request = request.into_inner();
        let viewed = snapshots.view(&request.key, &request.parent, labels(request.labels));
        let mounts = to_mounts(viewed.await.map_err(status)?);
        Ok(Response::new(api::ViewSnapshotResponse { mounts }))
    }

    async fn mounts(&self, request: Request<api::MountsRequest>) -> Result<Response<api::MountsResponse>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        let mounts = snapshots.mounts(&request.get_ref().key).await;
        let mounts = to_mounts(mounts.map_err(status)?);
        Ok(Response::new(api::MountsResponse { mounts }))
    }

    async fn commit(&self, request: Request<api::CommitSnapshotRequest>) -> Result<Response<()>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        let request = request.into_inner();
        let committed = snapshots.commit(&request.name, &request.key, labels(request.labels));
        committed.await.map(Response::new).map_err(status)
    }

    async fn remove(&self, request: Request<api::RemoveSnapshotRequest>) -> Result<Response<()>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        snapshots.remove(&request.get_ref().key).await.map_err(status)?;
        // What only it stood on may go.
        self.0.collect_soon();
        Ok(Response::new(()))
    }

    async fn stat(
        &self,
        request: Request<api::StatSnapshotRequest>,
    ) -> Result<Response<api::StatSnapshotResponse>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        let info = snapshots.stat(&request.get_ref().key).await;
        let info = Some(message(info.map_err(status)?));
        Ok(Response::new(api::StatSnapshotResponse { info }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateSnapshotRequest>,
    ) -> Result<Response<api::UpdateSnapshotResponse>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        let request = request.into_inner();
        let info = request
            .info
            .ok_or_else(|| Status::invalid_argument("the snapshot is missing"))?;
        let updated = snapshots.update(given(info), &fields(request.update_mask)).await;
        let info = Some(message(updated.map_err(status)?));
        Ok(Response::new(api::UpdateSnapshotResponse { info }))
    }

    type ListStream = Iter<IntoIter<Result<api::ListSnapshotsResponse>>>;

    async fn list(&self, request: Request<api::ListSnapshotsRequest>) -> Result<Response<Self::ListStream>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        let all = snapshots.walk(&request.get_ref().filters).await.map_err(status)?;
        let all: Vec<_> = all.into_iter().map(message).collect();
        let batch = |infos: &[api::Info]| Ok(api::ListSnapshotsResponse { info: infos.to_vec() });
        let batches: Vec<_> = all.chunks(BATCH).map(batch).collect();
        Ok(Response::new(stream::iter(batches)))
    }

    async fn usage(&self, request: Request<api::UsageRequest>) -> Result<Response<api::UsageResponse>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        let usage = snapshots.usage(&request.get_ref().key).await.map_err(status)?;
        Ok(Response::new(api::UsageResponse {
            size: bytes(usage.size),
            inodes: bytes(usage.inodes),
        }))
    }

    async fn cleanup(&self, request: Request<api::CleanupRequest>) -> Result<Response<()>> {
        let snapshots = self.of(&request, &request.get_ref().snapshotter)?;
        snapshots.cleanup().await.map(Response::new).map_err(status)
    }
}

impl Service {
    /// The snapshotter as the request's namespace and lease see it.
    fn of<T>(&self, request: &Request<T>, snapshotter: &str) -> Result<Arc<dyn Snapshotter>> {
        let (namespace, lease) = (namespace(request)?, lease(request));
        let found = self.0.snapshotter(snapshotter, &namespace, lease.as_deref());
        found.map_err(status)
    }
}

fn to_mounts(mounts: Vec<Mount>) -> Vec<WireMount> {
    let wire = |mount: Mount| WireMount {
        r#type: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(wire).collect()
}

pub(crate) fn given(info: api::Info) -> Info {
    let kind = match info.kind() {
        api::Kind::View => Kind::View,
        api::Kind::Committed => Kind::Committed,
        api::Kind::Active | api::Kind::Unknown => Kind::Active,
    };
    Info {
        kind,
        name: info.name,
        parent: info.parent,
        labels: labels(info.labels),
        created_at: info.created_at.as_ref().map(from_wire).unwrap_or_default(),
        updated_at: info.updated_at.as_ref().map(from_wire).unwrap_or_default(),
    }
}

pub(crate) fn message(info: Info) -> api::Info {
    let kind = match info.kind {
        Kind::View => api::Kind::View,
        Kind::Active => api::Kind::Active,
        Kind::Committed => api::Kind::Committed,
    };
    api::Info {
        name: info.name,
        parent: info.parent,
        kind: kind.into(),
        created_at: Some(to_wire(info.created_at)),
        updated_at: Some(to_wire(info.updated_at)),
        labels: to_labels(info.labels),
    }
}

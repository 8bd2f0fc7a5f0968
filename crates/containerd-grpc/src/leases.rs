//! Leases: what is made under one stays until it ends.

use lighter_containerd::Layer;
use lighter_containerd::time::to_wire;
use lighter_containerd_api::leases as api;
use lighter_containerd_api::leases::leases_server::Leases;
use lighter_content::lease::{Lease, Resource};
use tonic::{Request, Response, Status};

use crate::convert::{labels, to_labels};
use crate::error::{Result, status};
use crate::images::collect;
use crate::request::namespace;

pub(crate) struct Service(pub(crate) Layer);

#[tonic::async_trait]
impl Leases for Service {
    async fn create(&self, request: Request<api::CreateRequest>) -> Result<Response<api::CreateResponse>> {
        let leases = self.0.leases(&namespace(&request)?);
        let request = request.into_inner();
        let id = match request.id {
            id if id.is_empty() => random_id(&self.0),
            id => id,
        };
        let lease = leases.create(&id, labels(request.labels)).await;
        let lease = Some(message(lease.map_err(status)?));
        Ok(Response::new(api::CreateResponse { lease }))
    }

    async fn delete(&self, request: Request<api::DeleteRequest>) -> Result<Response<()>> {
        let leases = self.0.leases(&namespace(&request)?);
        let request = request.into_inner();
        leases.delete(&request.id).await.map_err(status)?;
        collect(&self.0, request.sync).await?;
        Ok(Response::new(()))
    }

    async fn list(&self, request: Request<api::ListRequest>) -> Result<Response<api::ListResponse>> {
        let leases = self.0.leases(&namespace(&request)?);
        let leases = leases.list(&request.get_ref().filters).map_err(status)?;
        let leases = leases.into_iter().map(message).collect();
        Ok(Response::new(api::ListResponse { leases }))
    }

    async fn add_resource(&self, request: Request<api::AddResourceRequest>) -> Result<Response<()>> {
        let leases = self.0.leases(&namespace(&request)?);
        let request = request.into_inner();
        let added = leases.add_resource(&request.id, resource(request.resource)?);
        added.await.map(Response::new).map_err(status)
    }

    async fn delete_resource(&self, request: Request<api::DeleteResourceRequest>) -> Result<Response<()>> {
        let leases = self.0.leases(&namespace(&request)?);
        let request = request.into_inner();
        let removed = leases.remove_resource(&request.id, resource(request.resource)?);
        removed.await.map_err(status)?;
        self.0.collect_soon();
        Ok(Response::new(()))
    }

    async fn list_resources(
        &self,
        request: Request<api::ListResourcesRequest>,
    ) -> Result<Response<api::ListResourcesResponse>> {
        let leases = self.0.leases(&namespace(&request)?);
        let resources = leases.resources(&request.get_ref().id).map_err(status)?;
        let wire = |resource: Resource| api::Resource {
            id: resource.id,
            r#type: resource.kind,
        };
        let resources = resources.into_iter().map(wire).collect();
        Ok(Response::new(api::ListResourcesResponse { resources }))
    }
}

/// A name for a lease whose maker gave none: the time and a number.
fn random_id(layer: &Layer) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = layer.config().clock.now().as_nanosecond();
    format!("{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A thing that a lease may keep. Source of the types: containerd's leases service.
fn resource(wire: Option<api::Resource>) -> Result<Resource> {
    let wire = wire.ok_or_else(|| Status::invalid_argument("the resource is missing"))?;
    let known = match wire.r#type.split_once('/') {
        Some((kind, snapshotter)) => kind == "snapshots" && !snapshotter.is_empty(),
        None => matches!(wire.r#type.as_str(), "content" | "ingests"),
    };
    if !known {
        let text = format!("resources of type {:?} are not kept by leases", wire.r#type);
        return Err(Status::unimplemented(text));
    }
    Ok(Resource {
        kind: wire.r#type,
        id: wire.id,
    })
}

fn message(lease: Lease) -> api::Lease {
    api::Lease {
        id: lease.id,
        created_at: Some(to_wire(lease.created_at)),
        labels: to_labels(lease.labels),
    }
}

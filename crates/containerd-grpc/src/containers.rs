//! Containers: records of what a task is made from.

use std::vec::IntoIter;

use futures_util::stream::{self, Iter};
use lighter_containerd::Layer;
use lighter_containerd::containers::Container;
use lighter_containerd::time::{from_wire, to_wire};
use lighter_containerd_api::containers as api;
use lighter_containerd_api::containers::containers_server::Containers;
use tonic::{Request, Response, Status};

use crate::convert::{fields, labels, to_labels};
use crate::error::{Result, status};
use crate::request::namespace;

pub(crate) struct Service(pub(crate) Layer);

#[tonic::async_trait]
impl Containers for Service {
    async fn get(
        &self,
        request: Request<api::GetContainerRequest>,
    ) -> Result<Response<api::GetContainerResponse>> {
        let namespace = namespace(&request)?;
        let container = self.0.containers().get(&namespace, &request.get_ref().id);
        let container = Some(message(container.map_err(status)?));
        Ok(Response::new(api::GetContainerResponse { container }))
    }

    async fn list(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Result<Response<api::ListContainersResponse>> {
        let containers = self.select(&request)?.into_iter().map(message).collect();
        Ok(Response::new(api::ListContainersResponse { containers }))
    }

    type ListStreamStream = Iter<IntoIter<Result<api::ListContainerMessage>>>;

    async fn list_stream(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Result<Response<Self::ListStreamStream>> {
        let item = |container| {
            Ok(api::ListContainerMessage {
                container: Some(message(container)),
            })
        };
        let items: Vec<_> = self.select(&request)?.into_iter().map(item).collect();
        Ok(Response::new(stream::iter(items)))
    }

    async fn create(
        &self,
        request: Request<api::CreateContainerRequest>,
    ) -> Result<Response<api::CreateContainerResponse>> {
        let namespace = namespace(&request)?;
        let container = given(request.into_inner().container)?;
        let created = self.0.containers().create(&namespace, container).await;
        let container = Some(message(created.map_err(status)?));
        Ok(Response::new(api::CreateContainerResponse { container }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateContainerRequest>,
    ) -> Result<Response<api::UpdateContainerResponse>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let (change, fields) = (given(request.container)?, fields(request.update_mask));
        let updated = self.0.containers().update(&namespace, change, fields).await;
        let container = Some(message(updated.map_err(status)?));
        Ok(Response::new(api::UpdateContainerResponse { container }))
    }

    async fn delete(&self, request: Request<api::DeleteContainerRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let deleted = self
            .0
            .containers()
            .delete(&namespace, &request.get_ref().id)
            .await;
        deleted.map_err(status)?;
        // Its snapshot may have no other reason to be.
        self.0.collect_soon();
        Ok(Response::new(()))
    }
}

impl Service {
    fn select(&self, request: &Request<api::ListContainersRequest>) -> Result<Vec<Container>> {
        let selected = self
            .0
            .containers()
            .list(&namespace(request)?, &request.get_ref().filters);
        selected.map_err(status)
    }
}

fn given(container: Option<api::Container>) -> Result<Container> {
    let wire = container.ok_or_else(|| Status::invalid_argument("the container is missing"))?;
    let (runtime, options) = wire
        .runtime
        .map(|runtime| (runtime.name, runtime.options))
        .unwrap_or_default();
    Ok(Container {
        id: wire.id,
        labels: labels(wire.labels),
        image: wire.image,
        runtime,
        options,
        spec: wire.spec,
        snapshotter: wire.snapshotter,
        snapshot_key: wire.snapshot_key,
        created_at: wire.created_at.as_ref().map(from_wire).unwrap_or_default(),
        updated_at: wire.updated_at.as_ref().map(from_wire).unwrap_or_default(),
        extensions: wire.extensions.into_iter().collect(),
        sandbox: wire.sandbox,
    })
}

fn message(container: Container) -> api::Container {
    api::Container {
        id: container.id,
        labels: to_labels(container.labels),
        image: container.image,
        runtime: Some(api::container::Runtime {
            name: container.runtime,
            options: container.options,
        }),
        spec: container.spec,
        snapshotter: container.snapshotter,
        snapshot_key: container.snapshot_key,
        created_at: Some(to_wire(container.created_at)),
        updated_at: Some(to_wire(container.updated_at)),
        extensions: container.extensions.into_iter().collect(),
        sandbox: container.sandbox,
    }
}

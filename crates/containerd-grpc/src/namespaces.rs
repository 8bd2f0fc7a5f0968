//! Namespaces.

use lighter_containerd::Layer;
use lighter_containerd_api::namespaces as api;
use lighter_containerd_api::namespaces::namespaces_server::Namespaces;
use tonic::{Request, Response, Status};

use crate::convert::{fields, labels, to_labels};
use crate::error::{Result, status};

pub(crate) struct Service(pub(crate) Layer);

#[tonic::async_trait]
impl Namespaces for Service {
    async fn get(
        &self,
        request: Request<api::GetNamespaceRequest>,
    ) -> Result<Response<api::GetNamespaceResponse>> {
        let name = request.into_inner().name;
        let labels = self.0.namespaces().get(&name).map_err(status)?;
        let namespace = Some(to_wire((name, labels)));
        Ok(Response::new(api::GetNamespaceResponse { namespace }))
    }

    async fn list(
        &self,
        _: Request<api::ListNamespacesRequest>,
    ) -> Result<Response<api::ListNamespacesResponse>> {
        let all = self.0.namespaces().list().map_err(status)?;
        let namespaces = all.into_iter().map(to_wire).collect();
        Ok(Response::new(api::ListNamespacesResponse { namespaces }))
    }

    async fn create(
        &self,
        request: Request<api::CreateNamespaceRequest>,
    ) -> Result<Response<api::CreateNamespaceResponse>> {
        let namespace = given(request.into_inner().namespace)?;
        let labels = labels(namespace.labels.clone());
        let created = self.0.namespaces().create(&namespace.name, labels).await;
        created.map_err(status)?;
        let namespace = Some(namespace);
        Ok(Response::new(api::CreateNamespaceResponse { namespace }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateNamespaceRequest>,
    ) -> Result<Response<api::UpdateNamespaceResponse>> {
        let request = request.into_inner();
        let namespace = given(request.namespace)?;
        let (labels, fields) = (labels(namespace.labels), fields(request.update_mask));
        let updated = self.0.namespaces().update(&namespace.name, labels, fields).await;
        let namespace = Some(to_wire((namespace.name, updated.map_err(status)?)));
        Ok(Response::new(api::UpdateNamespaceResponse { namespace }))
    }

    async fn delete(&self, request: Request<api::DeleteNamespaceRequest>) -> Result<Response<()>> {
        let deleted = self.0.namespaces().delete(&request.get_ref().name).await;
        deleted.map_err(status).map(Response::new)
    }
}

fn given(namespace: Option<api::Namespace>) -> Result<api::Namespace> {
    namespace.ok_or_else(|| Status::invalid_argument("the namespace is missing"))
}

fn to_wire((name, labels): (String, lighter_containerd::containers::Labels)) -> api::Namespace {
    api::Namespace {
        name,
        labels: to_labels(labels),
    }
}

//! Images: names of targets.

use lighter_containerd::Layer;
use lighter_containerd::images::Image;
use lighter_containerd::time::to_wire;
use lighter_containerd_api::images as api;
use lighter_containerd_api::images::images_server::Images;
use lighter_oci::Descriptor;
use tonic::{Request, Response, Status};

use crate::convert::{fields, labels, to_labels};
use crate::descriptor;
use crate::error::{Result, status};
use crate::request::namespace;

pub(crate) struct Service(pub(crate) Layer);

#[tonic::async_trait]
impl Images for Service {
    async fn get(&self, request: Request<api::GetImageRequest>) -> Result<Response<api::GetImageResponse>> {
        let namespace = namespace(&request)?;
        let image = self.0.images().get(&namespace, &request.get_ref().name);
        let image = Some(message(image.map_err(status)?));
        Ok(Response::new(api::GetImageResponse { image }))
    }

    async fn list(
        &self,
        request: Request<api::ListImagesRequest>,
    ) -> Result<Response<api::ListImagesResponse>> {
        let namespace = namespace(&request)?;
        let images = self.0.images().list(&namespace, &request.get_ref().filters);
        let images = images.map_err(status)?.into_iter().map(message).collect();
        Ok(Response::new(api::ListImagesResponse { images }))
    }

    async fn create(
        &self,
        request: Request<api::CreateImageRequest>,
    ) -> Result<Response<api::CreateImageResponse>> {
        let namespace = namespace(&request)?;
        let image = given(request.into_inner().image)?;
        let target =
            target(image.target)?.ok_or_else(|| Status::invalid_argument("the target is missing"))?;
        let images = self.0.images();
        let created = images.create(&namespace, &image.name, labels(image.labels), target);
        let image = Some(message(created.await.map_err(status)?));
        Ok(Response::new(api::CreateImageResponse { image }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateImageRequest>,
    ) -> Result<Response<api::UpdateImageResponse>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let fields = fields(request.update_mask);
        let image = given(request.image)?;
        // A mask that leaves the target alone may come with an empty one.
        let names_target = |field: &String| field.starts_with("target") || field.starts_with("annotations");
        let target = match fields.is_empty() || fields.iter().any(names_target) {
            true => target(image.target)?,
            false => None,
        };
        let images = self.0.images();
        let updated = images.update(&namespace, &image.name, labels(image.labels), target, fields);
        let image = Some(message(updated.await.map_err(status)?));
        // What it named before may be nobody's now.
        self.0.collect_soon();
        Ok(Response::new(api::UpdateImageResponse { image }))
    }

    async fn delete(&self, request: Request<api::DeleteImageRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let target = request.target.map(|target| target.digest);
        let target = target.filter(|digest| !digest.is_empty());
        let deleted = self.0.images().delete(&namespace, &request.name, target);
        deleted.await.map_err(status)?;
        collect(&self.0, request.sync).await?;
        Ok(Response::new(()))
    }
}

/// Collects what a removal left: before the answer, when the client waits for it.
pub(crate) async fn collect(layer: &Layer, sync: bool) -> Result<()> {
    if sync {
        layer.collect().await.map(drop).map_err(status)
    } else {
        layer.collect_soon();
        Ok(())
    }
}

fn given(image: Option<api::Image>) -> Result<api::Image> {
    image.ok_or_else(|| Status::invalid_argument("the image is missing"))
}

fn target(wire: Option<lighter_containerd_api::types::Descriptor>) -> Result<Option<Descriptor>> {
    wire.map(descriptor::given).transpose()
}

fn message(image: Image) -> api::Image {
    api::Image {
        name: image.name,
        labels: to_labels(image.labels),
        target: Some(descriptor::message(image.target)),
        created_at: Some(to_wire(image.created_at)),
        updated_at: Some(to_wire(image.updated_at)),
    }
}

//! Version.

use lighter_containerd::Layer;
use lighter_containerd_api::version::VersionResponse;
use lighter_containerd_api::version::version_server::Version;
use tonic::{Request, Response};

use crate::error::Result;

pub(crate) struct Service(pub(crate) Layer);

#[tonic::async_trait]
impl Version for Service {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>> {
        let config = self.0.config();
        Ok(Response::new(VersionResponse {
            version: config.version.clone(),
            revision: config.revision.clone(),
        }))
    }
}

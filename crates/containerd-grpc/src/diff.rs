//! Diff: layers applied to mounts, and made from them.

use lighter_containerd::Layer;
use lighter_containerd_api::diff as api;
use lighter_containerd_api::diff::diff_server::Diff;
use tonic::{Request, Response, Status};

use crate::convert::mounts;
use crate::descriptor;
use crate::error::{Result, status};
use crate::request::namespace;

pub(crate) struct Service(pub(crate) Layer);

#[tonic::async_trait]
impl Diff for Service {
    async fn apply(&self, request: Request<api::ApplyRequest>) -> Result<Response<api::ApplyResponse>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let diff = request
            .diff
            .ok_or_else(|| Status::invalid_argument("the layer is missing"))?;
        let (diff, mounts) = (descriptor::given(diff)?, mounts(request.mounts));
        let applied = self.0.apply(&namespace, &diff, &mounts, request.sync_fs).await;
        let applied = Some(descriptor::message(applied.map_err(status)?));
        Ok(Response::new(api::ApplyResponse { applied }))
    }

    async fn diff(&self, _: Request<api::DiffRequest>) -> Result<Response<api::DiffResponse>> {
        Err(Status::unimplemented(
            "making a layer from the difference of two trees is not supported yet",
        ))
    }
}

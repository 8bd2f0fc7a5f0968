//! Diff: layers applied to mounts, and made from them.

use lighter_containerd::Layer;
use lighter_containerd::compare::{Comparison, Time};
use lighter_containerd_api::diff as api;
use lighter_containerd_api::diff::diff_server::Diff;
use tonic::{Request, Response, Status};

use crate::convert::{labels, mounts};
use crate::descriptor;
use crate::error::{Result, status};
use crate::request::{lease, namespace};

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

    async fn diff(&self, request: Request<api::DiffRequest>) -> Result<Response<api::DiffResponse>> {
        let (namespace, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let latest = request.source_date_epoch.map(|epoch| Time {
            seconds: epoch.seconds,
            nanoseconds: u32::try_from(epoch.nanos).unwrap_or(0),
        });
        let comparison = Comparison {
            media_type: request.media_type,
            reference: request.r#ref,
            labels: labels(request.labels),
            latest,
        };
        let (left, right) = (mounts(request.left), mounts(request.right));
        let compared = self
            .0
            .compare(&namespace, lease.as_deref(), &left, &right, comparison)
            .await;
        let diff = Some(descriptor::message(compared.map_err(status)?));
        Ok(Response::new(api::DiffResponse { diff }))
    }
}

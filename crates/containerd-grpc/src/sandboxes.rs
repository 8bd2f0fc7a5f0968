//! Sandboxes: their records, and their controller.

use lighter_containerd::Layer;
use lighter_containerd::sandboxes::{Controller as Running, Create, Sandbox};
use lighter_containerd::time::{from_wire, to_wire};
use lighter_containerd_api::sandbox as api;
use lighter_containerd_api::sandbox::controller_server::Controller;
use lighter_containerd_api::sandbox::store_server::Store;
use lighter_containerd_api::types::{self, Metric, Platform};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::convert::{labels, mounts, to_labels};
use crate::error::{Result, status};
use crate::request::namespace;

pub(crate) struct Records(pub(crate) Layer);

#[tonic::async_trait]
impl Store for Records {
    async fn create(
        &self,
        request: Request<api::StoreCreateRequest>,
    ) -> Result<Response<api::StoreCreateResponse>> {
        let namespace = namespace(&request)?;
        let sandbox = given(request.into_inner().sandbox)?;
        let created = self.0.sandboxes().create(&namespace, sandbox).await;
        let sandbox = Some(message(created.map_err(status)?));
        Ok(Response::new(api::StoreCreateResponse { sandbox }))
    }

    async fn update(
        &self,
        request: Request<api::StoreUpdateRequest>,
    ) -> Result<Response<api::StoreUpdateResponse>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let change = given(request.sandbox)?;
        let updated = self
            .0
            .sandboxes()
            .update(&namespace, change, request.fields)
            .await;
        let sandbox = Some(message(updated.map_err(status)?));
        Ok(Response::new(api::StoreUpdateResponse { sandbox }))
    }

    async fn delete(
        &self,
        request: Request<api::StoreDeleteRequest>,
    ) -> Result<Response<api::StoreDeleteResponse>> {
        let namespace = namespace(&request)?;
        let deleted = self
            .0
            .sandboxes()
            .delete(&namespace, &request.get_ref().sandbox_id)
            .await;
        deleted.map_err(status)?;
        Ok(Response::new(api::StoreDeleteResponse {}))
    }

    async fn list(
        &self,
        request: Request<api::StoreListRequest>,
    ) -> Result<Response<api::StoreListResponse>> {
        let namespace = namespace(&request)?;
        let list = self.0.sandboxes().list(&namespace, &request.get_ref().filters);
        let list = list.map_err(status)?.into_iter().map(message).collect();
        Ok(Response::new(api::StoreListResponse { list }))
    }

    async fn get(&self, request: Request<api::StoreGetRequest>) -> Result<Response<api::StoreGetResponse>> {
        let namespace = namespace(&request)?;
        let sandbox = self.0.sandboxes().get(&namespace, &request.get_ref().sandbox_id);
        let sandbox = Some(message(sandbox.map_err(status)?));
        Ok(Response::new(api::StoreGetResponse { sandbox }))
    }
}

pub(crate) struct Service {
    pub(crate) layer: Layer,
    /// Waits end with it.
    pub(crate) stopping: CancellationToken,
}

#[tonic::async_trait]
impl Controller for Service {
    async fn create(
        &self,
        request: Request<api::ControllerCreateRequest>,
    ) -> Result<Response<api::ControllerCreateResponse>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let running = self.of(&request.sandboxer)?;
        let create = Create {
            rootfs: mounts(request.rootfs),
            options: request.options,
            netns: request.netns_path,
            annotations: labels(request.annotations),
        };
        let record = request.sandbox.map(|sandbox| given(Some(sandbox))).transpose()?;
        let sandbox_id = request.sandbox_id;
        let created = running.create(&namespace, &sandbox_id, create, record).await;
        created.map_err(status)?;
        Ok(Response::new(api::ControllerCreateResponse { sandbox_id }))
    }

    async fn start(
        &self,
        request: Request<api::ControllerStartRequest>,
    ) -> Result<Response<api::ControllerStartResponse>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let started = self
            .of(&request.sandboxer)?
            .start(&namespace, &request.sandbox_id)
            .await;
        let started = started.map_err(status)?;
        Ok(Response::new(api::ControllerStartResponse {
            sandbox_id: request.sandbox_id,
            pid: started.pid,
            created_at: Some(to_wire(started.created_at)),
            labels: Default::default(),
            address: started.address,
            version: started.version,
        }))
    }

    async fn platform(
        &self,
        request: Request<api::ControllerPlatformRequest>,
    ) -> Result<Response<api::ControllerPlatformResponse>> {
        let namespace = namespace(&request)?;
        let request = request.get_ref();
        let platform = self
            .of(&request.sandboxer)?
            .platform(&namespace, &request.sandbox_id)
            .await;
        let platform = platform.map_err(status)?;
        let platform = Some(Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
            ..Platform::default()
        });
        Ok(Response::new(api::ControllerPlatformResponse { platform }))
    }

    async fn stop(
        &self,
        request: Request<api::ControllerStopRequest>,
    ) -> Result<Response<api::ControllerStopResponse>> {
        let namespace = namespace(&request)?;
        let request = request.get_ref();
        let running = self.of(&request.sandboxer)?;
        let stopped = running
            .stop(&namespace, &request.sandbox_id, request.timeout_secs)
            .await;
        stopped.map_err(status)?;
        Ok(Response::new(api::ControllerStopResponse {}))
    }

    async fn wait(
        &self,
        request: Request<api::ControllerWaitRequest>,
    ) -> Result<Response<api::ControllerWaitResponse>> {
        let namespace = namespace(&request)?;
        let request = request.get_ref();
        let exit = tokio::select! {
            exit = self.of(&request.sandboxer)?.wait(&namespace, &request.sandbox_id) => exit.map_err(status)?,
            () = self.stopping.cancelled() => return Err(Status::unavailable("the server is stopping")),
        };
        Ok(Response::new(api::ControllerWaitResponse {
            exit_status: exit.status,
            exited_at: Some(to_wire(exit.at)),
        }))
    }

    async fn status(
        &self,
        request: Request<api::ControllerStatusRequest>,
    ) -> Result<Response<api::ControllerStatusResponse>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let running = self.of(&request.sandboxer)?;
        let state = running
            .status(&namespace, &request.sandbox_id, request.verbose)
            .await;
        let state = state.map_err(status)?;
        Ok(Response::new(api::ControllerStatusResponse {
            sandbox_id: request.sandbox_id,
            pid: state.pid,
            state: state.state,
            info: state.info,
            created_at: state.created_at.map(to_wire),
            exited_at: state.exited_at.map(to_wire),
            extra: state.extra,
            address: state.address,
            version: state.version,
        }))
    }

    async fn shutdown(
        &self,
        request: Request<api::ControllerShutdownRequest>,
    ) -> Result<Response<api::ControllerShutdownResponse>> {
        let namespace = namespace(&request)?;
        let request = request.get_ref();
        let ended = self
            .of(&request.sandboxer)?
            .shutdown(&namespace, &request.sandbox_id)
            .await;
        ended.map_err(status)?;
        Ok(Response::new(api::ControllerShutdownResponse {}))
    }

    async fn metrics(
        &self,
        request: Request<api::ControllerMetricsRequest>,
    ) -> Result<Response<api::ControllerMetricsResponse>> {
        let namespace = namespace(&request)?;
        let request = request.get_ref();
        let metric = self
            .of(&request.sandboxer)?
            .metrics(&namespace, &request.sandbox_id)
            .await;
        let metric = metric.map_err(status)?;
        let metrics = Some(Metric {
            timestamp: metric.timestamp.map(to_wire),
            id: metric.id,
            data: metric.data,
        });
        Ok(Response::new(api::ControllerMetricsResponse { metrics }))
    }

    /// As with containerd's own: the shim protocol has no update, and that is no failure.
    async fn update(
        &self,
        request: Request<api::ControllerUpdateRequest>,
    ) -> Result<Response<api::ControllerUpdateResponse>> {
        namespace(&request)?;
        self.of(&request.get_ref().sandboxer)?;
        Ok(Response::new(api::ControllerUpdateResponse {}))
    }
}

impl Service {
    fn of(&self, sandboxer: &str) -> Result<&Running> {
        Running::check(sandboxer).map_err(status)?;
        Ok(self.layer.sandbox_controller())
    }
}

fn given(sandbox: Option<types::Sandbox>) -> Result<Sandbox> {
    let wire = sandbox.ok_or_else(|| Status::invalid_argument("the sandbox is missing"))?;
    let (runtime, options) = wire
        .runtime
        .map(|runtime| (runtime.name, runtime.options))
        .unwrap_or_default();
    Ok(Sandbox {
        id: wire.sandbox_id,
        runtime,
        options,
        spec: wire.spec,
        labels: labels(wire.labels),
        created_at: wire.created_at.as_ref().map(from_wire).unwrap_or_default(),
        updated_at: wire.updated_at.as_ref().map(from_wire).unwrap_or_default(),
        extensions: wire.extensions.into_iter().collect(),
        sandboxer: wire.sandboxer,
    })
}

fn message(sandbox: Sandbox) -> types::Sandbox {
    types::Sandbox {
        sandbox_id: sandbox.id,
        runtime: Some(types::sandbox::Runtime {
            name: sandbox.runtime,
            options: sandbox.options,
        }),
        spec: sandbox.spec,
        labels: to_labels(sandbox.labels),
        created_at: Some(to_wire(sandbox.created_at)),
        updated_at: Some(to_wire(sandbox.updated_at)),
        extensions: sandbox.extensions.into_iter().collect(),
        sandboxer: sandbox.sandboxer,
    }
}

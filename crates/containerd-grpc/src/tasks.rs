//! Tasks: running containers.

use lighter_containerd::Layer;
use lighter_containerd::tasks::{self, Create, Deleted, Exec, Process};
use lighter_containerd::time::{NEVER, to_wire};
use lighter_containerd_api::tasks as api;
use lighter_containerd_api::tasks::tasks_server::Tasks;
use lighter_containerd_api::{task_types, types};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::convert::{filters, mounts};
use crate::descriptor;
use crate::error::{Result, status};
use crate::request::{lease, namespace};

pub(crate) struct Service {
    pub(crate) layer: Layer,
    /// Waits end with it.
    pub(crate) stopping: CancellationToken,
}

#[tonic::async_trait]
impl Tasks for Service {
    async fn create(
        &self,
        request: Request<api::CreateTaskRequest>,
    ) -> Result<Response<api::CreateTaskResponse>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let checkpoint = request.checkpoint.map(descriptor::given).transpose()?;
        let checkpoint = self
            .layer
            .checkpoint_images(&namespace, request.options.as_ref(), checkpoint.as_ref())
            .await
            .map_err(status)?;
        let container_id = request.container_id;
        let create = Create {
            id: container_id.clone(),
            rootfs: mounts(request.rootfs),
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
            options: request.options,
            runtime_path: request.runtime_path,
            checkpoint,
        };
        let pid = self.tasks().create(&namespace, create).await.map_err(status)?;
        Ok(Response::new(api::CreateTaskResponse { container_id, pid }))
    }

    async fn start(&self, request: Request<api::StartRequest>) -> Result<Response<api::StartResponse>> {
        let namespace = namespace(&request)?;
        let api::StartRequest {
            container_id,
            exec_id,
        } = request.get_ref();
        let started = self.tasks().start(&namespace, container_id, exec_id).await;
        let pid = started.map_err(status)?;
        Ok(Response::new(api::StartResponse { pid }))
    }

    async fn delete(
        &self,
        request: Request<api::DeleteTaskRequest>,
    ) -> Result<Response<api::DeleteResponse>> {
        let namespace = namespace(&request)?;
        let deleted = self
            .tasks()
            .delete(&namespace, &request.get_ref().container_id)
            .await;
        deleted.map_err(status).map(gone)
    }

    async fn delete_process(
        &self,
        request: Request<api::DeleteProcessRequest>,
    ) -> Result<Response<api::DeleteResponse>> {
        let namespace = namespace(&request)?;
        let api::DeleteProcessRequest {
            container_id,
            exec_id,
        } = request.get_ref();
        let deleted = self
            .tasks()
            .delete_process(&namespace, container_id, exec_id)
            .await;
        deleted.map_err(status).map(gone)
    }

    async fn get(&self, request: Request<api::GetRequest>) -> Result<Response<api::GetResponse>> {
        let namespace = namespace(&request)?;
        let api::GetRequest {
            container_id,
            exec_id,
        } = request.get_ref();
        let process = self.tasks().process(&namespace, container_id, exec_id).await;
        let process = Some(message(process.map_err(status)?));
        Ok(Response::new(api::GetResponse { process }))
    }

    async fn list(
        &self,
        request: Request<api::ListTasksRequest>,
    ) -> Result<Response<api::ListTasksResponse>> {
        let all = self.tasks().list(&namespace(&request)?).await;
        let tasks = all.into_iter().map(message).collect();
        Ok(Response::new(api::ListTasksResponse { tasks }))
    }

    async fn kill(&self, request: Request<api::KillRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let api::KillRequest {
            container_id,
            exec_id,
            signal,
            all,
        } = request.get_ref();
        let killed = self
            .tasks()
            .kill(&namespace, container_id, exec_id, *signal, *all);
        killed.await.map_err(status).map(Response::new)
    }

    async fn exec(&self, request: Request<api::ExecProcessRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let exec = Exec {
            id: request.container_id,
            exec_id: request.exec_id,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
            spec: request.spec,
        };
        let added = self.tasks().exec(&namespace, exec).await;
        added.map_err(status).map(Response::new)
    }

    async fn resize_pty(&self, request: Request<api::ResizePtyRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let api::ResizePtyRequest {
            container_id,
            exec_id,
            width,
            height,
        } = request.get_ref();
        let resized = self
            .tasks()
            .resize(&namespace, container_id, exec_id, *width, *height);
        resized.await.map_err(status).map(Response::new)
    }

    async fn close_io(&self, request: Request<api::CloseIoRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let api::CloseIoRequest {
            container_id,
            exec_id,
            stdin,
        } = request.get_ref();
        if *stdin {
            let closed = self.tasks().close_stdin(&namespace, container_id, exec_id).await;
            closed.map_err(status)?;
        }
        Ok(Response::new(()))
    }

    async fn pause(&self, request: Request<api::PauseTaskRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let paused = self
            .tasks()
            .pause(&namespace, &request.get_ref().container_id)
            .await;
        paused.map_err(status).map(Response::new)
    }

    async fn resume(&self, request: Request<api::ResumeTaskRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let resumed = self
            .tasks()
            .resume(&namespace, &request.get_ref().container_id)
            .await;
        resumed.map_err(status).map(Response::new)
    }

    async fn list_pids(
        &self,
        request: Request<api::ListPidsRequest>,
    ) -> Result<Response<api::ListPidsResponse>> {
        let namespace = namespace(&request)?;
        let pids = self
            .tasks()
            .pids(&namespace, &request.get_ref().container_id)
            .await;
        let process = |tasks::Pid { pid, info }| task_types::ProcessInfo { pid, info };
        let processes = pids.map_err(status)?.into_iter().map(process).collect();
        Ok(Response::new(api::ListPidsResponse { processes }))
    }

    async fn checkpoint(
        &self,
        request: Request<api::CheckpointTaskRequest>,
    ) -> Result<Response<api::CheckpointTaskResponse>> {
        let (namespace, lease) = (namespace(&request)?, lease(&request));
        let request = request.into_inner();
        let made = self.layer.checkpoint(
            &namespace,
            lease.as_deref(),
            &request.container_id,
            request.options,
        );
        let descriptors = made.await.map_err(status)?;
        let descriptors = descriptors.into_iter().map(descriptor::message).collect();
        Ok(Response::new(api::CheckpointTaskResponse { descriptors }))
    }

    async fn update(&self, request: Request<api::UpdateTaskRequest>) -> Result<Response<()>> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let annotations = request.annotations.into_iter().collect();
        let updated = self
            .tasks()
            .update(&namespace, &request.container_id, request.resources, annotations);
        updated.await.map_err(status).map(Response::new)
    }

    async fn metrics(&self, request: Request<api::MetricsRequest>) -> Result<Response<api::MetricsResponse>> {
        let namespace = namespace(&request)?;
        let filters = filters(&request.get_ref().filters)?;
        let mut ids = self.tasks().ids(&namespace);
        ids.retain(|id| {
            filters.matches(&|path| match path {
                ["id"] => Some(id.as_str()),
                ["namespace"] => Some(namespace.as_str()),
                _ => None,
            })
        });
        let now = to_wire(self.layer.config().clock.now());
        let metric = |(id, data)| types::Metric {
            timestamp: Some(now),
            id,
            data: Some(data),
        };
        let all = self.tasks().metrics(&namespace, &ids).await;
        let metrics = all.into_iter().map(metric).collect();
        Ok(Response::new(api::MetricsResponse { metrics }))
    }

    async fn wait(&self, request: Request<api::WaitRequest>) -> Result<Response<api::WaitResponse>> {
        let namespace = namespace(&request)?;
        let api::WaitRequest {
            container_id,
            exec_id,
        } = request.get_ref();
        let exit = tokio::select! {
            exit = self.tasks().wait(&namespace, container_id, exec_id) => exit.map_err(status)?,
            () = self.stopping.cancelled() => return Err(Status::unavailable("the server is stopping")),
        };
        Ok(Response::new(api::WaitResponse {
            exit_status: exit.status,
            exited_at: Some(to_wire(exit.at)),
        }))
    }
}

impl Service {
    fn tasks(&self) -> &tasks::Tasks {
        self.layer.tasks()
    }
}

fn gone(deleted: Deleted) -> Response<api::DeleteResponse> {
    Response::new(api::DeleteResponse {
        id: deleted.id,
        pid: deleted.pid,
        exit_status: deleted.exit.status,
        exited_at: Some(to_wire(deleted.exit.at)),
    })
}

fn message(process: Process) -> task_types::Process {
    let status = match process.status {
        tasks::Status::Unknown => task_types::Status::Unknown,
        tasks::Status::Created => task_types::Status::Created,
        tasks::Status::Running => task_types::Status::Running,
        tasks::Status::Stopped | tasks::Status::Dead => task_types::Status::Stopped,
        tasks::Status::Paused => task_types::Status::Paused,
        tasks::Status::Pausing => task_types::Status::Pausing,
    };
    task_types::Process {
        container_id: process.container_id,
        id: process.id,
        pid: process.pid,
        status: status.into(),
        stdin: process.stdin,
        stdout: process.stdout,
        stderr: process.stderr,
        terminal: process.terminal,
        exit_status: process.exit_status,
        exited_at: Some(process.exited_at.map_or(NEVER, to_wire)),
    }
}

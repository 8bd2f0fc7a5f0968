//! Operations on running tasks: exec, signals, freezing, input and output, figures.

use std::collections::BTreeMap;
use std::time::Duration;

use lighter_shim_api::events;
use lighter_shim_api::task as wire;
use prost_types::Any;

use super::{Deleted, LIST_TIMEOUT, Tasks, detached, shim};
use crate::{Error, Result, identifier};

/// SIGKILL.
const KILL: u32 = 9;
/// How long a shim may take to kill a container, before that is done without it.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// What an exec is made with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exec {
    /// The container.
    pub id: String,
    /// Its own name.
    pub exec_id: String,
    /// See [`super::Create`].
    pub stdin: String,
    /// See [`super::Create`].
    pub stdout: String,
    /// See [`super::Create`].
    pub stderr: String,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// The process, as JSON of the OCI runtime specification.
    pub spec: Option<Any>,
}

/// A process in a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Pid {
    /// In the PID namespace of this program.
    pub pid: u32,
    /// What the shim adds: which exec it is.
    pub info: Option<Any>,
}

impl Tasks {
    /// Makes an exec in a running task; [`Tasks::start`] starts it.
    pub async fn exec(&self, namespace: &str, exec: Exec) -> Result<()> {
        identifier::check("process", &exec.exec_id)?;
        let task = self.get(namespace, &exec.id)?;
        let bus = self.0.bus.clone();
        detached(async move {
            let event = events::TaskExecAdded {
                container_id: exec.id.clone(),
                exec_id: exec.exec_id.clone(),
            };
            let request = wire::ExecProcessRequest {
                id: exec.id,
                exec_id: exec.exec_id,
                terminal: exec.terminal,
                stdin: exec.stdin,
                stdout: exec.stdout,
                stderr: exec.stderr,
                spec: exec.spec,
            };
            let () = task.shim()?.call("Exec", &request, None).await?;
            bus.task(&task.bundle.namespace, &event);
            Ok(())
        })
        .await
    }

    /// Deletes an exec that has exited.
    pub async fn delete_process(&self, namespace: &str, id: &str, exec_id: &str) -> Result<Deleted> {
        if exec_id.is_empty() {
            return Err(Error::invalid("process", exec_id, "it is empty"));
        }
        let task = self.get(namespace, id)?;
        let exec_id = exec_id.to_owned();
        detached(async move {
            let request = wire::DeleteRequest {
                id: task.bundle.id.clone(),
                exec_id: exec_id.clone(),
            };
            let answer: wire::DeleteResponse = task.shim()?.call("Delete", &request, None).await?;
            task.forget_exec(&exec_id);
            let exit = shim::exit(answer.exit_status, answer.exited_at.as_ref());
            // No event: as with containerd, `/tasks/delete` tells the end of the task alone.
            Ok(Deleted {
                id: exec_id,
                pid: answer.pid,
                exit,
            })
        })
        .await
    }

    /// Sends a signal to a process, or to all of the container.
    pub async fn kill(&self, namespace: &str, id: &str, exec_id: &str, signal: u32, all: bool) -> Result<()> {
        let request = wire::KillRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            signal,
            all,
        };
        let task = self.get(namespace, id)?;
        if signal != KILL || !exec_id.is_empty() {
            return task.shim()?.call("Kill", &request, None).await;
        }
        // What must end does so without its shim, too.
        match task.shim()?.call("Kill", &request, Some(KILL_PATIENCE)).await {
            Err(Error::ShimSlow { .. }) => self.force(&task).await,
            other => other,
        }
    }

    /// Freezes a container.
    pub async fn pause(&self, namespace: &str, id: &str) -> Result<()> {
        self.ask::<_, ()>(namespace, id, "Pause", &wire::PauseRequest { id: id.to_owned() })
            .await?;
        self.0.bus.task(
            namespace,
            &events::TaskPaused {
                container_id: id.to_owned(),
            },
        );
        Ok(())
    }

    /// Thaws a container.
    pub async fn resume(&self, namespace: &str, id: &str) -> Result<()> {
        self.ask::<_, ()>(
            namespace,
            id,
            "Resume",
            &wire::ResumeRequest { id: id.to_owned() },
        )
        .await?;
        self.0.bus.task(
            namespace,
            &events::TaskResumed {
                container_id: id.to_owned(),
            },
        );
        Ok(())
    }

    /// Sets the size of a process's terminal, in characters.
    pub async fn resize(
        &self,
        namespace: &str,
        id: &str,
        exec_id: &str,
        width: u32,
        height: u32,
    ) -> Result<()> {
        let request = wire::ResizePtyRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            width,
            height,
        };
        self.ask(namespace, id, "ResizePty", &request).await
    }

    /// Ends a process's input.
    pub async fn close_stdin(&self, namespace: &str, id: &str, exec_id: &str) -> Result<()> {
        let request = wire::CloseIoRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            stdin: true,
        };
        self.ask(namespace, id, "CloseIO", &request).await
    }

    /// The processes in a container.
    pub async fn pids(&self, namespace: &str, id: &str) -> Result<Vec<Pid>> {
        let request = wire::PidsRequest { id: id.to_owned() };
        let answer: wire::PidsResponse = self.ask(namespace, id, "Pids", &request).await?;
        Ok(answer
            .processes
            .into_iter()
            .map(|process| Pid {
                pid: process.pid,
                info: process.info,
            })
            .collect())
    }

    /// Changes the limits of a container: JSON of the OCI runtime specification's resources.
    pub async fn update(
        &self,
        namespace: &str,
        id: &str,
        resources: Option<Any>,
        annotations: BTreeMap<String, String>,
    ) -> Result<()> {
        let request = wire::UpdateTaskRequest {
            id: id.to_owned(),
            resources,
            annotations,
        };
        self.ask(namespace, id, "Update", &request).await
    }

    /// The figures of the containers with these ids; those that have none are left out.
    pub async fn metrics(&self, namespace: &str, ids: &[String]) -> Vec<(String, Any)> {
        let answers = ids.iter().cloned().map(|id| async move {
            let request = wire::StatsRequest { id: id.clone() };
            let shim = self.get(namespace, &id).ok()?.shim().ok()?.clone();
            let answer: Result<wire::StatsResponse> = shim.call("Stats", &request, Some(LIST_TIMEOUT)).await;
            answer
                .ok()
                .and_then(|answer| answer.stats)
                .map(|stats| (id, stats))
        });
        futures_util::future::join_all(answers)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    pub(super) async fn ask<Q: lighter_shim_api::Message, A: lighter_shim_api::Message + Default>(
        &self,
        namespace: &str,
        id: &str,
        method: &'static str,
        request: &Q,
    ) -> Result<A> {
        self.get(namespace, id)?.shim()?.call(method, request, None).await
    }
}

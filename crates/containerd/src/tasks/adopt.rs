//! After a restart: the shims that are there are ours again, and what died meanwhile is told.

use std::path::PathBuf;
use std::sync::Arc;

use lighter_shim_api::runc_options::ProcessDetails;
use lighter_shim_api::service::is_type;
use lighter_shim_api::task as wire;
use lighter_shim_api::{Any, Message};

use super::bundle::{self, Bundle, Exit, Record};
use super::shim::{self, Shim};
use super::task::{Task, process};
use super::{LIST_TIMEOUT, STATE_TIMEOUT, Slot, Status, Tasks, blocking, watch};
use crate::{Kind, Result};

impl Tasks {
    /// Takes back every task that a bundle is left of. One that cannot be is logged and left for the next start.
    pub(crate) async fn adopt_all(&self) -> Result<()> {
        let state = self.0.config.state.clone();
        let (bundles, leftovers) = blocking(move || bundle::walk(&state)).await?;
        for path in leftovers {
            let shown = path.display().to_string();
            if let Err(error) = blocking(move || bundle::remove_hidden(&path)).await {
                tracing::warn!(path = shown, error = %lighter_stdx::error::chain(&error), "left-over of a removal");
            }
        }
        let adoptions = bundles.iter().map(|bundle| async {
            if let Err(error) = self.adopt(bundle).await {
                let error = lighter_stdx::error::chain(&error);
                tracing::warn!(namespace = %bundle.namespace, id = %bundle.id, %error, "adoption of a task");
            }
        });
        futures_util::future::join_all(adoptions).await;
        Ok(())
    }

    async fn adopt(&self, bundle: &Bundle) -> Result<()> {
        let binary = bundle.read_text("shim-binary-path").map(PathBuf::from);
        let record: Option<Record> = bundle.read("task.json");
        let shims = shim::addresses(&self.0.config, bundle);
        let connected = shims
            .iter()
            .find_map(|bootstrap| Shim::connect(bundle, bootstrap).ok());
        match (connected, record) {
            // One that hangs does not hold up the start.
            (Some(shim), record) => match shim.state("", LIST_TIMEOUT).await {
                Ok(state) => self.take_back(bundle, binary, shim, state).await,
                // The shim is there and has no task: it was not yet made, or is deleted already.
                Err(error) if error.kind() == Kind::NotFound => self.discard(bundle).await,
                Err(error) => match record {
                    Some(record) => {
                        let task = self.new_task(bundle, binary, Some(shim), record, Status::Unknown);
                        self.put(&task);
                        self.follow(&task);
                        Err(error)
                    }
                    None => self.discard(bundle).await,
                },
            },
            (None, Some(record)) => {
                self.mourn(bundle, binary, record);
                Ok(())
            }
            (None, None) => self.discard(bundle).await,
        }
    }

    /// The shim lives.
    async fn take_back(
        &self,
        bundle: &Bundle,
        binary: Option<PathBuf>,
        shim: Shim,
        state: wire::StateResponse,
    ) -> Result<()> {
        if let Some(binary) = &binary {
            shim::serve_log(bundle, binary)?;
        }
        let told = process(&bundle.id, state);
        let mut record = Record {
            stdin: told.stdin,
            stdout: told.stdout,
            stderr: told.stderr,
            terminal: told.terminal,
            ..Record::default()
        };
        record.set_pid(told.pid);
        bundle.write("task.json", &record)?;
        tracing::info!(namespace = %bundle.namespace, id = %bundle.id, pid = told.pid, "adopted");
        let task = self.new_task(bundle, binary, Some(shim.clone()), record, told.status);
        if let (Status::Stopped, Some(exit)) = (told.status, bundle.read::<Exit>("exit.json")) {
            // It was published before we died.
            task.restore_exit(exit);
        }
        self.put(&task);
        self.follow(&task);
        if told.status != Status::Stopped {
            let request = wire::PidsRequest {
                id: bundle.id.clone(),
            };
            let answer: Result<wire::PidsResponse> = shim.call("Pids", &request, Some(STATE_TIMEOUT)).await;
            // Without the list the exits of earlier execs are told to those who wait, and not published.
            for process in answer.map(|answer| answer.processes).unwrap_or_default() {
                if let Some(exec_id) = process.info.as_ref().and_then(exec_id) {
                    task.follow_exec(&exec_id, process.pid);
                }
            }
        }
        Ok(())
    }

    /// The shim is gone: its task is over.
    fn mourn(&self, bundle: &Bundle, binary: Option<PathBuf>, mut record: Record) {
        let kept: Option<Exit> = bundle.read("exit.json");
        if watch::start_time(record.pid) != record.start_time {
            // Another process has this pid now, or none.
            record.pid_is_stale();
        }
        let task = self.new_task(bundle, binary, None, record, Status::Dead);
        if let Some(exit) = kept {
            task.restore_exit(exit);
        }
        self.put(&task);
        let tasks = self.clone();
        tokio::spawn(async move { tasks.bury(&task).await });
    }

    fn new_task(
        &self,
        bundle: &Bundle,
        binary: Option<PathBuf>,
        shim: Option<Shim>,
        record: Record,
        status: Status,
    ) -> Arc<Task> {
        Arc::new(Task::new(
            bundle.clone(),
            binary,
            shim,
            record,
            status,
            self.0.bus.clone(),
        ))
    }

    fn put(&self, task: &Arc<Task>) {
        let key = (task.bundle.namespace.clone(), task.bundle.id.clone());
        self.table().insert(key, Slot::Ready(task.clone()));
    }
}

fn exec_id(info: &Any) -> Option<String> {
    if !is_type(&info.type_url, "containerd.runc.v1.ProcessDetails") {
        return None;
    }
    let details = ProcessDetails::decode(info.value.as_slice()).ok()?;
    Some(details.exec_id).filter(|id| !id.is_empty())
}

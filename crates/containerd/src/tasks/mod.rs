//! Tasks: containers that were made. Each has a shim, which is the parent of its processes and outlives us.
//!
//! What a client sees comes from the shim; what must be known without it lies in the bundle. The lifecycle's events are
//! published here, from what shims answer: a shim's own events about the same are hints, and dropped, so that nothing is told
//! twice, nor missed because nobody listened.

mod adopt;
mod bundle;
mod checkpoint;
mod exec;
mod forward;
pub(crate) mod shim;
mod task;
mod ttrpc;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lighter_shim_api::events::{self, TaskIo};
use lighter_shim_api::task as wire;
use lighter_shim_api::types::Mount as WireMount;
use lighter_snapshots::Mount;
use lighter_stdx::failpoint;
use prost_types::Any;
use tokio_util::sync::CancellationToken;

pub use bundle::Exit;
pub use checkpoint::Images;
pub use exec::{Exec, Pid};

use crate::config::Config;
use crate::containers::Containers;
use crate::events::Bus;
use crate::{Error, Result, identifier, time};
use bundle::Record;
pub(crate) use bundle::{Bootstrap, Bundle};
pub(crate) use shim::Shim;
use task::Task;
pub(crate) use watch::kill_inhabitants;

/// How long a shim may take to tell a state.
const STATE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same when all are listed: one that hangs must not hold up the list.
const LIST_TIMEOUT: Duration = Duration::from_secs(2);

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not known.
    Unknown,
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Exited.
    Stopped,
    /// Frozen.
    Paused,
    /// About to be frozen.
    Pausing,
    /// Exited, and its shim is gone.
    Dead,
}

/// A process of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Of the container, or of the exec.
    pub id: String,
    /// The container.
    pub container_id: String,
    /// In the PID namespace of this program.
    pub pid: u32,
    /// What it is doing.
    pub status: Status,
    /// Where its input comes from.
    pub stdin: String,
    /// Where its output goes.
    pub stdout: String,
    /// Where its errors go.
    pub stderr: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Exit code, or 128 and the signal, once stopped.
    pub exit_status: u32,
    /// When it exited.
    pub exited_at: Option<Timestamp>,
}

/// What a task is made with.
#[derive(Debug, Default)]
pub struct Create {
    /// The container.
    pub id: String,
    /// Mounts that make its root.
    pub rootfs: Vec<Mount>,
    /// Input, output, errors: a fifo's path or a URI that the shim knows; empty: none.
    pub stdin: String,
    /// See `stdin`.
    pub stdout: String,
    /// See `stdin`.
    pub stderr: String,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Options of the runtime; those of the container, if there are none.
    pub options: Option<Any>,
    /// The shim's program, if not the one that the runtime's name tells.
    pub runtime_path: String,
    /// What the container comes back from; none: it begins anew.
    pub checkpoint: Option<Images>,
}

/// A process that was deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Deleted {
    /// Of the container, or of the exec.
    pub id: String,
    /// What its pid was.
    pub pid: u32,
    /// How it ended.
    pub exit: Exit,
}

/// All tasks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    bus: Bus,
    containers: Containers,
    table: Mutex<HashMap<Key, Slot>>,
}

type Key = (String, String);

#[derive(Debug, Clone)]
enum Slot {
    /// Being made, or being cleaned up after a failure: the name is taken.
    Busy,
    Ready(Arc<Task>),
}

impl Tasks {
    pub(crate) fn new(config: Config, bus: Bus, containers: Containers) -> Tasks {
        Tasks(Arc::new(Inner {
            config,
            bus,
            containers,
            table: Mutex::default(),
        }))
    }

    /// Makes a task; gives the pid of its init, which waits to be started.
    pub async fn create(&self, namespace: &str, create: Create) -> Result<u32> {
        identifier::check("namespace", namespace)?;
        let tasks = self.clone();
        let namespace = namespace.to_owned();
        // A client that goes away gives up: what a runtime hangs in is then taken away.
        let given_up = CancellationToken::new();
        let _guard = given_up.clone().drop_guard();
        detached(async move {
            let key = (namespace, create.id.clone());
            tasks.reserve(&key)?;
            let made = tasks.make(&key.0, create, &given_up).await;
            let mut table = tasks.table();
            match made {
                Ok(task) => {
                    let pid = task.record().pid;
                    table.insert(key, Slot::Ready(task.clone()));
                    drop(table);
                    tasks.follow(&task);
                    Ok(pid)
                }
                Err(error) => {
                    table.remove(&key);
                    Err(error)
                }
            }
        })
        .await
    }

    async fn make(
        &self,
        namespace: &str,
        mut create: Create,
        given_up: &CancellationToken,
    ) -> Result<Arc<Task>> {
        let config = &self.0.config;
        let container = self.0.containers.get(namespace, &create.id)?;
        let binary = shim::find(config, &container.runtime, &create.runtime_path)?;
        let options = create.options.clone().or(container.options);
        let bundle = Bundle::new(&config.state, namespace, &create.id);
        if bundle.path.exists() {
            // Nobody has this task, so it is what an earlier failure left.
            self.discard(&bundle).await?;
        }
        let made = async {
            bundle.create(&container.spec.unwrap_or_default().value)?;
            failpoint::hit("layer.create.bundle");
            let checkpoint = match create.checkpoint.take() {
                Some(images) => images.into_directory(&bundle).await?,
                None => String::new(),
            };
            bundle.write_text("shim-binary-path", &binary.to_string_lossy())?;
            shim::serve_log(&bundle, &binary)?;
            let bootstrap = shim::start(config, &bundle, &binary, options.as_ref()).await?;
            failpoint::hit("layer.create.shim");
            bundle.write("bootstrap.json", &bootstrap)?;
            failpoint::hit("layer.create.bootstrap");
            let shim = Shim::connect(&bundle, &bootstrap)?;
            let request = wire::CreateTaskRequest {
                id: create.id.clone(),
                bundle: bundle.path.to_string_lossy().into_owned(),
                rootfs: create.rootfs.iter().map(mount).collect(),
                terminal: create.terminal,
                stdin: create.stdin.clone(),
                stdout: create.stdout.clone(),
                stderr: create.stderr.clone(),
                options,
                checkpoint: checkpoint.clone(),
                ..Default::default()
            };
            // Nothing runs before the records of what it writes into last: its snapshot's may not yet.
            let called = shim.call("Create", &request, None);
            let (answer, settled) = tokio::join!(called, self.0.containers.settle());
            settled?;
            let answer: wire::CreateTaskResponse = answer.map_err(|error| error.about("create shim task"))?;
            failpoint::hit("layer.create.task");
            let mut record = Record {
                stdin: create.stdin.clone(),
                stdout: create.stdout.clone(),
                stderr: create.stderr.clone(),
                terminal: create.terminal,
                ..Record::default()
            };
            record.set_pid(answer.pid);
            bundle.write("task.json", &record)?;
            failpoint::hit("layer.create.recorded");
            Ok((shim, record, checkpoint))
        };
        let made = async {
            tokio::select! {
                made = made => made,
                () = given_up.cancelled() => Err(Error::Answer {
                    kind: crate::Kind::Canceled,
                    message: format!("the client that wanted the task {:?} is gone", create.id),
                }),
            }
        };
        let (shim, record, checkpoint) = match made.await {
            Ok(made) => made,
            Err(error) => {
                if let Err(error) = self.discard(&bundle).await {
                    let error = lighter_stdx::error::chain(&error);
                    tracing::warn!(id = %bundle.id, %error, "a task that failed is not removed");
                }
                return Err(error);
            }
        };
        let io = TaskIo {
            stdin: create.stdin,
            stdout: create.stdout,
            stderr: create.stderr,
            terminal: create.terminal,
        };
        let event = events::TaskCreate {
            container_id: create.id,
            bundle: bundle.path.to_string_lossy().into_owned(),
            rootfs: create.rootfs.iter().map(mount).collect(),
            io: Some(io),
            checkpoint,
            pid: record.pid,
        };
        self.0.bus.task(namespace, &event);
        let task = Task::new(
            bundle,
            Some(binary),
            Some(shim),
            record,
            Status::Created,
            self.0.bus.clone(),
        );
        Ok(Arc::new(task))
    }

    /// Starts the init of a task, or an exec; gives its pid.
    pub async fn start(&self, namespace: &str, id: &str, exec_id: &str) -> Result<u32> {
        let task = self.get(namespace, id)?;
        let (tasks, exec_id) = (self.clone(), exec_id.to_owned());
        detached(async move {
            let request = wire::StartRequest {
                id: task.bundle.id.clone(),
                exec_id: exec_id.clone(),
            };
            let namespace = &task.bundle.namespace;
            if exec_id.is_empty() {
                let _turn = task.turn.lock().await;
                failpoint::hit("layer.start.before");
                let answer: wire::StartResponse = task.shim()?.call("Start", &request, None).await?;
                failpoint::hit("layer.start.started");
                task.born(answer.pid)?;
                task.set_status(Status::Running);
                let event = events::TaskStart {
                    container_id: task.bundle.id.clone(),
                    pid: answer.pid,
                };
                tasks.0.bus.task(namespace, &event);
                return Ok(answer.pid);
            }
            let answer: wire::StartResponse = task.shim()?.call("Start", &request, None).await?;
            let event = events::TaskExecStarted {
                container_id: task.bundle.id.clone(),
                exec_id: exec_id.clone(),
                pid: answer.pid,
            };
            tasks.0.bus.task(namespace, &event);
            task.follow_exec(&exec_id, answer.pid);
            Ok(answer.pid)
        })
        .await
    }

    /// Deletes a task whose init has exited, or was never started; its shim ends.
    pub async fn delete(&self, namespace: &str, id: &str) -> Result<Deleted> {
        let task = self.get(namespace, id)?;
        let tasks = self.clone();
        detached(async move {
            let _turn = task.turn.lock().await;
            if task.removing() {
                return Err(Error::NoTask(task.bundle.id.clone()));
            }
            let deleted = tasks.delete_in_shim(&task).await?;
            failpoint::hit("layer.delete.task");
            task.set_removing();
            task.exited(deleted.exit);
            tasks.remove(&task).await?;
            let event = events::TaskDelete {
                container_id: task.bundle.id.clone(),
                pid: deleted.pid,
                exit_status: deleted.exit.status,
                exited_at: Some(time::to_wire(deleted.exit.at)),
                id: String::new(),
            };
            tasks.0.bus.task(&task.bundle.namespace, &event);
            Ok(deleted)
        })
        .await
    }

    async fn delete_in_shim(&self, task: &Task) -> Result<Deleted> {
        let id = task.bundle.id.clone();
        let kept = |exit| Deleted {
            id: id.clone(),
            pid: task.record().pid,
            exit,
        };
        if task.is_dead() {
            return match task.exit() {
                Some(exit) => Ok(kept(exit)),
                None => Err(Error::Precondition(format!(
                    "the shim of {id:?} is gone and its init is not yet"
                ))),
            };
        }
        let request = wire::DeleteRequest {
            id: id.clone(),
            exec_id: String::new(),
        };
        let answer: Result<wire::DeleteResponse> = task.shim()?.call("Delete", &request, None).await;
        match (answer, task.exit()) {
            (Ok(answer), _) => Ok(Deleted {
                id: id.clone(),
                pid: answer.pid,
                exit: shim::exit(answer.exit_status, answer.exited_at.as_ref()),
            }),
            // It was deleted before, and we died before we had taken it away.
            (Err(error), Some(exit)) if error.kind() == crate::Kind::NotFound => Ok(kept(exit)),
            (Err(error), _) => Err(error),
        }
    }

    /// Ends the shim and takes the bundle and the task away.
    async fn remove(&self, task: &Arc<Task>) -> Result<()> {
        if let Some(shim) = task.any_shim().filter(|_| !task.is_dead()) {
            shim.shutdown().await;
        }
        failpoint::hit("layer.delete.shutdown");
        let removed = self.remove_bundle(&task.bundle).await;
        let key = (task.bundle.namespace.clone(), task.bundle.id.clone());
        self.table().remove(&key);
        removed
    }

    /// Removes a bundle whose shim is gone, and what that left.
    async fn remove_bundle(&self, bundle: &Bundle) -> Result<()> {
        let (tasks, bundle) = (self.clone(), bundle.clone());
        blocking(move || {
            shim::remove_sockets(&tasks.0.config, &bundle);
            bundle.remove()
        })
        .await
    }

    /// The state of a process; an empty `exec_id` is the init.
    pub async fn process(&self, namespace: &str, id: &str, exec_id: &str) -> Result<Process> {
        self.get(namespace, id)?.process(exec_id, STATE_TIMEOUT).await
    }

    /// The states of all inits of a namespace, in the order of their names.
    pub async fn list(&self, namespace: &str) -> Vec<Process> {
        let mut tasks: Vec<Arc<Task>> = self
            .table()
            .iter()
            .filter_map(|(key, slot)| match slot {
                Slot::Ready(task) if key.0 == namespace => Some(task.clone()),
                _ => None,
            })
            .collect();
        tasks.sort_by(|a, b| a.bundle.id.cmp(&b.bundle.id));
        let states = tasks.iter().map(|task| async {
            match task.process("", LIST_TIMEOUT).await {
                Ok(process) => Some(process),
                // Deleted meanwhile.
                Err(error) if error.kind() == crate::Kind::NotFound => None,
                Err(_) => Some(task.finished()),
            }
        });
        futures_util::future::join_all(states)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    /// The names of the tasks of a namespace, in order.
    pub fn ids(&self, namespace: &str) -> Vec<String> {
        let table = self.table();
        let mut ids: Vec<String> = table
            .iter()
            .filter(|(key, slot)| key.0 == namespace && matches!(slot, Slot::Ready(_)))
            .map(|(key, _)| key.1.clone())
            .collect();
        ids.sort();
        ids
    }

    /// Waits for the exit of a process.
    pub async fn wait(&self, namespace: &str, id: &str, exec_id: &str) -> Result<Exit> {
        let task = self.get(namespace, id)?;
        let gone = || Error::NoTask(id.to_owned());
        if exec_id.is_empty() {
            return task.wait_init().await.ok_or_else(gone);
        }
        if let Some(mut exec) = task.exec(exec_id) {
            let exit = exec
                .wait_for(Option::is_some)
                .await
                .map_err(|_| Error::not_found("process", exec_id))?;
            return exit.ok_or_else(gone);
        }
        match task.shim()?.wait(exec_id).await {
            Err(Error::ShimGone(_)) => {
                let init = task.wait_init().await.ok_or_else(gone)?;
                Ok(Exit {
                    status: 137,
                    at: init.at,
                    known: false,
                })
            }
            other => other,
        }
    }

    fn get(&self, namespace: &str, id: &str) -> Result<Arc<Task>> {
        match self.table().get(&(namespace.to_owned(), id.to_owned())) {
            Some(Slot::Ready(task)) => Ok(task.clone()),
            _ => Err(Error::NoTask(id.to_owned())),
        }
    }

    fn reserve(&self, key: &Key) -> Result<()> {
        let mut table = self.table();
        if table.contains_key(key) {
            return Err(Error::TaskExists(key.1.clone()));
        }
        table.insert(key.clone(), Slot::Busy);
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn mount(mount: &Mount) -> WireMount {
    WireMount {
        r#type: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    }
}

/// Runs `work` to its end, also when the caller goes away half-way.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work).await.unwrap_or(Err(Error::Panicked))
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Error::Panicked))
}

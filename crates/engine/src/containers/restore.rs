//! After a start of the engine: records and reality made to agree.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use lighter_containerd_api::containers::ListContainersRequest;
use lighter_containerd_api::event_service::SubscribeRequest;
use lighter_containerd_api::snapshots::ListSnapshotsRequest;
use lighter_containerd_api::task_types::{Process, Status};
use lighter_containerd_api::tasks::ListTasksRequest;
use lighter_containerd_api::{any, events};

use super::actor::{Actor, Command};
use super::exit::Exit;
use super::{Phase, restart};
use crate::images::SNAPSHOTTER;
use crate::{Engine, Error, Result};

/// Between attempts to listen to the layer's events.
const PAUSE: Duration = Duration::from_millis(100);

impl Engine {
    /// Puts an actor to work for each container in the database.
    pub(crate) fn load(&self) -> Result<()> {
        for (record, state) in self.inner.store.load()? {
            self.inner.containers.reserve(&record.name, &record.id)?;
            Actor::spawn(&self.inner, record, state);
        }
        Ok(())
    }

    /// Compares records with what the layer has; to be done once, after [`Engine::load`]. What is of no container is removed.
    pub(crate) async fn restore(&self) -> Result<()> {
        let layer = &self.inner.layer;
        let wrong = |status: tonic::Status| Error::from_layer(&status);
        let listed = layer
            .tasks()
            .list(ListTasksRequest::default())
            .await
            .map_err(wrong)?;
        let mut tasks: HashMap<String, Process> = listed
            .into_inner()
            .tasks
            .into_iter()
            .map(|task| (task.id.clone(), task))
            .collect();
        let live: HashSet<String> = tasks
            .iter()
            .filter(|(_, task)| alive(task.status()))
            .map(|(id, _)| id.clone())
            .filter(|id| self.inner.containers.find(id).is_ok())
            .collect();
        if let Err(error) = self.inner.network.restore(live).await {
            tracing::warn!(
                error = lighter_stdx::error::chain(&error),
                "networks of containers that are gone"
            );
        }
        let containers = self.inner.containers.all();
        let adoptions = containers.iter().map(|container| {
            let task = tasks.remove(&container.id);
            async move {
                (
                    container,
                    container.ask(|reply| Command::Adopt(task, reply)).await,
                )
            }
        });
        for (container, adopted) in futures_util::future::join_all(adoptions).await {
            if let Err(error) = adopted {
                tracing::warn!(
                    error = error.text(),
                    id = container.id,
                    "a container was not adopted"
                );
            }
        }
        let known: HashSet<&str> = containers.iter().map(|container| container.id.as_str()).collect();
        self.sweep(tasks.into_keys().collect(), &known).await;
        tokio::spawn(listen(self.clone()));
        Ok(())
    }

    /// Removes what an engine that died left half-made: things of the layer and directories that are no container's.
    async fn sweep(&self, tasks: HashSet<String>, known: &HashSet<&str>) {
        let layer = &self.inner.layer;
        let mut orphans = tasks;
        if let Ok(listed) = layer.containers().list(ListContainersRequest::default()).await {
            orphans.extend(
                listed
                    .into_inner()
                    .containers
                    .into_iter()
                    .map(|container| container.id),
            );
        }
        let asked = ListSnapshotsRequest {
            snapshotter: SNAPSHOTTER.into(),
            filters: Vec::new(),
        };
        if let Ok(listed) = layer.snapshots().list(asked).await {
            let mut parts = listed.into_inner();
            while let Ok(Some(part)) = parts.message().await {
                orphans.extend(
                    part.info
                        .into_iter()
                        .map(|info| info.name)
                        .filter(|name| is_id(name)),
                );
            }
        }
        let dirs = std::fs::read_dir(self.config().data_root.join("containers"));
        orphans.extend(
            dirs.into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| is_id(name)),
        );
        for id in orphans
            .iter()
            .filter(|id| is_id(id) && !known.contains(id.as_str()))
        {
            tracing::info!(id, "removing what a failed create left");
            if let Err(error) = super::remove::wipe(&self.inner, id).await {
                tracing::warn!(error = error.text(), id, "an orphan stays");
            }
        }
    }
}

/// Whether it is how the engine names containers. What is not may be somebody else's.
fn is_id(name: &str) -> bool {
    name.len() == 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn alive(status: Status) -> bool {
    matches!(status, Status::Running | Status::Paused | Status::Pausing)
}

/// Tells containers of OOM kills, for as long as the engine runs.
async fn listen(engine: Engine) {
    loop {
        let asked = SubscribeRequest {
            filters: vec![r#"topic=="/tasks/oom""#.to_owned()],
        };
        if let Ok(events) = engine.inner.layer.events().subscribe(asked).await {
            let mut events = events.into_inner();
            while let Ok(Some(envelope)) = events.message().await {
                let oom = envelope.event.as_ref().and_then(any::unpack::<events::TaskOom>);
                if let Some(Ok(oom)) = oom
                    && let Ok(container) = engine.inner.containers.find(&oom.container_id)
                {
                    // One that is gone does not want to know.
                    let _ = container.commands.send(Command::Oom);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Actor {
    /// Takes up a container after the engine's start; `task` is what the layer has of it.
    pub(super) async fn adopt(&mut self, task: Option<Process>) -> Result<()> {
        if self.record.removing {
            self.state.phase = Phase::Removing;
            return self.remove().await;
        }
        match task {
            Some(task) if alive(task.status()) => self.adopt_running(&task).await,
            Some(task) if task.status() == Status::Stopped => {
                let exit = Exit::new(task.exit_status, task.exited_at);
                if self.state.phase == Phase::Exited && exit.at == self.state.finished {
                    // The end is recorded, and what comes after it was not done.
                    self.state.exits -= self.state.exits.min(1);
                }
                if self.state.started.is_none() {
                    self.state.started = Some(self.inner.config.clock.now());
                }
                self.finish(exit).await;
            }
            // Created and not started: no start waits for it any more.
            other => {
                if other.is_some() {
                    self.clean_up().await;
                }
                if self.state.phase.alive() {
                    self.finish(Exit::UNSEEN).await;
                } else {
                    self.publish();
                }
            }
        }
        self.go_on();
        Ok(())
    }

    async fn adopt_running(&mut self, task: &Process) {
        let phase = if task.status() == Status::Running {
            Phase::Running
        } else {
            Phase::Paused
        };
        if !self.state.phase.alive() {
            // We died between its start and the note of it.
            self.state.started = Some(self.inner.config.clock.now());
            self.state.exit_code = 0;
            self.state.error = String::new();
        }
        self.state.phase = phase;
        self.state.pid = task.pid;
        self.keep_or_warn().await;
        if let Some(container) = self.container() {
            container
                .hub
                .open(&self.inner.config.attach_socket(&self.record.id))
                .await;
        }
        self.publish();
        self.watch();
    }

    /// After a restart of the engine, perhaps of the machine: what the policy wants to run is started.
    fn go_on(&mut self) {
        let wanted = match self.record.host_config.restart_policy.name.as_str() {
            "always" => true,
            "unless-stopped" => !self.record.stopped_by_user,
            _ => false,
        };
        match self.state.phase {
            Phase::Restarting => self.schedule(restart::FIRST_PAUSE),
            Phase::Exited if wanted => {
                self.state.phase = Phase::Restarting;
                self.publish();
                self.schedule(restart::FIRST_PAUSE);
            }
            _ => {}
        }
    }
}

//! The task that owns a container: it takes one command at a time, and nobody else changes the container's state.

use std::sync::{Arc, Weak};
use std::time::Duration;

use lighter_containerd_api::task_types;
use tokio::sync::{mpsc, oneshot, watch};

use super::exit::Exit;
use super::{Container, Phase, Record, State, View};
use crate::{Error, Inner, Result};

/// Where an actor answers.
pub(crate) type Reply = oneshot::Sender<Result<()>>;

/// What an actor can be asked and told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Start it, for a user.
    Start(Reply),
    /// Send a signal to its first process.
    Kill {
        signal: i32,
        reply: Reply,
    },
    Pause(Reply),
    Unpause(Reply),
    Rename(String, Reply),
    /// Remove it; it must not run.
    Remove(Reply),
    /// What the layer knows of it, after the engine's start.
    Adopt(Option<task_types::Process>, Reply),
    /// The process of that run ended.
    Exited(u64, Exit),
    /// The kernel killed one of its processes for want of memory.
    Oom,
    /// The pause before the restart of that run is over.
    RestartDue(u64),
}

/// A container's owner.
pub(crate) struct Actor {
    pub(super) inner: Arc<Inner>,
    pub(super) record: Record,
    pub(super) state: State,
    pub(super) container: Weak<Container>,
    pub(super) sender: mpsc::WeakUnboundedSender<Command>,
    /// Counts starts: what is told of an earlier run is passed over.
    pub(super) run: u64,
    /// Before the next restart by policy.
    pub(super) pause: Duration,
    view: watch::Sender<Arc<View>>,
}

impl Actor {
    /// Puts a container in the index and its actor to work. The name is reserved already.
    pub(super) fn spawn(inner: &Arc<Inner>, record: Record, state: State) -> Arc<Container> {
        let view = View {
            endpoint: inner.network.endpoint(&record.id),
            record: Arc::new(record.clone()),
            state: state.clone(),
            removed: false,
        };
        let (view, reader) = watch::channel(Arc::new(view));
        let (commands, mut inbox) = mpsc::unbounded_channel();
        let container = Arc::new(Container {
            id: record.id.clone(),
            view: reader,
            commands: commands.clone(),
            hub: super::attach::Hub::default(),
        });
        let mut actor = Self {
            inner: inner.clone(),
            record,
            state,
            container: Arc::downgrade(&container),
            sender: commands.downgrade(),
            run: 0,
            pause: super::restart::FIRST_PAUSE,
            view,
        };
        inner.containers.insert(container.clone());
        tokio::spawn(async move {
            while let Some(command) = inbox.recv().await {
                actor.obey(command).await;
                if actor.view.borrow().removed {
                    break;
                }
            }
        });
        container
    }

    async fn obey(&mut self, command: Command) {
        let (reply, done) = match command {
            Command::Start(reply) => (reply, self.start_by_user().await),
            Command::Kill { signal, reply } => (reply, self.kill(signal).await),
            Command::Pause(reply) => (reply, self.pause().await),
            Command::Unpause(reply) => (reply, self.unpause().await),
            Command::Rename(name, reply) => (reply, self.rename(name).await),
            Command::Remove(reply) => (reply, self.remove().await),
            Command::Adopt(process, reply) => (reply, self.adopt(process).await),
            Command::Exited(run, exit) => return self.exited(run, exit).await,
            Command::Oom => return self.oom().await,
            Command::RestartDue(run) => return self.restart_due(run).await,
        };
        // Who asked may have gone away.
        let _ = reply.send(done);
    }

    /// Shows the state to readers.
    pub(super) fn publish(&self) {
        self.publish_as(false);
    }

    pub(super) fn publish_as(&self, removed: bool) {
        self.view.send_replace(Arc::new(View {
            endpoint: self.inner.network.endpoint(&self.record.id),
            record: Arc::new(self.record.clone()),
            state: self.state.clone(),
            removed,
        }));
    }

    /// Keeps the state through our own death.
    pub(super) async fn keep(&self) -> Result<()> {
        self.inner.store.put_state(&self.record.id, &self.state).await
    }

    /// Those who wait to be attached.
    pub(super) fn container(&self) -> Option<Arc<Container>> {
        self.container.upgrade()
    }

    /// Tells the world what was done.
    pub(super) fn event(&self, action: &str, more: &[(&str, String)]) {
        let mut attributes = self.record.attributes();
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.inner
            .events
            .publish("container", action, self.record.id.clone(), attributes);
    }

    async fn pause(&mut self) -> Result<()> {
        let id = self.record.id.clone();
        match self.state.phase {
            Phase::Paused => {
                return Err(Error::conflict(format!("container {id} is already paused")));
            }
            Phase::Running => {}
            Phase::Restarting => {
                return Err(Error::conflict(format!(
                    "container {id} is restarting, wait until the container is running"
                )));
            }
            _ => return Err(Error::conflict(format!("container {id} is not running"))),
        }
        let asked = lighter_containerd_api::tasks::PauseTaskRequest {
            container_id: id.clone(),
        };
        let paused = self.inner.layer.tasks().pause(asked).await;
        paused.map_err(|status| cannot("pause", &id, &status))?;
        self.become_now(Phase::Paused, "pause").await
    }

    async fn unpause(&mut self) -> Result<()> {
        let id = self.record.id.clone();
        if self.state.phase != Phase::Paused {
            return Err(Error::conflict(format!("Container {id} is not paused")));
        }
        let asked = lighter_containerd_api::tasks::ResumeTaskRequest {
            container_id: id.clone(),
        };
        let resumed = self.inner.layer.tasks().resume(asked).await;
        resumed.map_err(|status| cannot("unpause", &id, &status))?;
        self.become_now(Phase::Running, "unpause").await
    }

    async fn become_now(&mut self, phase: Phase, event: &str) -> Result<()> {
        self.state.phase = phase;
        self.keep().await?;
        self.publish();
        self.event(event, &[]);
        Ok(())
    }

    async fn rename(&mut self, name: String) -> Result<()> {
        let old = self.record.name.clone();
        if old == name {
            return Err(Error::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        let taken = |mut error: Error| {
            error.message = format!("Error when allocating new name: {}", error.message);
            error
        };
        self.inner
            .containers
            .reserve(&name, &self.record.id)
            .map_err(taken)?;
        self.record.name.clone_from(&name);
        if let Err(error) = self.inner.store.put(&self.record).await {
            self.inner.containers.release(&name, &self.record.id);
            self.record.name = old;
            return Err(error);
        }
        self.inner.containers.release(&old, &self.record.id);
        self.publish();
        self.event("rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    async fn oom(&mut self) {
        self.state.oom_killed = true;
        self.event("oom", &[]);
        if let Err(error) = self.keep().await {
            tracing::warn!(
                error = error.text(),
                id = self.record.id,
                "an OOM kill was not recorded"
            );
        }
        self.publish();
    }
}

fn cannot(what: &str, id: &str, status: &tonic::Status) -> Error {
    let mut error = Error::from_layer(status);
    error.message = format!("cannot {what} container {id}: {}", error.message);
    error
}

impl Container {
    /// Asks the actor and waits for its answer.
    pub(crate) async fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::not_found(format!("No such container: {}", self.id));
        self.commands.send(command(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

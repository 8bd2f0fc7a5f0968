//! Taking a container away.

use std::io::ErrorKind;

use lighter_containerd_api::snapshots::RemoveSnapshotRequest;
use lighter_stdx::failpoint;
use tonic::Code;

use super::actor::{Actor, Command};
use super::exit::end_run;
use super::{Phase, RemoveOptions};
use crate::images::SNAPSHOTTER;
use crate::{Engine, Error, Inner, Kind, Result};

impl Engine {
    /// Removes a container. One that runs must be stopped first, or `force` be set.
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        if options.link {
            return Err(Error::not_found(format!("No such link: {name}")));
        }
        let view = container.view();
        match view.state.phase {
            Phase::Running | Phase::Paused | Phase::Restarting if !options.force => {
                let (is, first) = match view.state.phase {
                    Phase::Paused => ("paused", "unpause and then stop the container"),
                    Phase::Restarting => ("restarting", "stop the container"),
                    _ => ("running", "stop the container"),
                };
                let name = &view.record.name;
                return Err(Error::conflict(format!(
                    "cannot remove container \"{name}\": container is {is}: {first} before removing or force remove"
                )));
            }
            Phase::Running | Phase::Paused | Phase::Restarting => self.end(&container).await?,
            Phase::Removing => {
                return Err(Error::conflict(format!(
                    "removal of container {name} is already in progress"
                )));
            }
            _ => {}
        }
        loop {
            match container.ask(Command::Remove).await {
                // Its own `--rm` was faster.
                Err(error) if error.kind == Kind::NotFound => return Ok(()),
                // Somebody started it meanwhile.
                Err(error) if error.kind == Kind::Conflict && options.force => self.end(&container).await?,
                result => return result,
            }
        }
    }
}

impl Actor {
    /// Removes everything of the container, its record last. What has begun goes on after a restart of the engine.
    pub(super) async fn remove(&mut self) -> Result<()> {
        if self.state.phase.alive() || self.state.phase == Phase::Restarting {
            return Err(Error::conflict(format!(
                "cannot remove container \"{}\": container is running: stop the container before removing or force remove",
                self.record.name
            )));
        }
        self.take_away(false).await
    }

    /// The removal itself; `ended` is whether nothing of a run is left.
    pub(super) async fn take_away(&mut self, ended: bool) -> Result<()> {
        self.record.removing = true;
        self.state.phase = Phase::Removing;
        self.publish();
        if let Err(error) = self.inner.store.put_soon(&self.record).await {
            // A full disk, most likely: what follows makes room. Without the mark a death on the way leaves a container that can be
            // removed once more.
            tracing::warn!(
                error = error.text(),
                id = self.record.id,
                "a removal was not noted"
            );
        }
        failpoint::hit("engine.remove.marked");
        let gone = match ended {
            true => erase(&self.inner, &self.record.id).await,
            false => wipe(&self.inner, &self.record.id).await,
        };
        failpoint::hit("engine.remove.wiped");
        let durable = !self.record.host_config.auto_remove;
        let forgotten = match gone {
            Ok(()) => self.inner.store.delete(&self.record.id, durable).await,
            Err(error) => Err(error),
        };
        if let Err(error) = forgotten {
            self.state.phase = Phase::Dead;
            self.state.error = error.text();
            self.keep_or_warn().await;
            self.publish();
            return Err(error);
        }
        if let Some(container) = self.container() {
            container.hub.dismiss();
        }
        self.inner.containers.remove(&self.record.id);
        self.event("destroy", &[]);
        self.publish_as(true);
        Ok(())
    }
}

/// Removes all that a container has outside the engine's database. Goes on after errors and reports the first.
pub(super) async fn wipe(inner: &Inner, id: &str) -> Result<()> {
    let ended = end_run(inner, id).await;
    let erased = erase(inner, id).await;
    ended.map_err(|error| unremoved(id, error)).and(erased)
}

/// Removes what a container without a run has there: its layer and its files.
async fn erase(inner: &Inner, id: &str) -> Result<()> {
    let snapshot = async {
        let asked = RemoveSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: id.to_owned(),
        };
        match inner.layer.snapshots().remove(asked).await {
            Err(status) if status.code() != Code::NotFound => Err(Error::from_layer(&status)),
            _ => Ok(()),
        }
    };
    let dir = inner.config.container_dir(id);
    let files = async {
        match tokio::fs::remove_dir_all(&dir).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::system(format!("remove {}", dir.display())).with_source(error))
            }
            _ => Ok(()),
        }
    };
    let (snapshot, files) = tokio::join!(snapshot, files);
    snapshot.and(files).map_err(|error| unremoved(id, error))
}

fn unremoved(id: &str, error: Error) -> Error {
    Error::system(format!("container {id}: failed to remove it")).with_source(error)
}

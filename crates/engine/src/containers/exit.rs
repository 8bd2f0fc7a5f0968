//! The end of a container's process: seen, recorded, cleaned up after.

use std::time::Duration;

use jiff::Timestamp;
use lighter_containerd_api::containers::DeleteContainerRequest;
use lighter_containerd_api::tasks::{DeleteTaskRequest, KillRequest, WaitRequest};
use lighter_stdx::failpoint;
use tonic::Code;

use super::actor::{Actor, Command};
use super::{Phase, restart};
use crate::layer::Layer;
use crate::{Error, Inner, Result};

/// After a failed question to the layer, before it is asked again; doubled each time.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a killed task may take to be gone.
const KILLED: Duration = Duration::from_secs(10);

/// The code of a process whose end nobody saw: as if it had been killed, which it most likely was.
const UNKNOWN: u32 = 137;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: u32,
    /// When, if that is known.
    pub(crate) at: Option<Timestamp>,
}

impl Exit {
    /// Nobody saw it.
    pub(crate) const UNSEEN: Self = Self {
        code: UNKNOWN,
        at: None,
    };

    pub(crate) fn new(code: u32, at: Option<prost_types::Timestamp>) -> Self {
        Self {
            code,
            at: at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok()),
        }
    }
}

/// Waits for a process to end, through any number of deaths of the layer. `exec` is empty for the container's first.
pub(crate) async fn wait(layer: &Layer, container: &str, exec: &str) -> Exit {
    let mut pause = PAUSE;
    loop {
        let asked = WaitRequest {
            container_id: container.to_owned(),
            exec_id: exec.to_owned(),
        };
        match layer.tasks().wait(asked).await {
            Ok(ended) => {
                let ended = ended.into_inner();
                return Exit::new(ended.exit_status, ended.exited_at);
            }
            Err(status) if status.code() == Code::NotFound => return Exit::UNSEEN,
            Err(status) => {
                tracing::debug!(container, exec, %status, "waiting again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Takes a task out of the layer, whatever its state. One that is not there is no error.
pub(crate) async fn discard(layer: &Layer, id: &str) -> Result<()> {
    let delete = || DeleteTaskRequest {
        container_id: id.to_owned(),
    };
    match layer.tasks().delete(delete()).await {
        Ok(_) => return Ok(()),
        Err(status) if status.code() == Code::NotFound => return Ok(()),
        Err(status) if status.code() == Code::FailedPrecondition => {}
        Err(status) => return Err(Error::from_layer(&status)),
    }
    let kill = KillRequest {
        container_id: id.to_owned(),
        exec_id: String::new(),
        signal: 9,
        all: true,
    };
    match layer.tasks().kill(kill).await {
        Ok(_) => {}
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(Error::from_layer(&status)),
    }
    if tokio::time::timeout(KILLED, wait(layer, id, "")).await.is_err() {
        return Err(Error::system(format!("the task of container {id} does not end")));
    }
    match layer.tasks().delete(delete()).await {
        Err(status) if status.code() != Code::NotFound => Err(Error::from_layer(&status)),
        _ => Ok(()),
    }
}

/// Takes a container's record out of the layer. One that is not there is no error.
pub(crate) async fn discard_record(layer: &Layer, id: &str) -> Result<()> {
    match layer
        .containers()
        .delete(DeleteContainerRequest { id: id.to_owned() })
        .await
    {
        Err(status) if status.code() != Code::NotFound => Err(Error::from_layer(&status)),
        _ => Ok(()),
    }
}

/// Takes away what a run has outside the engine's database: task, record in the layer, network. Goes on after errors and reports
/// the first.
pub(super) async fn end_run(inner: &Inner, id: &str) -> Result<()> {
    let things = async {
        let task = discard(&inner.layer, id).await;
        task.and(discard_record(&inner.layer, id).await)
    };
    let network = async {
        let torn = inner.network.teardown(id).await;
        torn.map_err(|error| Error::system("network").with_source(error))
    };
    let (things, network) = tokio::join!(things, network);
    things.and(network)
}

impl Actor {
    /// Has this run's end told to us.
    pub(super) fn watch(&mut self) {
        self.run += 1;
        let (run, id, layer) = (self.run, self.record.id.clone(), self.inner.layer.clone());
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let exit = wait(&layer, &id, "").await;
            if let Some(sender) = sender.upgrade() {
                // The actor ends only with its container.
                let _ = sender.send(Command::Exited(run, exit));
            }
        });
    }

    pub(super) async fn exited(&mut self, run: u64, exit: Exit) {
        if run == self.run && self.state.phase.alive() {
            self.finish(exit).await;
        }
    }

    /// Records an end, cleans up after it, and goes on as the container's policy says.
    pub(super) async fn finish(&mut self, exit: Exit) {
        let now = self.inner.config.clock.now();
        let finished = exit.at.unwrap_or(now);
        self.state.phase = Phase::Exited;
        self.state.pid = 0;
        self.state.exit_code = i64::from(exit.code);
        self.state.finished = Some(finished);
        self.state.exits += 1;
        // Before the layer forgets it.
        let recorded = self.keep().await;
        failpoint::hit("engine.exit.recorded");
        let ended = self.clean_up().await;
        if recorded.is_err() {
            self.keep_or_warn().await;
        }
        failpoint::hit("engine.exit.cleaned");
        let ran = self
            .state
            .started
            .map_or(0, |started| finished.duration_since(started).as_secs().max(0));
        let details = [
            ("execDuration", ran.to_string()),
            ("exitCode", exit.code.to_string()),
        ];
        if self.will_restart(ran) {
            self.state.phase = Phase::Restarting;
            self.state.restarts += 1;
            self.keep_or_warn().await;
            self.publish();
            self.event("die", &details);
            let pause = restart::next_pause(&mut self.pause, ran);
            self.schedule(pause);
            return;
        }
        if self.record.host_config.auto_remove {
            self.event("die", &details);
            if let Err(error) = self.take_away(ended).await {
                tracing::warn!(
                    error = error.text(),
                    id = self.record.id,
                    "an ended container was not removed"
                );
            }
            return;
        }
        self.publish();
        self.event("die", &details);
    }

    /// Takes away what a run had, also the processes that joined. Whether nothing of it is left.
    pub(super) async fn clean_up(&mut self) -> bool {
        let id = &self.record.id;
        if let Some(container) = self.container() {
            container.hub.close();
        }
        self.inner.execs.forget(id);
        let ended = end_run(&self.inner, id).await;
        if let Err(error) = &ended {
            tracing::warn!(error = error.text(), id, "after the end of a container");
        }
        ended.is_ok()
    }

    pub(super) async fn keep_or_warn(&self) {
        if let Err(error) = self.keep().await {
            tracing::error!(
                error = error.text(),
                id = self.record.id,
                "a container's state was not recorded"
            );
        }
    }
}

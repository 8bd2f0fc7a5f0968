//! Stopping: signals, and patience.

use std::sync::Arc;
use std::time::Duration;

use lighter_containerd_api::tasks::{KillRequest, ResumeTaskRequest};

use super::actor::{Actor, Command};
use super::{Container, Phase, StopOptions};
use crate::{Engine, Error, Kind, Result};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Seconds between the stop signal and SIGKILL.
const PATIENCE: i64 = 10;

/// How long a killed container may take to be gone.
const KILLED: Duration = Duration::from_secs(10);

/// Signals 1 to 31 by number.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Reads `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
pub(crate) fn signal(text: &str) -> Result<i32> {
    let bad = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(bad())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real = |name: &str| {
        let (base, sign, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            // The C library keeps the first two of the kernel's for itself.
            (Some(rest), _) => (34, 1, rest.strip_prefix('+')),
            (_, Some(rest)) => (64, -1, rest.strip_prefix('-')),
            _ => return None,
        };
        let offset = rest.map_or(Some(0), |rest| rest.parse::<i32>().ok())?;
        Some(base + sign * offset).filter(|number| (34..=64).contains(number))
    };
    let plain = NAMES
        .iter()
        .position(|known| *known == name)
        .and_then(|place| i32::try_from(place + 1).ok());
    let other = match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        _ => None,
    };
    plain.or(other).or_else(|| real(name)).ok_or_else(bad)
}

impl Engine {
    /// Sends a signal, SIGKILL unless another is named.
    pub async fn kill(&self, name: &str, wanted: Option<&str>) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        let number = match wanted {
            None | Some("") => SIGKILL,
            Some(text) => signal(text).map_err(|mut error| {
                error.message = format!("cannot kill container: {name}: {}", error.message);
                error
            })?,
        };
        container
            .ask(|reply| Command::Kill {
                signal: number,
                reply,
            })
            .await?;
        if number == SIGKILL {
            // As Docker does: who kills finds it dead.
            ended(&container, Some(KILLED)).await;
        }
        Ok(())
    }

    /// Asks the container to end, and kills it when it does not in time.
    pub async fn stop(&self, name: &str, options: StopOptions) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        let phase = container.view().state.phase;
        if !phase.alive() && phase != Phase::Restarting {
            return Err(Error::not_modified(format!(
                "container {} is not running",
                container.id
            )));
        }
        self.stop_container(&container, options).await
    }

    async fn stop_container(&self, container: &Arc<Container>, options: StopOptions) -> Result<()> {
        let view = container.view();
        let config = &view.record.config;
        let number = match (options.signal.as_deref(), config.stop_signal.as_str()) {
            (Some(text), _) if !text.is_empty() => signal(text)?,
            (_, "") => SIGTERM,
            (_, own) => signal(own).unwrap_or(SIGTERM),
        };
        let patience = options.timeout.or(config.stop_timeout).unwrap_or(PATIENCE);
        let sent = container
            .ask(|reply| Command::Kill {
                signal: number,
                reply,
            })
            .await;
        match sent {
            Ok(()) => {}
            // It ended on its own.
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        }
        let patience = u64::try_from(patience).ok().map(Duration::from_secs);
        if !ended(container, patience).await {
            self.end(container).await?;
        }
        if let Some(view) = Some(container.view()).filter(|view| !view.removed) {
            self.inner.events.publish(
                "container",
                "stop",
                container.id.clone(),
                view.record.attributes(),
            );
        }
        Ok(())
    }

    /// Kills a container and waits for its end.
    pub(crate) async fn end(&self, container: &Arc<Container>) -> Result<()> {
        match container
            .ask(|reply| Command::Kill {
                signal: SIGKILL,
                reply,
            })
            .await
        {
            Ok(()) => {}
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        }
        match ended(container, Some(KILLED)).await {
            true => Ok(()),
            false => Err(Error::system(format!(
                "container {} was killed and does not end: its processes hang in the kernel",
                container.id
            ))),
        }
    }

    /// Stops and starts.
    pub async fn restart(&self, name: &str, options: StopOptions) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        let phase = container.view().state.phase;
        if phase.alive() || phase == Phase::Restarting {
            self.stop_container(&container, options).await?;
        }
        match container.ask(Command::Start).await {
            Err(error) if error.kind == Kind::NotModified => Ok(()),
            result => result,
        }?;
        self.inner.events.publish(
            "container",
            "restart",
            container.id.clone(),
            container.view().record.attributes(),
        );
        Ok(())
    }

    /// Freezes all processes of a container.
    pub async fn pause(&self, name: &str) -> Result<()> {
        self.inner.containers.find(name)?.ask(Command::Pause).await
    }

    /// Lets them go on.
    pub async fn unpause(&self, name: &str) -> Result<()> {
        self.inner.containers.find(name)?.ask(Command::Unpause).await
    }

    /// Gives a container another name.
    pub async fn rename(&self, name: &str, new: &str) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        if new.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let new = crate::names::check(new)?.to_owned();
        container.ask(|reply| Command::Rename(new, reply)).await
    }

    /// Tells a container's terminal its size.
    pub async fn resize(&self, name: &str, height: u16, width: u16) -> Result<()> {
        let container = self.inner.containers.find(name)?;
        if !container.view().state.phase.alive() {
            return Err(Error::conflict(format!(
                "container {} is not running",
                container.id
            )));
        }
        let asked = lighter_containerd_api::tasks::ResizePtyRequest {
            container_id: container.id.clone(),
            exec_id: String::new(),
            width: width.into(),
            height: height.into(),
        };
        let resized = self.inner.layer.tasks().resize_pty(asked).await;
        resized.map(drop).map_err(|status| Error::from_layer(&status))
    }
}

/// Waits until a container does not run; for ever without `patience`. Whether it came to that.
async fn ended(container: &Container, patience: Option<Duration>) -> bool {
    let mut views = container.view.clone();
    // An error means that the container is gone altogether.
    let end = views.wait_for(|view| {
        view.removed || !(view.state.phase.alive() || view.state.phase == Phase::Restarting)
    });
    match patience {
        Some(patience) => tokio::time::timeout(patience, end).await.is_ok(),
        None => {
            let _ = end.await;
            true
        }
    }
}

impl Actor {
    /// Sends a signal. A signal that is to end the container takes it from its restart policy.
    pub(super) async fn kill(&mut self, number: i32) -> Result<()> {
        let Self { record, state, .. } = &*self;
        let own = signal(&record.config.stop_signal).ok();
        let final_one = number == SIGKILL || own.is_none_or(|own| own == number);
        match state.phase {
            Phase::Running | Phase::Paused => {}
            Phase::Restarting => {
                self.record.stopped_by_user = true;
                self.state.phase = Phase::Exited;
                self.run += 1;
                self.keep().await?;
                self.publish();
                return self.inner.store.put_soon(&self.record).await;
            }
            _ => {
                let (name, id) = (&record.name, &record.id);
                return Err(Error::conflict(format!(
                    "cannot kill container: {name}: container {id} is not running"
                )));
            }
        }
        if final_one
            && !record.stopped_by_user
            && !matches!(record.host_config.restart_policy.name.as_str(), "" | "no")
        {
            self.record.stopped_by_user = true;
            self.inner.store.put_soon(&self.record).await?;
        }
        let id = self.record.id.clone();
        let asked = KillRequest {
            container_id: id.clone(),
            exec_id: String::new(),
            signal: number.unsigned_abs(),
            all: false,
        };
        match self.inner.layer.tasks().kill(asked).await {
            Ok(_) => {}
            // It has ended and we are about to hear of it.
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => {
                let mut error = Error::from_layer(&status);
                error.message = format!("cannot kill container: {}: {}", self.record.name, error.message);
                return Err(error);
            }
        }
        if self.state.phase == Phase::Paused && final_one {
            let resumed = self
                .inner
                .layer
                .tasks()
                .resume(ResumeTaskRequest { container_id: id })
                .await;
            if resumed.is_ok() {
                self.state.phase = Phase::Running;
                self.publish();
            }
        }
        self.event("kill", &[("signal", number.to_string())]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_docker_reads_them() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX", 64),
            ("64", 64),
        ] {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "65", "NOPE", "SIG", "RTMIN+99", "-1"] {
            assert_eq!(
                signal(text).unwrap_err().message,
                format!("invalid signal: {text}")
            );
        }
    }
}

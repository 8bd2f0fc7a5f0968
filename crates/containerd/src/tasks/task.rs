//! One task: its shim, its init process, and what is known of its exit.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lighter_shim_api::events::TaskExit;
use lighter_shim_api::task;
use lighter_stdx::failpoint;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::bundle::{Bundle, Exit, Record};
use super::shim::{self, Shim};
use super::{Process, Status};
use crate::events::Bus;
use crate::{Error, Result, time};

/// A task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) bundle: Bundle,
    /// The shim's program, for its `delete`.
    pub(crate) binary: Option<PathBuf>,
    /// `None` when it was gone already when we started.
    shim: Option<Shim>,
    record: Mutex<Record>,
    /// The init process; `None` when it was gone already, or is not there yet.
    init: Mutex<Option<OwnedFd>>,
    status: Mutex<Status>,
    exit: watch::Sender<Option<Exit>>,
    execs: Mutex<HashMap<String, watch::Receiver<Option<Exit>>>>,
    /// Set before the shim is asked to end, so that its end is no accident.
    removing: AtomicBool,
    /// Held by what must not overlap: start, exit, delete, and the burial after the shim's death.
    pub(crate) turn: tokio::sync::Mutex<()>,
    bus: Bus,
}

impl Task {
    pub(crate) fn new(
        bundle: Bundle,
        binary: Option<PathBuf>,
        shim: Option<Shim>,
        record: Record,
        status: Status,
        bus: Bus,
    ) -> Task {
        let init = open(record.pid);
        Task {
            bundle,
            binary,
            shim,
            record: Mutex::new(record),
            init: Mutex::new(init),
            status: Mutex::new(status),
            exit: watch::Sender::new(None),
            execs: Mutex::default(),
            removing: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
            bus,
        }
    }

    pub(crate) fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// The init of a container that comes back from a checkpoint is there once it is started.
    pub(crate) fn born(&self, pid: u32) -> Result<()> {
        let mut record = lock(&self.record);
        if record.pid == pid {
            return Ok(());
        }
        record.set_pid(pid);
        *lock(&self.init) = open(pid);
        self.bundle.write("task.json", &*record)
    }

    /// The shim; [`Error::ShimGone`] as what a client makes of it: the process has finished.
    pub(crate) fn shim(&self) -> Result<&Shim> {
        match &self.shim {
            Some(shim) if !self.is_dead() => Ok(shim),
            _ => Err(Error::Answer {
                kind: crate::Kind::NotFound,
                message: "process already finished: not found".to_owned(),
            }),
        }
    }

    /// The shim, whatever became of it.
    pub(crate) fn any_shim(&self) -> Option<&Shim> {
        self.shim.as_ref()
    }

    /// Whether the shim died before the task was deleted.
    pub(crate) fn is_dead(&self) -> bool {
        *lock(&self.status) == Status::Dead || self.shim.is_none()
    }

    pub(crate) fn set_status(&self, status: Status) {
        let mut now = lock(&self.status);
        if !matches!(*now, Status::Stopped | Status::Dead) || status == Status::Dead {
            *now = status;
        }
    }

    pub(crate) fn removing(&self) -> bool {
        self.removing.load(Ordering::Acquire)
    }

    pub(crate) fn set_removing(&self) {
        self.removing.store(true, Ordering::Release);
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    pub(crate) fn watch_exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    pub(crate) fn exec(&self, exec_id: &str) -> Option<watch::Receiver<Option<Exit>>> {
        lock(&self.execs).get(exec_id).cloned()
    }

    pub(crate) fn forget_exec(&self, exec_id: &str) {
        lock(&self.execs).remove(exec_id);
    }

    /// Keeps the init's exit, tells those who wait, and publishes it; the first one counts.
    pub(crate) fn exited(&self, exit: Exit) {
        if self.exit().is_some() {
            return;
        }
        self.set_status(Status::Stopped);
        failpoint::hit("layer.exit.heard");
        if let Err(error) = self.bundle.write("exit.json", &exit) {
            // Its readers are served from memory, or by the shim after a restart.
            tracing::warn!(id = %self.bundle.id, error = %lighter_stdx::error::chain(&error), "exit not kept");
        }
        failpoint::hit("layer.exit.recorded");
        self.exit.send_replace(Some(exit));
        self.publish_exit(&self.bundle.id, self.record().pid, exit);
    }

    /// An exit that was kept before we started.
    pub(crate) fn restore_exit(&self, exit: Exit) {
        self.set_status(Status::Stopped);
        self.exit.send_replace(Some(exit));
    }

    fn publish_exit(&self, id: &str, pid: u32, exit: Exit) {
        let event = TaskExit {
            container_id: self.bundle.id.clone(),
            id: id.to_owned(),
            pid,
            exit_status: exit.status,
            exited_at: Some(time::to_wire(exit.at)),
            ..TaskExit::default()
        };
        self.bus.task(&self.bundle.namespace, &event);
    }

    /// Follows an exec process that was started.
    pub(crate) fn follow_exec(self: &Arc<Self>, exec_id: &str, pid: u32) {
        let Some(shim) = self.shim.clone() else { return };
        let (sender, receiver) = watch::channel(None);
        lock(&self.execs).insert(exec_id.to_owned(), receiver);
        let (task, exec_id) = (self.clone(), exec_id.to_owned());
        tokio::spawn(async move {
            let exit = match shim.wait(&exec_id).await {
                Ok(exit) => exit,
                // With the shim its processes go.
                Err(Error::ShimGone(_)) => match task.wait_init().await {
                    Some(init) => Exit {
                        status: 137,
                        at: init.at,
                        known: false,
                    },
                    None => return,
                },
                Err(_) => return,
            };
            sender.send_replace(Some(exit));
            task.publish_exit(&exec_id, pid, exit);
        });
    }

    /// Waits for the init's exit; `None` if the task was dropped.
    pub(crate) async fn wait_init(&self) -> Option<Exit> {
        let mut receiver = self.watch_exit();
        let exit = receiver.wait_for(Option::is_some).await.ok()?;
        *exit
    }

    /// What is known of the init without its shim.
    pub(crate) fn finished(&self) -> Process {
        let (exit, record) = (self.exit(), self.record());
        Process {
            id: self.bundle.id.clone(),
            container_id: self.bundle.id.clone(),
            pid: record.pid,
            status: if exit.is_some() {
                Status::Stopped
            } else {
                Status::Unknown
            },
            stdin: record.stdin,
            stdout: record.stdout,
            stderr: record.stderr,
            terminal: record.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at),
        }
    }

    /// The state of a process, from the shim while there is one.
    pub(crate) async fn process(&self, exec_id: &str, timeout: Duration) -> Result<Process> {
        if self.is_dead() {
            return match exec_id {
                "" => Ok(self.finished()),
                exec => Err(Error::not_found("process", exec)),
            };
        }
        let answer = self.shim()?.state(exec_id, timeout).await;
        match answer {
            Ok(state) => Ok(process(&self.bundle.id, state)),
            Err(Error::ShimGone(_)) if exec_id.is_empty() => {
                self.wait_init().await;
                Ok(self.finished())
            }
            Err(error) => Err(error),
        }
    }

    /// Kills the init and waits until it is gone. Tells the true code if it had exited by itself.
    pub(crate) async fn kill_init(&self, now: Timestamp) -> Exit {
        let guess = Exit {
            status: 137,
            at: now,
            known: false,
        };
        let Some(init) = lock(&self.init).as_ref().and_then(|fd| fd.try_clone().ok()) else {
            return guess;
        };
        let by_itself = lighter_sys::pidfd::wait_exit(init.as_fd(), Some(Duration::ZERO)).unwrap_or(false);
        if !by_itself {
            // It may end between the question and the kill: then the code below is the guess, which is what we know.
            let _ = lighter_sys::pidfd::send_signal(init.as_fd(), 9);
        }
        let Ok(init) = watch_process(init) else {
            return guess;
        };
        let gone = tokio::time::timeout(Duration::from_secs(2), init.readable()).await;
        if gone.is_err() {
            tracing::warn!(id = %self.bundle.id, pid = self.record().pid, "the init of a dead shim does not go");
        }
        if !by_itself {
            return guess;
        }
        // The kernel keeps the code once somebody has reaped the process: its new parent, in a moment.
        for _ in 0..20 {
            let info = lighter_sys::pidfd::info(init.get_ref().as_fd());
            match info.map(|info| info.exit_status) {
                Ok(Some(raw)) => {
                    return Exit {
                        status: code(raw),
                        at: now,
                        known: true,
                    };
                }
                Ok(None) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(_) => break,
            }
        }
        guess
    }
}

/// `None` for a process that is gone already.
fn open(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    lighter_sys::pidfd::open(pid).ok()
}

/// A pidfd whose process's exit can be awaited.
#[expect(
    deprecated,
    reason = "its replacement is unsafe for the sake of types that lend out their descriptor; OwnedFd does not"
)]
pub(crate) fn watch_process(pidfd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(pidfd)
}

/// Exit code of a wait status: the code, or 128 and the signal.
fn code(raw: i32) -> u32 {
    let (signal, code) = (raw & 0x7f, (raw >> 8) & 0xff);
    u32::try_from(if signal == 0 { code } else { 128 + signal }).unwrap_or(255)
}

/// A process as its shim tells it.
pub(crate) fn process(container: &str, state: task::StateResponse) -> Process {
    let status = match state.status {
        1 => Status::Created,
        2 => Status::Running,
        3 => Status::Stopped,
        4 => Status::Paused,
        5 => Status::Pausing,
        _ => Status::Unknown,
    };
    let exit = (status == Status::Stopped).then(|| shim::exit(state.exit_status, state.exited_at.as_ref()));
    let id = if state.exec_id.is_empty() {
        state.id
    } else {
        state.exec_id
    };
    Process {
        id,
        container_id: container.to_owned(),
        pid: state.pid,
        status,
        stdin: state.stdin,
        stdout: state.stdout,
        stderr: state.stderr,
        terminal: state.terminal,
        exit_status: state.exit_status,
        exited_at: exit.map(|exit| exit.at),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn a_wait_status_is_told_as_shells_do() {
        assert_eq!([code(7 << 8), code(9), code(0)], [7, 137, 0]);
    }
}

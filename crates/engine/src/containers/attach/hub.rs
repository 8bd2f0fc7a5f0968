//! Where those who attach to a container meet its process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::Attached;
use super::connection::{Connection, Wish};

/// Someone who waits to be attached.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) input: oneshot::Sender<Arc<UnixStream>>,
    pub(super) output: oneshot::Sender<Connection>,
}

impl Waiter {
    async fn connect(self, path: &Path) {
        if self.output.is_closed() {
            return;
        }
        match Connection::open(path).await {
            Ok(connection) => {
                // Who waited may be gone by now.
                let _ = self.input.send(connection.stream.clone());
                let _ = self.output.send(connection);
            }
            Err(error) => tracing::warn!(%error, socket = %path.display(), "a client is not attached"),
        }
    }
}

/// Where those who attach to a container meet its process, one per container.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<Meeting>);

#[derive(Debug, Default)]
struct Meeting {
    /// The attach socket of the process that runs or is about to.
    socket: Option<PathBuf>,
    waiters: Vec<Waiter>,
}

impl Hub {
    /// The process is made and does not run yet, or was found running: who waited is connected when this returns, so that
    /// none of the output is lost on them.
    pub(crate) async fn open(&self, socket: &Path) {
        let waiters = {
            let mut meeting = self.lock();
            meeting.socket = Some(socket.to_owned());
            std::mem::take(&mut meeting.waiters)
        };
        futures_util::future::join_all(waiters.into_iter().map(|waiter| waiter.connect(socket))).await;
    }

    /// The process is gone. Who comes now waits for the next.
    pub(crate) fn close(&self) {
        self.lock().socket = None;
    }

    /// There will be no process: who waited waits no more.
    pub(crate) fn dismiss(&self) {
        let mut meeting = self.lock();
        meeting.socket = None;
        meeting.waiters.clear();
    }

    /// The socket to connect to, or a place among those who wait.
    pub(super) fn meet(&self, wish: Wish) -> Met {
        let mut meeting = self.lock();
        match meeting.socket.clone() {
            Some(socket) => Met::Socket(socket, wish),
            None => {
                let (attached, waiter) = wish.waiting();
                meeting.waiters.retain(|waiter| !waiter.output.is_closed());
                meeting.waiters.push(waiter);
                Met::Waiting(attached)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Meeting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) enum Met {
    Socket(PathBuf, Wish),
    Waiting(Attached),
}

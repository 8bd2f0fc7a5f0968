//! Attaching: a process's output and input, carried between a client and the shim.
//!
//! Output goes from the shim to the client without a copy of the engine's: when the engine dies, the client's connection
//! breaks and the process does not notice.

mod connection;
mod hub;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use lighter_logs::Source;

pub(super) use connection::{Connection, Wish};
pub use connection::{Input, InputClosed};
pub(crate) use hub::Hub;
use hub::Met;

use super::detach::Keys;
use super::{Phase, View};
use crate::logs::LogOptions;
use crate::{Engine, Error, Result};

/// What a client wants of a container.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// To write to its input.
    pub stdin: bool,
    /// Its output.
    pub stdout: bool,
    /// Its errors.
    pub stderr: bool,
    /// What it writes from now on.
    pub stream: bool,
    /// What it has written.
    pub logs: bool,
    /// Keys that end the attachment and leave the process alone: `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
}

/// Where a piece of output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Never sent by us; the wire has a number for it.
    Stdin,
    /// Output, or all that a terminal shows.
    Stdout,
    /// Errors.
    Stderr,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where it comes from.
    pub stream: StreamKind,
    /// What it is; never empty.
    pub bytes: Bytes,
}

/// What a process writes. It ends with the process, or when the client has detached.
pub type Output = Pin<Box<dyn Stream<Item = Frame> + Send>>;

/// A process that a client is attached to.
pub struct Attached {
    /// What it writes.
    pub output: Output,
    /// Where its input goes.
    pub input: Option<Input>,
    /// Whether it has a terminal.
    pub tty: bool,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached")
            .field("tty", &self.tty)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Attaches to a container's first process; to one that does not run from its next start on.
    pub async fn attach(&self, name: &str, options: AttachOptions) -> Result<Attached> {
        let keys = Keys::parse(options.detach_keys.as_deref().unwrap_or_default());
        let keys = keys.map_err(|text| Error::invalid(format!("Invalid detach keys ({text}) provided")))?;
        let container = self.inner.containers.find(name)?;
        let view = container.view();
        let refuse = |what: &str| {
            Err(Error::conflict(format!(
                "container {name} is {what} before attach"
            )))
        };
        match view.state.phase {
            Phase::Paused => return refuse("paused, unpause the container"),
            Phase::Restarting => {
                return Err(Error::conflict(format!(
                    "container {name} is restarting, wait until the container is running"
                )));
            }
            _ => {}
        }
        let config = &view.record.config;
        let (stdout, stderr, tty) = (options.stdout, options.stderr, config.tty);
        let wish = Wish {
            stdin: options.stdin && config.open_stdin,
            stdout,
            stderr,
            tty,
            keys: tty.then_some(keys),
            close: config.stdin_once && !tty,
        };
        let live = match options.stream {
            false => None,
            true => Some(match container.hub.meet(wish) {
                Met::Waiting(attached) => attached,
                Met::Socket(socket, wish) => connect(&socket, wish).await?,
            }),
        };
        let attributes = view.record.attributes();
        self.inner
            .events
            .publish("container", "attach", container.id.clone(), attributes);
        let past = match options.logs {
            true => Some(self.past(&view, stdout, stderr)?),
            false => None,
        };
        let Attached { output, input, tty } = live.unwrap_or_else(|| Attached {
            output: Box::pin(stream::empty()),
            input: None,
            tty,
        });
        let output = match past {
            Some(past) => Box::pin(past.chain(output)),
            None => output,
        };
        Ok(Attached { output, input, tty })
    }

    /// What was written until now.
    fn past(
        &self,
        view: &View,
        stdout: bool,
        stderr: bool,
    ) -> Result<impl Stream<Item = Frame> + Send + use<>> {
        let (_, lines) = self.logs(&view.record.id, LogOptions::default())?;
        Ok(lines.filter_map(move |entry| {
            let frame = entry.ok().and_then(|entry| match entry.source {
                Source::Stdout if stdout => Some(Frame {
                    stream: StreamKind::Stdout,
                    bytes: entry.line,
                }),
                Source::Stderr if stderr => Some(Frame {
                    stream: StreamKind::Stderr,
                    bytes: entry.line,
                }),
                _ => None,
            });
            std::future::ready(frame)
        }))
    }
}

/// Connects to a process that ran when we last knew.
async fn connect(socket: &Path, wish: Wish) -> Result<Attached> {
    match Connection::open(socket).await {
        Ok(connection) => Ok(wish.of(connection)),
        // It has ended since: there is nothing more to be seen.
        Err(error) if gone(&error) => Ok(Attached {
            output: Box::pin(stream::empty()),
            input: None,
            tty: wish.tty,
        }),
        Err(error) => Err(Error::system("attach to the container's output").with_source(error)),
    }
}

fn gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(
        error.kind(),
        NotFound | ConnectionRefused | ConnectionReset | BrokenPipe
    )
}

//! Attaching: a process's output and input, carried between a client and the shim.
//!
//! Output goes from the shim to the client without a copy of the engine's: when the engine dies, the client's connection
//! breaks and the process does not notice.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use lighter_logs::Source;
use lighter_shim_api::attach as wire;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::detach::{Keys, Watch};
use super::{Phase, View};
use crate::logs::LogOptions;
use crate::{Engine, Error, Result, socket};

/// How long a shim may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest frame that is believed, in bytes.
const LONGEST: usize = 16 << 20;

/// What is read at once, in bytes.
const CHUNK: usize = 32 << 10;

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

/// The process takes no more input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputClosed;

/// A process's input.
#[derive(Debug)]
pub struct Input {
    half: Half,
    /// Looks for the keys that detach; only at a terminal.
    watch: Option<Watch>,
    /// Whether the process's input ends with the client's.
    close: bool,
    /// Ends the output when sent to.
    detach: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
enum Half {
    Waiting(oneshot::Receiver<Arc<UnixStream>>),
    Open(Arc<UnixStream>),
    Closed,
}

impl Input {
    /// Passes bytes on. Waits for the process to start, and while it does not read.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), InputClosed> {
        let (bytes, left) = match &mut self.watch {
            Some(watch) => watch.pass(bytes),
            None => (bytes, false),
        };
        let written = if bytes.is_empty() {
            Ok(())
        } else {
            self.send(wire::STDIN, &bytes).await
        };
        if left {
            self.leave();
            return Err(InputClosed);
        }
        written
    }

    /// The client has nothing more to say. Source: as dockerd does, a client whose end is not the end of the process's input
    /// is not shown any more output either.
    pub async fn close(&mut self) {
        if self.close {
            // Where nobody listens any more nothing needs to be closed.
            let _ = self.send(wire::CLOSE_STDIN, &[]).await;
        } else {
            self.leave();
        }
    }

    fn leave(&mut self) {
        if let Some(detach) = self.detach.take() {
            // The output may have ended by itself.
            let _ = detach.send(());
        }
    }

    async fn send(&mut self, kind: u8, bytes: &[u8]) -> Result<(), InputClosed> {
        if let Half::Waiting(waiting) = &mut self.half {
            self.half = waiting.await.map_or(Half::Closed, Half::Open);
        }
        let Half::Open(half) = &self.half else {
            return Err(InputClosed);
        };
        let length = u32::try_from(bytes.len()).map_err(|_| InputClosed)?;
        let mut whole = wire::header(kind, length).to_vec();
        whole.extend_from_slice(bytes);
        match write_all(half, &whole).await {
            Ok(()) => Ok(()),
            Err(_) => {
                self.half = Half::Closed;
                Err(InputClosed)
            }
        }
    }
}

async fn write_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A connection to a shim's attach socket on which all that the process writes will come. The shim forgets a client that
/// has closed its half, so the halves are not apart: it is closed when nobody has it any more.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Arc<UnixStream>,
    buffer: BytesMut,
}

impl Connection {
    /// Connects and waits for the shim to be ready.
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        let opening = async {
            let stream = Arc::new(socket::connect(path).await?);
            let mut connection = Self {
                stream,
                buffer: BytesMut::new(),
            };
            match connection.next().await? {
                Some((wire::READY, _)) => Ok(connection),
                Some(_) => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the shim did not say that it is ready",
                )),
                None => Err(io::ErrorKind::ConnectionReset.into()),
            }
        };
        tokio::time::timeout(PATIENCE, opening)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The next frame: its kind and payload. `None` when the shim is gone.
    async fn next(&mut self) -> io::Result<Option<(u8, Bytes)>> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<{ wire::HEADER_LEN }>() {
                let (kind, length) = wire::parse(head);
                let length = length as usize;
                if length > LONGEST {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
                }
                if self.buffer.len() >= wire::HEADER_LEN + length {
                    self.buffer.advance(wire::HEADER_LEN);
                    return Ok(Some((kind, self.buffer.split_to(length).freeze())));
                }
                self.buffer.reserve(wire::HEADER_LEN + length - self.buffer.len());
            }
            if self.buffer.capacity() - self.buffer.len() < CHUNK / 8 {
                self.buffer.reserve(CHUNK);
            }
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What comes, until the process is gone; only the streams that are wanted.
    fn frames(self, stdout: bool, stderr: bool) -> impl Stream<Item = Frame> + Send {
        stream::unfold(self, move |mut connection| async move {
            loop {
                // A connection that broke has the same meaning as one that ended: the shim is gone.
                let (kind, bytes) = connection.next().await.ok().flatten()?;
                let stream = match kind {
                    wire::STDOUT if stdout => StreamKind::Stdout,
                    wire::STDERR if stderr => StreamKind::Stderr,
                    wire::END => return None,
                    _ => continue,
                };
                if !bytes.is_empty() {
                    return Some((Frame { stream, bytes }, connection));
                }
            }
        })
    }
}

/// What a client wants of a process, whether a container's first or another.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    /// Whether the client sees one stream.
    pub(super) tty: bool,
    /// Keys that detach; only when the process has a terminal.
    pub(super) keys: Option<Keys>,
    /// Whether the process's input ends with the client's.
    pub(super) close: bool,
}

impl Wish {
    /// A client of a process that runs, or is about to.
    pub(super) fn of(self, connection: Connection) -> Attached {
        let half = Half::Open(connection.stream.clone());
        let frames = connection.frames(self.stdout, self.stderr);
        self.join(half, frames)
    }

    /// A client of a process that is not there yet.
    fn waiting(self) -> (Attached, Waiter) {
        let (give_input, input) = oneshot::channel();
        let (give_output, output) = oneshot::channel::<Connection>();
        let (stdout, stderr) = (self.stdout, self.stderr);
        let frames = stream::once(output)
            // An error means that there will be no process.
            .filter_map(|given| std::future::ready(given.ok()))
            .flat_map(move |connection| Box::pin(connection.frames(stdout, stderr)));
        (
            self.join(Half::Waiting(input), frames),
            Waiter {
                input: give_input,
                output: give_output,
            },
        )
    }

    fn join(self, half: Half, frames: impl Stream<Item = Frame> + Send + 'static) -> Attached {
        let (detach, detached) = oneshot::channel();
        let detached = async move {
            if detached.await.is_err() {
                // The input is gone; the output goes on.
                std::future::pending::<()>().await;
            }
        };
        let input = self.stdin.then(|| Input {
            half,
            watch: self.keys.map(Watch::new),
            close: self.close,
            detach: Some(detach),
        });
        Attached {
            output: Box::pin(frames.take_until(Box::pin(detached))),
            input,
            tty: self.tty,
        }
    }
}

/// Someone who waits to be attached.
#[derive(Debug)]
struct Waiter {
    input: oneshot::Sender<Arc<UnixStream>>,
    output: oneshot::Sender<Connection>,
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
    fn meet(&self, wish: Wish) -> Met {
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

enum Met {
    Socket(PathBuf, Wish),
    Waiting(Attached),
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
        let attributes = super::stop::attributes(&view);
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

#[cfg(test)]
mod tests;

//! One client's connection to the shim's attach socket.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use lighter_shim_api::attach as wire;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::hub::Waiter;
use super::{Attached, Frame, StreamKind};
use crate::containers::detach::{Keys, Watch};
use crate::{Result, socket};

/// How long a shim may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest frame that is believed, in bytes.
const LONGEST: usize = 16 << 20;

/// What is read at once, in bytes.
const CHUNK: usize = 32 << 10;

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
pub(in crate::containers) struct Connection {
    pub(super) stream: Arc<UnixStream>,
    buffer: BytesMut,
}

impl Connection {
    /// Connects and waits for the shim to be ready.
    pub(in crate::containers) async fn open(path: &Path) -> io::Result<Self> {
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
pub(in crate::containers) struct Wish {
    pub(in crate::containers) stdin: bool,
    pub(in crate::containers) stdout: bool,
    pub(in crate::containers) stderr: bool,
    /// Whether the client sees one stream.
    pub(in crate::containers) tty: bool,
    /// Keys that detach; only when the process has a terminal.
    pub(in crate::containers) keys: Option<Keys>,
    /// Whether the process's input ends with the client's.
    pub(in crate::containers) close: bool,
}

impl Wish {
    /// A client of a process that runs, or is about to.
    pub(in crate::containers) fn of(self, connection: Connection) -> Attached {
        let half = Half::Open(connection.stream.clone());
        let frames = connection.frames(self.stdout, self.stderr);
        self.join(half, frames)
    }

    /// A client of a process that is not there yet.
    pub(super) fn waiting(self) -> (Attached, Waiter) {
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

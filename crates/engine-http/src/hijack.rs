//! Connections that become streams: terminals, attached output and input.

use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::header::HeaderValue;
use lighter_engine::containers::{Attached, Frame, Input, StreamKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::conn::Conn;

/// Output as it is.
pub(crate) const RAW: HeaderValue = HeaderValue::from_static("application/vnd.docker.raw-stream");

/// Output in frames that name their stream.
pub(crate) const MULTIPLEXED: HeaderValue =
    HeaderValue::from_static("application/vnd.docker.multiplexed-stream");

/// How often a client that has nothing more to say is looked after.
const LOOK: Duration = Duration::from_secs(1);

/// How long a client may take to close its side after we have closed ours.
const LINGER: Duration = Duration::from_secs(2);

/// As many frames as are there go out in one write.
const BATCH: usize = 64;

type Frames = Pin<Box<dyn Stream<Item = Frame> + Send>>;

/// What a connection is to carry.
pub(crate) struct Hijack {
    output: Frames,
    input: Option<Input>,
    multiplexed: bool,
}

impl Hijack {
    /// What was attached. With a terminal the output is one stream, without one it is framed.
    pub(crate) fn new(attached: Attached) -> Self {
        let Attached { output, input, tty } = attached;
        Self {
            output: Box::pin(output),
            input,
            multiplexed: !tty,
        }
    }

    /// A process that could not be started says why on its output, as Docker has it.
    pub(crate) fn refused(message: &str, tty: bool) -> Self {
        let frame = Frame {
            stream: StreamKind::Stdout,
            bytes: Bytes::from(format!("{message}\r\n")),
        };
        let output = futures_util::stream::once(std::future::ready(frame));
        Self {
            output: Box::pin(output),
            input: None,
            multiplexed: !tty,
        }
    }

    /// The media type of the stream; `named` is whether the client knows the framed one by name.
    pub(crate) fn media_type(&self, named: bool) -> HeaderValue {
        if self.multiplexed && named {
            MULTIPLEXED
        } else {
            RAW
        }
    }

    /// The output alone, as the body of an answer.
    pub(crate) fn into_body(self) -> impl Stream<Item = Bytes> + Send {
        let multiplexed = self.multiplexed;
        let input = self.input;
        self.output.ready_chunks(BATCH).map(move |frames| {
            let _held = &input;
            joined(&frames, multiplexed)
        })
    }

    /// Carries bytes both ways until the output has ended or the client is gone.
    pub(crate) async fn run(self, conn: Conn) {
        let Ok(probe) = conn.as_fd().try_clone_to_owned() else {
            return;
        };
        let (mut reader, mut writer) = tokio::io::split(conn);
        let (output, multiplexed) = (self.output, self.multiplexed);
        let whole = tokio::select! {
            whole = write_out(output, multiplexed, &mut writer) => whole,
            () = read_in(self.input, &mut reader, &probe) => false,
        };
        if whole && writer.shutdown().await.is_ok() {
            // Closing with bytes unread would make the client see a reset in place of an end.
            let mut rest = [0; 4096];
            let drain = async { while matches!(reader.read(&mut rest).await, Ok(count) if count > 0) {} };
            let _ = tokio::time::timeout(LINGER, drain).await;
        }
    }
}

/// Whether all was written.
async fn write_out(output: Frames, multiplexed: bool, writer: &mut WriteHalf<Conn>) -> bool {
    let mut batches = output.ready_chunks(BATCH);
    while let Some(frames) = batches.next().await {
        if writer.write_all(&joined(&frames, multiplexed)).await.is_err() {
            return false;
        }
    }
    true
}

/// Ends when the client is gone.
async fn read_in(mut input: Option<Input>, reader: &mut ReadHalf<Conn>, probe: &OwnedFd) {
    let mut buffer = BytesMut::with_capacity(32 << 10);
    loop {
        buffer.reserve(4 << 10);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => break,
            Ok(_) => {
                let bytes = buffer.split().freeze();
                let closed = match &mut input {
                    Some(input) => input.write(bytes).await.is_err(),
                    None => false,
                };
                if closed {
                    // The process reads no more; what it still writes is wanted all the same.
                    input = None;
                }
            }
            Err(_) => return,
        }
    }
    if let Some(input) = &mut input {
        input.close().await;
    }
    while !is_gone(probe) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the other side is gone altogether: one that has only nothing more to say is not.
fn is_gone(fd: &OwnedFd) -> bool {
    // Hang-up and error are told without being asked for.
    let mut asked = [PollFd::new(fd, PollFlags::empty())];
    let told = poll(
        &mut asked,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    );
    told.is_ok() && asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Frames as they go over the wire: each with a head of the stream's number and its length, or bare.
fn joined(frames: &[Frame], multiplexed: bool) -> Bytes {
    if let ([frame], false) = (frames, multiplexed) {
        return frame.bytes.clone();
    }
    let length = frames.iter().map(|frame| frame.bytes.len() + 8).sum();
    let mut bytes = BytesMut::with_capacity(length);
    for frame in frames {
        if multiplexed {
            bytes.extend_from_slice(&head(frame.stream, frame.bytes.len()));
        }
        bytes.extend_from_slice(&frame.bytes);
    }
    bytes.freeze()
}

/// The head of a frame: `[stream, 0, 0, 0, length as u32 BE]`.
pub(crate) fn head(stream: StreamKind, length: usize) -> [u8; 8] {
    let number = match stream {
        StreamKind::Stdin => 0,
        StreamKind::Stdout => 1,
        StreamKind::Stderr => 2,
    };
    // Writers split far below four gigabytes.
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [number, 0, 0, 0, length[0], length[1], length[2], length[3]]
}

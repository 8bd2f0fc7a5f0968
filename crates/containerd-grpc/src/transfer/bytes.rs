//! Bytes on a stream, as containerd's clients send and take them: messages of data one way, of how much may come the other.
//!
//! Semantics: containerd's core/transfer/streaming. Whoever receives allows so many bytes (`WindowUpdate` adds to what is allowed); whoever sends
//! sends no more than that, and ends the stream behind the last.

use std::io::{self, Read};
use std::time::Duration;

use ::bytes::{Buf as _, Bytes};
use lighter_containerd_api::any;
use lighter_containerd_api::transfer_types::{Data, WindowUpdate};
use tokio::sync::mpsc;
use tonic::Status;

use crate::error::Result;
use crate::streaming::Both;

/// Bytes that a client may send ahead of us.
const WINDOW: i32 = 1 << 20;
/// Most bytes of a message that we send: as many as containerd sends.
const MESSAGE: usize = 32 << 10;
/// How long a client may take to end a stream that we have ended.
const END: Duration = Duration::from_secs(5);
/// Parts on their way within this process.
const AHEAD: usize = 4;

/// What comes on a stream, for a thread that may block. It is what the future that comes with it brings, which must be polled; dropped
/// before the stream has ended, the read fails.
pub(super) fn receive(stream: Both) -> (impl Read + Send + 'static, impl Future<Output = ()>) {
    let (sink, parts) = mpsc::channel(AHEAD);
    let bring = async move {
        let last = match take(stream, &sink, Ok).await {
            // An empty part is the end: that there is no more may mean that it broke.
            Ok(()) => Ok(Bytes::new()),
            Err(error) => Err(io::Error::other(error.message().to_owned())),
        };
        // Whoever read it may have had enough.
        let _ = sink.send(last).await;
    };
    let source = Source {
        parts,
        rest: Bytes::new(),
        is_over: false,
    };
    (source, bring)
}

/// Parts between one that makes them and one that sends them.
pub(super) fn channel() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(AHEAD)
}

/// What comes on a stream goes to `sink`.
pub(super) async fn pass(stream: Both, sink: mpsc::Sender<Bytes>) -> Result<()> {
    take(stream, &sink, |part| part).await
}

async fn take<T>(mut stream: Both, sink: &mpsc::Sender<T>, part: impl Fn(Bytes) -> T) -> Result<()> {
    let mut allowed: i64 = 0;
    loop {
        if allowed < i64::from(WINDOW) {
            let update = WindowUpdate { update: WINDOW };
            // That nobody hears it is told by what comes next.
            if stream.to.send(Ok(any::pack(&update))).await.is_ok() {
                allowed += i64::from(WINDOW);
            }
        }
        let Some(message) = stream.from.message().await? else {
            return Ok(());
        };
        let Some(data) = any::unpack::<Data>(&message) else {
            tracing::debug!(
                kind = message.type_url,
                "a stream of data has something else in it"
            );
            continue;
        };
        let data = data.map_err(|error| Status::invalid_argument(format!("a message of data: {error}")))?;
        let data = Bytes::from(data.data);
        allowed -= i64::try_from(data.len()).unwrap_or(i64::MAX);
        if !data.is_empty() && sink.send(part(data)).await.is_err() {
            // Whoever read it had enough.
            return Ok(());
        }
    }
}

struct Source {
    parts: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
    is_over: bool,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.is_over {
            let part = self.parts.blocking_recv();
            self.rest = part.ok_or_else(|| io::Error::other("the transfer was given up"))??;
            self.is_over = self.rest.is_empty();
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Sends parts as the client allows, then ends the stream, and waits until the client has ended it too: what it was sent is then with it.
pub(super) async fn send(mut parts: mpsc::Receiver<Bytes>, stream: Both) -> Result<()> {
    let Both { to, mut from } = stream;
    let gone = || Status::unavailable("the client ended the stream before it had all");
    let mut allowed: i64 = 0;
    while let Some(mut part) = parts.recv().await {
        while !part.is_empty() {
            while allowed <= 0 {
                let message = from.message().await?.ok_or_else(gone)?;
                if let Some(Ok(update)) = any::unpack::<WindowUpdate>(&message) {
                    allowed += i64::from(update.update);
                }
            }
            let length = usize::try_from(allowed)
                .unwrap_or(MESSAGE)
                .min(MESSAGE)
                .min(part.len());
            let data = Data {
                data: part.split_to(length).to_vec(),
            };
            allowed -= i64::try_from(length).unwrap_or(0);
            to.send(Ok(any::pack(&data))).await.map_err(|_| gone())?;
        }
    }
    drop(to);
    // However it ends: there is nothing left to say.
    let ended = async { while let Ok(Some(_)) = from.message().await {} };
    if tokio::time::timeout(END, ended).await.is_err() {
        tracing::debug!("a client did not end its stream of data");
    }
    Ok(())
}

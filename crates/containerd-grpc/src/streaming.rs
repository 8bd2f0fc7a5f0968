//! Streaming: streams of messages that other services refer to by name.
//!
//! A client opens a stream and says its name; the service that is told the name takes the stream and speaks on it. Who takes a
//! stream ends it by dropping it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _};
use lighter_containerd_api::streaming::StreamInit;
use lighter_containerd_api::streaming::streaming_server::Streaming;
use lighter_containerd_api::{Any, any};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::error::Result;
use crate::request::namespace;

/// Messages on their way to a client that has not read them yet; whoever sends more waits.
const AHEAD: usize = 64;
/// What containerd answers once it knows a stream's name.
const WELCOME: &str = "google.protobuf.Empty";

/// The streams that are open and that nobody took yet, by namespace and name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<(String, String), Both>>>);

/// Both ways of a stream.
#[derive(Debug)]
pub(crate) struct Both {
    /// To the client.
    pub(crate) to: mpsc::Sender<Result<Any>>,
    /// From it.
    pub(crate) from: tonic::Streaming<Any>,
}

impl Streams {
    /// The stream of this name, which is the caller's alone from now on.
    pub(crate) fn take(&self, namespace: &str, name: &str) -> Result<Both> {
        let key = (namespace.to_owned(), name.to_owned());
        let found = self.open().remove(&key);
        found.ok_or_else(|| Status::not_found(format!("stream {name:?}: not found")))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<(String, String), Both>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Service {
    pub(crate) streams: Streams,
    /// All streams end with it.
    pub(crate) stopping: CancellationToken,
}

#[tonic::async_trait]
impl Streaming for Service {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<Any>> + Send>>;

    async fn stream(&self, request: Request<tonic::Streaming<Any>>) -> Result<Response<Self::StreamStream>> {
        let namespace = namespace(&request)?;
        let mut from = request.into_inner();
        let unnamed = || Status::invalid_argument("the first message of a stream must say its name");
        let first = from.message().await?.ok_or_else(unnamed)?;
        let init = any::unpack::<StreamInit>(&first).ok_or_else(unnamed)?;
        let name = init.map_err(|_| unnamed())?.id;
        let (to, messages) = mpsc::channel(AHEAD);
        let welcome = Any {
            type_url: WELCOME.to_owned(),
            value: Vec::new(),
        };
        // There is room, and the other end is in our hand.
        let _ = to.try_send(Ok(welcome));
        let key = (namespace, name);
        {
            let mut open = self.streams.open();
            if open.contains_key(&key) {
                return Err(Status::already_exists(format!(
                    "stream {:?}: already exists",
                    key.1
                )));
            }
            open.insert(key.clone(), Both { to: to.clone(), from });
        }
        let sent = Sent {
            messages: ReceiverStream::new(messages),
            streams: self.streams.clone(),
            key,
            to: to.downgrade(),
        };
        let sent = sent.take_until(self.stopping.clone().cancelled_owned());
        Ok(Response::new(Box::pin(sent)))
    }
}

/// What a client receives. When it goes away its stream is known no longer.
struct Sent {
    messages: ReceiverStream<Result<Any>>,
    streams: Streams,
    key: (String, String),
    to: mpsc::WeakSender<Result<Any>>,
}

impl Stream for Sent {
    type Item = Result<Any>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Any>>> {
        self.messages.poll_next_unpin(cx)
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        // One that was taken may have been followed by another of the same name.
        let Some(own) = self.to.upgrade() else { return };
        let mut open = self.streams.open();
        if open.get(&self.key).is_some_and(|both| both.to.same_channel(&own)) {
            open.remove(&self.key);
        }
    }
}

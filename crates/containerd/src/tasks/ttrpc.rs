//! The client side of ttrpc over tokio: one connection to a shim, any number of calls at a time.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lighter_shim_api::Message;
use lighter_shim_api::frame;
use lighter_shim_api::ttrpc::{Response, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Why a call gave no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The connection is gone, or was before the answer came.
    Closed,
    /// Not in time.
    Timeout,
    /// The other side's status.
    Status(Status),
}

/// A connection. Clones share it; it is closed with the last one.
#[derive(Debug, Clone)]
pub(crate) struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: mpsc::UnboundedSender<Vec<u8>>,
    calls: Arc<Mutex<Calls>>,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Calls {
    last: u32,
    waiting: HashMap<u32, oneshot::Sender<Response>>,
    closed: bool,
}

impl Client {
    /// Speaks over `stream`. Needs a tokio runtime.
    pub(crate) fn new(stream: StdStream) -> io::Result<Client> {
        stream.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(stream)?.into_split();
        let (requests, queue) = mpsc::unbounded_channel();
        let calls = Arc::new(Mutex::new(Calls::default()));
        let closed = CancellationToken::new();
        tokio::spawn(write(writer, queue, closed.clone()));
        tokio::spawn(read(reader, calls.clone(), closed.clone()));
        Ok(Client(Arc::new(Inner {
            requests,
            calls,
            closed,
        })))
    }

    /// Calls `method` of `service`. Without a `timeout` it waits for ever.
    pub(crate) async fn call<Q: Message, A: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<A, CallError> {
        let (answer, reply) = oneshot::channel();
        let stream = {
            let mut calls = lock(&self.0.calls);
            if calls.closed {
                return Err(CallError::Closed);
            }
            // Streams that a client opens have odd numbers.
            calls.last = if calls.last == 0 {
                1
            } else {
                calls.last.wrapping_add(2)
            };
            let stream = calls.last;
            calls.waiting.insert(stream, answer);
            stream
        };
        let forget = Forget {
            calls: &self.0.calls,
            stream,
        };
        let nanos = timeout.map_or(0, |timeout| i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX));
        let wire = frame::request(stream, service, method, nanos, request);
        self.0.requests.send(wire).map_err(|_| CallError::Closed)?;
        let response = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, reply)
                .await
                .map_err(|_| CallError::Timeout)?,
            None => reply.await,
        };
        drop(forget);
        let response = response.map_err(|_| CallError::Closed)?;
        match response.status {
            Some(status) if status.code != frame::code::OK => Err(CallError::Status(status)),
            _ => A::decode(response.payload.as_slice()).map_err(|error| {
                CallError::Status(frame::status(
                    frame::code::INTERNAL,
                    format!("the answer to {method} cannot be read: {error}"),
                ))
            }),
        }
    }

    /// Returns when the other side is gone.
    pub(crate) async fn closed(&self) {
        self.0.closed.cancelled().await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// Takes a call off the list when its caller no longer waits.
struct Forget<'a> {
    calls: &'a Mutex<Calls>,
    stream: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.calls).waiting.remove(&self.stream);
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    closed: CancellationToken,
) {
    while let Some(request) = queue.recv().await {
        if to.write_all(&request).await.is_err() {
            break;
        }
    }
    closed.cancel();
}

async fn read(mut from: OwnedReadHalf, calls: Arc<Mutex<Calls>>, closed: CancellationToken) {
    let mut buffer = Vec::with_capacity(512);
    loop {
        let count = tokio::select! {
            count = from.read_buf(&mut buffer) => count,
            () = closed.cancelled() => break,
        };
        if !matches!(count, Ok(1..)) {
            break;
        }
        match dispatch(&buffer, &calls) {
            Some(used) => drop(buffer.drain(..used)),
            None => break,
        }
        if buffer.is_empty() && buffer.capacity() > 64 << 10 {
            buffer = Vec::with_capacity(512);
        }
    }
    let mut calls = lock(&calls);
    calls.closed = true;
    // Dropping the senders tells the callers.
    calls.waiting.clear();
    drop(calls);
    closed.cancel();
}

/// Hands out every whole frame of `buffer`; gives how many bytes they took, or `None` when they make no sense.
fn dispatch(buffer: &[u8], calls: &Mutex<Calls>) -> Option<usize> {
    let mut used = 0;
    while let Some((header, body, length)) = frame::split(&buffer[used..]).ok()? {
        used += length;
        if header.kind != frame::RESPONSE {
            continue;
        }
        let response = Response::decode(body).ok()?;
        let waiting = lock(calls).waiting.remove(&header.stream);
        if let Some(waiting) = waiting {
            // Its caller may be gone.
            let _ = waiting.send(response);
        }
    }
    Some(used)
}

fn lock(calls: &Mutex<Calls>) -> std::sync::MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lighter_shim_api::task::{StateRequest, StateResponse};
    use lighter_shim_api::ttrpc::Request;
    use std::io::{Read, Write};

    fn request(stream: &mut StdStream) -> (u32, StateRequest) {
        let mut head = [0; frame::HEADER_LEN];
        stream.read_exact(&mut head).unwrap();
        let header = frame::Header::decode(&head).unwrap();
        let mut body = vec![0; header.len];
        stream.read_exact(&mut body).unwrap();
        let request = Request::decode(body.as_slice()).unwrap();
        (
            header.stream,
            StateRequest::decode(request.payload.as_slice()).unwrap(),
        )
    }

    #[tokio::test]
    async fn answers_in_any_order_reach_their_callers_and_a_hangup_reaches_the_rest() {
        let (ours, mut theirs) = StdStream::pair().unwrap();
        let client = Client::new(ours).unwrap();
        let server = std::thread::spawn(move || {
            let calls: Vec<_> = (0..3).map(|_| request(&mut theirs)).collect();
            // The last is never answered; the others backwards, in one write cut in two.
            let mut wire = Vec::new();
            for (stream, asked) in calls[..2].iter().rev() {
                assert_eq!(stream % 2, 1);
                let answer = StateResponse {
                    id: asked.id.clone(),
                    ..Default::default()
                };
                frame::put_response(&mut wire, *stream, Ok(answer.encode_to_vec()));
            }
            let (a, b) = wire.split_at(7);
            theirs.write_all(a).unwrap();
            theirs.write_all(b).unwrap();
        });
        let call = |id: &str| {
            let (client, id) = (client.clone(), id.to_owned());
            async move {
                let request = StateRequest {
                    id,
                    exec_id: String::new(),
                };
                client
                    .call::<_, StateResponse>("s", "State", &request, None)
                    .await
                    .map(|answer| answer.id)
            }
        };
        let (a, b, c) = tokio::join!(call("a"), call("b"), call("c"));
        assert_eq!((a.unwrap(), b.unwrap()), ("a".to_owned(), "b".to_owned()));
        assert!(matches!(c, Err(CallError::Closed)));
        client.closed().await;
        assert!(matches!(call("d").await, Err(CallError::Closed)));
        server.join().unwrap();
    }
}

//! The ttrpc endpoint at which shims tell their events.

use std::os::unix::net::UnixListener as StdListener;

use lighter_shim_api::Message;
use lighter_shim_api::forward::ForwardRequest;
use lighter_shim_api::frame::{self, code};
use lighter_shim_api::service::{EVENTS, FORWARD};
use lighter_shim_api::ttrpc::{Request, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::Tasks;
use crate::error::io as failed;
use crate::events::Envelope;
use crate::{Result, time};

/// What the layer publishes itself, from what the shim answers.
const OWN: &[&str] = &[
    "/tasks/create",
    "/tasks/start",
    "/tasks/exit",
    "/tasks/delete",
    "/tasks/exec-added",
    "/tasks/exec-started",
    "/tasks/paused",
    "/tasks/resumed",
];

impl Tasks {
    /// Serves shims on `listener` for ever.
    pub fn serve_events(&self, listener: StdListener) -> Result<impl Future<Output = ()> + Send + use<>> {
        let path = &self.0.config.address;
        listener
            .set_nonblocking(true)
            .map_err(failed("listen beside", path))?;
        let listener = UnixListener::from_std(listener).map_err(failed("listen beside", path))?;
        let tasks = self.clone();
        Ok(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(tasks.clone().serve(stream))),
                    Err(error) => {
                        tracing::warn!(%error, "accept of a shim's events");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            }
        })
    }

    async fn serve(self, mut stream: UnixStream) {
        let mut buffer = Vec::new();
        loop {
            let mut answers = Vec::new();
            let mut used = 0;
            loop {
                match frame::split(&buffer[used..]) {
                    Ok(Some((header, body, length))) => {
                        if header.kind == frame::REQUEST {
                            frame::put_response(&mut answers, header.stream, self.forwarded(body));
                        }
                        used += length;
                    }
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
            buffer.drain(..used);
            if !answers.is_empty() && stream.write_all(&answers).await.is_err() {
                return;
            }
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
    }

    fn forwarded(&self, body: &[u8]) -> std::result::Result<Vec<u8>, Status> {
        let bad = |text: String| frame::status(code::INVALID_ARGUMENT, text);
        let request = Request::decode(body).map_err(|error| bad(error.to_string()))?;
        if (request.service.as_str(), request.method.as_str()) != (EVENTS, FORWARD) {
            let text = format!("/{}/{} is not served here", request.service, request.method);
            return Err(frame::status(code::UNIMPLEMENTED, text));
        }
        let forward =
            ForwardRequest::decode(request.payload.as_slice()).map_err(|error| bad(error.to_string()))?;
        let envelope = forward
            .envelope
            .ok_or_else(|| bad("the event is missing".to_owned()))?;
        if !OWN.contains(&envelope.topic.as_str()) {
            self.0.bus.forward(Envelope {
                timestamp: envelope
                    .timestamp
                    .as_ref()
                    .map_or_else(|| self.0.config.clock.now(), time::from_wire),
                namespace: envelope.namespace,
                topic: envelope.topic,
                event: envelope.event.unwrap_or_default(),
            });
        }
        Ok(Vec::new())
    }
}

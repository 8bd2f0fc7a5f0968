//! Requests: one answer or one clear error each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use serde::Deserialize;

use crate::{Error, Result};

/// Bytes of an error's body that are read.
const MOST_OF_ERROR: usize = 64 << 10;

/// The bytes of a blob, part by part.
pub type Parts = BoxStream<'static, std::io::Result<Bytes>>;

/// What a request carries. It may have to be sent more than once.
pub(crate) enum Payload<'a> {
    Bytes(Bytes),
    /// So many bytes, from the start each time that it is called.
    Stream(u64, &'a (dyn Fn() -> Parts + Send + Sync)),
}

impl Payload<'_> {
    pub(crate) fn empty() -> Payload<'static> {
        Payload::Bytes(Bytes::new())
    }

    /// The body; `moved` is told what was taken of it.
    fn body(&self, moved: &Arc<AtomicU64>) -> Body {
        match self {
            Payload::Bytes(bytes) => Full::new(bytes.clone())
                .map_err(|never| match never {})
                .boxed_unsync(),
            Payload::Stream(_, open) => {
                let moved = Arc::clone(moved);
                let frames = open().map_ok(move |part| {
                    moved.fetch_add(part.len() as u64, Ordering::Relaxed);
                    Frame::data(part)
                });
                StreamBody::new(frames).boxed_unsync()
            }
        }
    }
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A pool of connections with one TLS configuration.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    /// How long an answer, or the next part of a body, may take.
    pub(crate) stall: Duration,
    user_agent: Arc<str>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    pub(crate) fn new(tls: ClientConfig, connect: Duration, stall: Duration, user_agent: &str) -> Http {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Http {
            client,
            stall,
            user_agent: user_agent.into(),
        }
    }

    /// Sends a request without waiting for the body of the answer, whatever its status.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        self.send_payload(method, uri, headers, &Payload::Bytes(body))
            .await
    }

    /// The same with a body that may be long: it has not stalled as long as more of it is taken.
    pub(crate) async fn send_payload(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        payload: &Payload<'_>,
    ) -> Result<Response<Incoming>> {
        let name = method_name(&method);
        let connect = |source: Box<dyn std::error::Error + Send + Sync>| Error::Connect {
            method: name,
            url: shown(uri),
            source,
        };
        let moved = Arc::new(AtomicU64::new(0));
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .body(payload.body(&moved))
            .map_err(|error| connect(error.into()))?;
        request
            .headers_mut()
            .extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        if let Ok(agent) = http::HeaderValue::from_str(&self.user_agent) {
            request.headers_mut().insert(header::USER_AGENT, agent);
        }
        if let Payload::Stream(size, _) = payload {
            request
                .headers_mut()
                .insert(header::CONTENT_LENGTH, (*size).into());
        }
        let answer = self.client.request(request);
        tokio::pin!(answer);
        let mut before = 0;
        loop {
            match tokio::time::timeout(self.stall, &mut answer).await {
                // The client's own error says only that there was one; what it was is behind it.
                Ok(answer) => {
                    return answer.map_err(|error| match std::error::Error::source(&error) {
                        Some(source) => connect(lighter_stdx::error::chain(source).into()),
                        None => connect(error.into()),
                    });
                }
                Err(_) => {
                    let now = moved.load(Ordering::Relaxed);
                    if now == before {
                        return Err(Error::Stalled {
                            method: name,
                            url: shown(uri),
                            after: self.stall,
                        });
                    }
                    before = now;
                }
            }
        }
    }

    /// The whole body, at most `limit` bytes.
    pub(crate) async fn body(&self, answer: Response<Incoming>, uri: &Uri, limit: usize) -> Result<Bytes> {
        let mut body = answer.into_body();
        let mut data = Vec::new();
        while let Some(part) = next_part(&mut body, uri, self.stall).await? {
            if data.len() + part.len() > limit {
                return Err(Error::Answer {
                    url: shown(uri),
                    why: format!("the answer is larger than {limit} bytes"),
                });
            }
            data.extend_from_slice(&part);
        }
        Ok(data.into())
    }

    /// The error that an answer stands for.
    pub(crate) async fn error(&self, answer: Response<Incoming>, uri: &Uri) -> Error {
        let status = answer.status();
        let body = self.body(answer, uri, MOST_OF_ERROR).await.unwrap_or_default();
        let (url, message) = (
            shown(uri),
            message(&body).unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_lowercase()),
        );
        match status.as_u16() {
            401 => Error::Unauthorized { url, message },
            403 => Error::Denied { url, message },
            404 => Error::NotFound { url, message },
            429 => Error::TooMany { url, message },
            status => Error::Status { url, status, message },
        }
    }
}

/// The next part of a body; `None` at its end.
pub(crate) async fn next_part(body: &mut Incoming, uri: &Uri, stall: Duration) -> Result<Option<Bytes>> {
    loop {
        let frame = tokio::time::timeout(stall, body.frame()).await;
        let frame = frame.map_err(|_| Error::Stalled {
            method: "GET",
            url: shown(uri),
            after: stall,
        })?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
                // Trailers say nothing to us.
            }
            Some(Err(error)) => {
                return Err(Error::Connect {
                    method: "GET",
                    url: shown(uri),
                    source: lighter_stdx::error::chain(&error).into(),
                });
            }
        }
    }
}

/// An address as it may be shown: signatures of storage services stand behind the question mark.
pub(crate) fn shown(uri: &Uri) -> String {
    let text = uri.to_string();
    text.split_once('?')
        .map_or(text.clone(), |(start, _)| start.to_owned())
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "GET",
    }
}

/// What a registry says is wrong. Source: OCI distribution-spec, "Error Codes".
fn message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Entry>,
        /// Token servers' form.
        #[serde(default)]
        details: String,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let texts: Vec<String> = body
        .errors
        .into_iter()
        .map(|entry| {
            let code = entry.code.to_lowercase().replace('_', " ");
            if entry.message.is_empty() {
                code
            } else {
                format!("{code}: {}", entry.message)
            }
        })
        .collect();
    match texts.is_empty() {
        true => Some(body.details).filter(|details| !details.is_empty()),
        false => Some(texts.join(", ")),
    }
}

//! A blob on its way.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use hyper::body::Incoming;
use lighter_oci::Descriptor;

use crate::http::{next_part, shown};
use crate::repository::Host;
use crate::{Error, Result};

/// Tries without a single new byte between them.
const TRIES: u32 = 5;

/// A blob being read. A connection that breaks or stalls is made anew, from the byte where it broke.
#[derive(Debug)]
pub struct Blob {
    host: Arc<Host>,
    descriptor: Descriptor,
    /// The next byte to come.
    offset: u64,
    uri: Uri,
    body: Option<Incoming>,
    /// Bytes to drop first, because the server does not know ranges.
    skip: u64,
    pause: Duration,
    tries: u32,
}

impl Blob {
    pub(crate) async fn open(
        host: Arc<Host>,
        descriptor: Descriptor,
        offset: u64,
        pause: Duration,
    ) -> Result<Blob> {
        let mut blob = Blob {
            host,
            descriptor,
            offset,
            uri: Uri::default(),
            body: None,
            skip: 0,
            pause,
            tries: 0,
        };
        if offset < blob.descriptor.size {
            blob.connect().await?;
        }
        Ok(blob)
    }

    /// The next bytes; `None` when the size that the descriptor tells is reached.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.offset < self.descriptor.size {
            let failure = match self.part().await {
                Ok(Some(part)) => {
                    self.tries = 0;
                    return Ok(Some(part));
                }
                Ok(None) => None,
                Err(error) if error.is_passing() => Some(error),
                Err(error) => return Err(error),
            };
            self.body = None;
            self.tries += 1;
            if self.tries >= TRIES {
                return Err(Error::Cut {
                    url: shown(&self.uri),
                    at: self.offset,
                    size: self.descriptor.size,
                    source: failure.map(Into::into),
                });
            }
            tracing::debug!(digest = %self.descriptor.digest, offset = self.offset, "download broke; going on");
            tokio::time::sleep(self.pause * 2_u32.pow(self.tries - 1)).await;
        }
        Ok(None)
    }

    /// The next part of the body; `None` where it ends, whether or not it should.
    async fn part(&mut self) -> Result<Option<Bytes>> {
        if self.body.is_none() {
            self.connect().await?;
        }
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        loop {
            let Some(mut part) = next_part(body, &self.uri, self.host.http.stall).await? else {
                return Ok(None);
            };
            let skipped = self.skip.min(part.len() as u64);
            self.skip -= skipped;
            part.advance(usize::try_from(skipped).unwrap_or(part.len()));
            let left = self.descriptor.size - self.offset;
            if part.len() as u64 > left {
                let why = format!(
                    "the body is longer than the {} bytes it should have",
                    self.descriptor.size
                );
                return Err(Error::Answer {
                    url: shown(&self.uri),
                    why,
                });
            }
            if !part.is_empty() {
                self.offset += part.len() as u64;
                return Ok(Some(part));
            }
        }
    }

    async fn connect(&mut self) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        // The bytes as they are: their digest is of these.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.offset > 0
            && let Ok(range) = HeaderValue::try_from(format!("bytes={}-", self.offset))
        {
            headers.insert(header::RANGE, range);
        }
        let (uri, answer) = self
            .host
            .get("blobs", self.descriptor.digest.as_str(), &headers)
            .await
            .map_err(|error| match error {
                Error::NotFound { url, message } => Error::NoBlob { url, message },
                error => error,
            })?;
        self.skip = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer
                    .headers()
                    .get(header::CONTENT_RANGE)
                    .and_then(|value| value.to_str().ok());
                let start = range.and_then(|range| {
                    range
                        .strip_prefix("bytes ")?
                        .split('-')
                        .next()?
                        .trim()
                        .parse::<u64>()
                        .ok()
                });
                match start.unwrap_or(self.offset) {
                    start if start <= self.offset => self.offset - start,
                    start => {
                        let why = format!("byte {} was asked for, it begins with {start}", self.offset);
                        return Err(Error::Answer {
                            url: shown(&uri),
                            why,
                        });
                    }
                }
            }
            _ => self.offset,
        };
        self.uri = uri;
        self.body = Some(answer.into_body());
        Ok(())
    }
}

//! A client's connection, whatever it came over.
//!
//! What HTTP's library refuses by itself (a head it cannot read, or too long a one) it answers with a bare status. Clients
//! read messages: such an answer is exchanged here, on its way out, for the same status with one.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use lighter_engine_api::ErrorResponse;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection, and what was read of it ahead of its reader.
#[derive(Debug)]
pub(crate) struct Conn {
    ahead: Bytes,
    /// What is to be written in place of a bare answer.
    instead: Bytes,
    /// Whether it speaks HTTP, and not a stream.
    http: bool,
    stream: Stream,
}

#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Conn {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            ahead: Bytes::new(),
            instead: Bytes::new(),
            http: true,
            stream,
        }
    }

    /// From here on it carries a stream, of which nothing is read.
    pub(crate) fn is_stream(&mut self) {
        self.http = false;
    }

    /// Gives `bytes` to the next reader before all else.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        self.ahead = match self.ahead.is_empty() {
            true => bytes,
            false => [bytes, std::mem::take(&mut self.ahead)].concat().into(),
        };
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().stream {
            Stream::Unix($stream) => $call,
            Stream::Tcp($stream) => $call,
        }
    };
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            return Poll::Ready(Ok(()));
        }
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl Conn {
    /// Writes what is left of an exchanged answer.
    fn poll_instead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let bytes = self.instead.clone();
            let this = self.as_mut();
            let written = ready!(either!(this, stream => Pin::new(stream).poll_write(cx, &bytes)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes `buf` for written if it is a bare refusal, and keeps a better one.
    fn exchanged(&mut self, buf: &[u8]) -> bool {
        let Some(status) = Some(buf).filter(|_| self.http).and_then(bare) else {
            return false;
        };
        let message = match status {
            StatusCode::URI_TOO_LONG => "the request's path and parameters are too long",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the request has too many or too long headers",
            _ => "the request is no HTTP that is understood",
        };
        let error = ErrorResponse {
            message: message.to_owned(),
        };
        let body = serde_json::to_string(&error).unwrap_or_default();
        self.instead = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            body.len() + 1,
        )
        .into();
        true
    }
}

/// The status of a refusal that is only a head and was not made by a route.
fn bare(buf: &[u8]) -> Option<StatusCode> {
    const LONGEST: usize = 256;
    let head = buf.strip_prefix(b"HTTP/1.")?;
    if buf.len() > LONGEST || !buf.ends_with(b"\r\n\r\n") {
        return None;
    }
    let status = StatusCode::from_bytes(head.get(2..5)?).ok()?;
    let head = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    let ours = head.contains("\r\napi-version:");
    (status.is_client_error() && !ours && head.contains("\r\ncontent-length: 0\r\n")).then_some(status)
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_instead(cx))?;
        if self.exchanged(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_instead(cx))?;
        if let [buf] = bufs
            && self.exchanged(buf)
        {
            return Poll::Ready(Ok(buf.len()));
        }
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_instead(cx))?;
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_instead(cx))?;
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const BARE: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    async fn written(stream: bool, bytes: &[u8]) -> String {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut conn = Conn::new(Stream::Unix(ours));
        if stream {
            conn.is_stream();
        }
        conn.write_all(bytes).await.unwrap();
        conn.shutdown().await.unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_refusal_has_a_message() {
        let text = written(false, BARE).await;
        assert!(text.starts_with("HTTP/1.1 431 Request Header"), "{text}");
        assert!(
            text.ends_with("{\"message\":\"the request has too many or too long headers\"}\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn the_library_s_refusals_are_known() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: d\r\n\r\n", "x".repeat(100_000));
        let many = format!("GET / HTTP/1.1\r\nHost: d\r\n{}\r\n", "A: b\r\n".repeat(300));
        for (request, status) in [(long.as_str(), 414), (&many, 431), ("nonsense\r\n\r\n", 400)] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let service = hyper::service::service_fn(async |_| {
                Ok::<_, std::convert::Infallible>(http::Response::new(crate::body::Body::empty()))
            });
            let served = hyper::server::conn::http1::Builder::new()
                .title_case_headers(true)
                .serve_connection(
                    hyper_util::rt::TokioIo::new(Conn::new(Stream::Unix(ours))),
                    service,
                );
            let asked = async {
                let (mut read, mut write) = theirs.into_split();
                let mut text = String::new();
                let (_, read) = tokio::join!(
                    write.write_all(request.as_bytes()),
                    read.read_to_string(&mut text)
                );
                read.map(|_| text)
            };
            let (_, text) = tokio::join!(served, asked);
            let text = text.unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
            assert!(text.contains("\r\n\r\n{\"message\":\"the request"), "{text}");
        }
    }

    #[tokio::test]
    async fn all_else_goes_out_as_it_is() {
        assert_eq!(written(true, BARE).await.as_bytes(), BARE);
        let ours = b"HTTP/1.1 404 Not Found\r\nApi-Version: 1.51\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(written(false, ours).await.as_bytes(), ours);
    }
}

//! Clients that take the connection for a stream without asking for an upgrade, as those of old did.
//!
//! They open a connection for the purpose, so their request is the first on it. HTTP has no such thing: it is read and
//! answered by hand, with `200 OK` and the bare stream.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Uri};
use http_body_util::BodyExt as _;
use lighter_engine::Engine;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::answer::Answer;
use crate::conn::Conn;
use crate::request::Incoming;
use crate::router;

/// The longest head and body that are read here, in bytes.
const MAX: usize = 64 << 10;

/// Serves such a client, or gives the connection back unchanged: then it speaks HTTP.
pub(crate) async fn without_upgrade(mut conn: Conn, engine: &Engine) -> Option<Conn> {
    let mut read = BytesMut::with_capacity(4 << 10);
    if !matches!(conn.read_buf(&mut read).await, Ok(count) if count > 0) {
        return None;
    }
    if !may_be(&read) {
        conn.put_back(read.freeze());
        return Some(conn);
    }
    let mut end = find_end(&read);
    while end.is_none() && read.len() < MAX {
        if !matches!(conn.read_buf(&mut read).await, Ok(count) if count > 0) {
            return None;
        }
        end = find_end(&read);
    }
    let parsed = end.and_then(|end| Some((end, parse(&read[..end])?)));
    let Some((end, request)) = parsed.filter(|(_, request)| !request.headers().contains_key(UPGRADE)) else {
        conn.put_back(read.freeze());
        return Some(conn);
    };
    let length = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let length: usize = length.unwrap_or(0);
    if length > MAX {
        conn.put_back(read.freeze());
        return Some(conn);
    }
    while read.len() < end + length {
        if !matches!(conn.read_buf(&mut read).await, Ok(count) if count > 0) {
            return None;
        }
    }
    let rest = read.split_off(end + length).freeze();
    let body = read.split_off(end).freeze();
    conn.put_back(rest);
    answer(conn, engine, request, body).await;
    None
}

async fn answer(mut conn: Conn, engine: &Engine, request: Request<()>, body: Bytes) {
    let (head, ()) = request.into_parts();
    let routed = router::route(engine.clone(), head, Incoming::Whole(body)).await;
    let response = match routed.outcome {
        Ok(Answer::Hijack(hijack)) => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
            conn.is_stream();
            if conn.write_all(head).await.is_ok() {
                hijack.run(conn).await;
            }
            return;
        }
        Ok(Answer::Http(response)) => response,
        Err(failure) => failure.into_response(),
    };
    let status = response.status();
    let Ok(body) = response.into_body().collect().await;
    let body = body.to_bytes();
    let mut text = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    )
    .into_bytes();
    text.extend_from_slice(&body);
    // A client that is gone needs no answer.
    let _ = conn.write_all(&text).await;
    let _ = conn.shutdown().await;
}

/// Whether the beginning of a request is that of one whose connection may become a stream.
fn may_be(read: &[u8]) -> bool {
    let line = read.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Some(path) = line.strip_prefix(b"POST ") else {
        return false;
    };
    let path = path
        .split(|byte| matches!(byte, b' ' | b'?'))
        .next()
        .unwrap_or_default();
    path.ends_with(b"/attach") || path.ends_with(b"/start") && path.windows(6).any(|part| part == b"/exec/")
}

/// Where the head ends.
fn find_end(read: &[u8]) -> Option<usize> {
    read.windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// A head without its body.
fn parse(head: &[u8]) -> Option<Request<()>> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let method: Method = words.next()?.parse().ok()?;
    let uri: Uri = words.next()?.parse().ok()?;
    let mut request = Request::builder().method(method).uri(uri).body(()).ok()?;
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.parse().ok()?;
        request
            .headers_mut()
            .append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    // Other ways to say how long the body is are left to hyper.
    (!request.headers().contains_key(http::header::TRANSFER_ENCODING)).then_some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_streams_are_read_by_hand() {
        for (line, expected) in [
            ("POST /v1.51/containers/web/attach?stream=1 HTTP/1.1\r\n", true),
            ("POST /exec/abc/start HTTP/1.1\r\n", true),
            ("POST /v1.51/containers/web/start HTTP/1.1\r\n", false),
            ("GET /v1.51/containers/web/attach HTTP/1.1\r\n", false),
        ] {
            assert_eq!(may_be(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_head_is_read() {
        let request =
            parse(b"POST /exec/x/start?a=b HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n").unwrap();
        assert_eq!(
            (request.uri().path(), request.headers().len()),
            ("/exec/x/start", 2)
        );
        assert!(parse(b"POST / HTTP/1.1\r\nnonsense\r\n\r\n").is_none());
    }
}

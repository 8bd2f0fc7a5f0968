//! As much of HTTP/1.1 (RFC 9112) as a client of an engine needs.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};

use crate::socket::Socket;

/// The longest head that is read.
const MOST_HEAD: u64 = 256 * 1024;

/// A request. `target` is a path with its query.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// JSON, if there is a body.
    pub(crate) body: Option<&'a [u8]>,
}

/// An answer's first part.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A connection whose turn it is to ask, or whose answer is being read.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) reader: BufReader<Socket>,
}

impl Connection {
    pub(crate) fn new(socket: Socket) -> Connection {
        let reader = BufReader::with_capacity(32 * 1024, socket);
        Connection { reader }
    }

    /// Sends `request` in one write.
    pub(crate) fn send(&mut self, request: &Request<'_>) -> io::Result<()> {
        let Request { method, target, .. } = request;
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: api.moby.localhost\r\n").into_bytes();
        for (name, value) in request.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        match request.body {
            Some(body) => {
                let length = body.len();
                let about = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
                bytes.extend_from_slice(about.as_bytes());
                bytes.extend_from_slice(body);
            }
            None if *method == "POST" => bytes.extend_from_slice(b"Content-Length: 0\r\n\r\n"),
            None => bytes.extend_from_slice(b"\r\n"),
        }
        self.reader.get_mut().write_all(&bytes)
    }

    /// Reads an answer's head. `None`: the other side closed before a byte of it.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            let Some(head) = self.one_head()? else {
                return Ok(None);
            };
            // 1xx, but for an upgrade, only announces the answer.
            if head.status >= 200 || head.status == 101 {
                return Ok(Some(head));
            }
        }
    }

    fn one_head(&mut self) -> io::Result<Option<Head>> {
        let mut limited = (&mut self.reader).take(MOST_HEAD);
        let mut line = String::new();
        if limited.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let status = line.split(' ').nth(1).and_then(|word| word.trim().parse().ok());
        let status = status
            .filter(|_| line.starts_with("HTTP/1."))
            .ok_or_else(|| malformed("malformed HTTP response"))?;
        let mut head = Head {
            status,
            headers: Vec::new(),
        };
        loop {
            line.clear();
            if limited.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if text.is_empty() {
                return Ok(Some(head));
            }
            if let Some((name, value)) = text.split_once(':') {
                head.headers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
    }
}

/// An answer's body, as it comes.
#[derive(Debug)]
pub struct Body {
    pub(crate) connection: Connection,
    left: Left,
    /// Whether another request may follow on the connection.
    keeps: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Bytes(u64),
    /// Within a chunk; 0 before the next one's size.
    Chunk(u64),
    UntilClosed,
    Nothing,
}

impl Body {
    pub(crate) fn new(connection: Connection, head: &Head, method: &str) -> Body {
        let length = head.header("content-length").and_then(|text| text.parse().ok());
        let chunked = head
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let left = match length {
            _ if method == "HEAD" || matches!(head.status, 204 | 304) => Left::Nothing,
            _ if chunked => Left::Chunk(0),
            Some(0) => Left::Nothing,
            Some(length) => Left::Bytes(length),
            None => Left::UntilClosed,
        };
        let closes = head
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Body {
            connection,
            left,
            keeps: !closes && left != Left::UntilClosed,
        }
    }

    /// The connection, if the body was read to its end and another request may follow.
    pub(crate) fn into_reusable(self) -> Option<Connection> {
        (self.keeps && self.left == Left::Nothing).then_some(self.connection)
    }

    fn next_chunk(&mut self) -> io::Result<u64> {
        let mut line = String::new();
        let reader = &mut self.connection.reader;
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed("malformed chunk"))?;
        if size == 0 {
            // Trailers, then an empty line.
            loop {
                line.clear();
                if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                    return Ok(0);
                }
            }
        }
        Ok(size)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == Left::Chunk(0) {
            self.left = match self.next_chunk()? {
                0 => Left::Nothing,
                size => Left::Chunk(size),
            };
        }
        let most = match self.left {
            Left::Nothing => return Ok(0),
            Left::UntilClosed => buffer.len(),
            Left::Bytes(left) | Left::Chunk(left) => {
                usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len())
            }
        };
        if most == 0 {
            return Ok(0);
        }
        let count = self.connection.reader.read(&mut buffer[..most])?;
        if count == 0 && self.left != Left::UntilClosed {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &mut self.left {
            Left::Bytes(left) => {
                *left -= count as u64;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
            }
            Left::Chunk(left) => {
                *left -= count as u64;
                if *left == 0 {
                    self.connection.reader.read_exact(&mut [0; 2])?;
                }
            }
            Left::UntilClosed | Left::Nothing => {}
        }
        Ok(count)
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn answered(bytes: &[u8]) -> (Head, Body) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        let mut connection = Connection::new(Socket::Unix(ours));
        let head = connection.head().unwrap().unwrap();
        let body = Body::new(connection, &head, "GET");
        (head, body)
    }

    #[test]
    fn bodies_end_where_they_say() {
        for (bytes, expected, reusable) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloX"[..], "hello", true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: v\r\n\r\nX", "hello", true),
            (b"HTTP/1.1 200 OK\r\n\r\nhello", "hello", false),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nX", "", true),
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "hello", false),
        ] {
            let (_, mut body) = answered(bytes);
            let mut text = String::new();
            body.read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
            assert_eq!(body.into_reusable().is_some(), reusable, "{expected}");
        }
    }

    #[test]
    fn a_cut_body_is_an_error() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            let (_, mut body) = answered(bytes);
            assert!(body.read_to_end(&mut Vec::new()).is_err());
        }
    }
}

//! One connection, spoken to by hand.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lighter_harness::{Engine, Session};
use serde_json::Value;

/// A connection, and what was read of it ahead.
pub(crate) struct Wire {
    stream: UnixStream,
    ahead: Vec<u8>,
}

/// The head of an answer.
pub(crate) struct Head {
    pub(crate) status: String,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What asks for the connection itself.
pub(crate) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: tcp\r\n";

impl Wire {
    pub(crate) fn open(session: &Session) -> Self {
        let stream = UnixStream::connect(session.host.path(Engine::SOCKET)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// Sends a request; `behind` goes out in the same write.
    pub(crate) fn send(&mut self, request: &str, headers: &str, body: &str, behind: &str) {
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let length = body.len();
        self.write(&format!(
            "{request} HTTP/1.1\r\nHost: docker\r\n{headers}{kind}Content-Length: {length}\r\n\r\n{body}{behind}"
        ));
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close_input(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// What comes next; empty at the end.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        if !self.ahead.is_empty() {
            return std::mem::take(&mut self.ahead);
        }
        let mut buffer = [0; 8192];
        let count = self.stream.read(&mut buffer).unwrap();
        buffer[..count].to_vec()
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = self.some();
        while bytes.len() < count {
            let more = self.some();
            assert!(
                !more.is_empty(),
                "the stream ended within {count} bytes: {bytes:?}"
            );
            bytes.extend(more);
        }
        self.ahead = bytes.split_off(count);
        bytes
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            line.extend(self.exactly(1));
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    pub(crate) fn head(&mut self) -> Head {
        let status = self.line().trim_start_matches("HTTP/1.1 ").to_owned();
        let mut headers = Vec::new();
        while let Some((name, value)) = self.line().split_once(':') {
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Head { status, headers }
    }

    /// The next piece of a chunked body; empty at its end.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let bytes = self.exactly(length + 2);
        bytes[..length].to_vec()
    }

    /// The whole body behind `head`.
    pub(crate) fn body(&mut self, head: &Head) -> Vec<u8> {
        match head.header("content-length") {
            Some(length) => match length.parse().unwrap() {
                0 => Vec::new(),
                length => self.exactly(length),
            },
            None => {
                let mut body = Vec::new();
                loop {
                    let chunk = self.chunk();
                    if chunk.is_empty() {
                        return body;
                    }
                    body.extend(chunk);
                }
            }
        }
    }

    /// The next frame of a multiplexed stream: its stream's number and its bytes. `None` at the end.
    pub(crate) fn frame(&mut self) -> Option<(u8, String)> {
        let some = self.some();
        if some.is_empty() {
            return None;
        }
        self.ahead = some;
        let head = self.exactly(8);
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        Some((head[0], String::from_utf8(self.exactly(length)).unwrap()))
    }

    /// All that comes until the end.
    pub(crate) fn rest(&mut self) -> String {
        let mut all = Vec::new();
        loop {
            let some = self.some();
            if some.is_empty() {
                return String::from_utf8(all).unwrap();
            }
            all.extend(some);
        }
    }
}

/// One request on a connection of its own: status and body.
pub(crate) fn ask(session: &Session, request: &str, body: &str) -> (Head, String) {
    let mut wire = Wire::open(session);
    wire.send(request, "", body, "");
    let head = wire.head();
    if head.status.starts_with("204") || head.status.starts_with("304") {
        return (head, String::new());
    }
    let body = String::from_utf8(wire.body(&head)).unwrap();
    (head, body)
}

/// A container made of `body`, by its id.
pub(crate) fn create(session: &Session, body: Value) -> String {
    session.pull("busybox");
    let (head, answer) = ask(session, "POST /v1.51/containers/create", &body.to_string());
    assert_eq!(head.status, "201 Created", "{answer}");
    serde_json::from_str::<Value>(&answer).unwrap()["Id"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(crate) fn start(session: &Session, id: &str) {
    let (head, answer) = ask(session, &format!("POST /v1.51/containers/{id}/start"), "");
    assert_eq!(head.status, "204 No Content", "{answer}");
}

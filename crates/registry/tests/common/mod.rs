//! A server that says and does what a test wants: cut bodies, silence, wrong content.
#![allow(dead_code, reason = "each suite uses a part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lighter_oci::Digest;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The first byte asked for.
    pub(crate) fn range(&self) -> usize {
        let range = self
            .header("range")
            .strip_prefix("bytes=")
            .and_then(|range| range.strip_suffix('-'));
        range.map_or(0, |start| start.parse().unwrap())
    }
}

/// What to answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Bytes of the body after which the connection is closed.
    pub(crate) cut: Option<usize>,
    /// Bytes of the body after which nothing more comes.
    pub(crate) stall: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status,
            body: body.into(),
            ..Reply::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A manifest with the headers that registries give.
    pub(crate) fn manifest(body: &[u8], kind: &str) -> Reply {
        Reply::new(200, body)
            .with("Content-Type", kind)
            .with("Docker-Content-Digest", Digest::sha256(body).to_string())
    }

    /// A blob, or the range of it that was asked for.
    pub(crate) fn blob(request: &Request, body: &[u8]) -> Reply {
        match request.range() {
            0 => Reply::new(200, body),
            start => {
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                Reply::new(206, &body[start..]).with("Content-Range", range)
            }
        }
    }

    /// An error in the registries' form.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
        Reply::new(
            status,
            format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{message}\"}}]}}"),
        )
    }
}

/// A server on this machine; it goes with the test's process.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    strangers: Arc<AtomicUsize>,
}

impl Server {
    /// Starts one that answers with `handler`.
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            strangers: Arc::default(),
        };
        let (requests, handler) = (Arc::clone(&server.requests), Arc::new(handler));
        let strangers = Arc::clone(&server.strangers);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (requests, handler) = (Arc::clone(&requests), Arc::clone(&handler));
                let strangers = Arc::clone(&strangers);
                std::thread::spawn(move || {
                    let stream = stream.unwrap();
                    match is_tls(&stream) {
                        true => {
                            strangers.fetch_add(1, Ordering::SeqCst);
                            refuse(stream);
                        }
                        false => serve(stream, &requests, handler.as_ref()),
                    }
                });
            }
        });
        server
    }

    /// `METHOD path` of each request so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }

    /// Connections on which TLS was begun.
    pub(crate) fn strangers(&self) -> usize {
        self.strangers.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The name of an image on it.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

/// Whether the first byte is that of a TLS handshake.
fn is_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    stream.peek(&mut first).is_ok_and(|length| length == 1) && first == [22]
}

/// Says in HTTP that it speaks HTTP, as servers do.
fn refuse(mut stream: TcpStream) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    stream.read_exact(&mut hello).unwrap();
    // Whoever has gone already need not hear it.
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nbad request");
}

fn serve(
    stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    handler: &(dyn Fn(&Request) -> Reply + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        requests.lock().unwrap().push(request.clone());
        let reply = handler(&request);
        let mut head = format!(
            "HTTP/1.1 {} X\r\nContent-Length: {}\r\n",
            reply.status,
            reply.body.len()
        );
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = &stream;
        let body = if request.method == "HEAD" {
            &[][..]
        } else {
            &reply.body
        };
        let sent = body
            .len()
            .min(reply.cut.unwrap_or(usize::MAX))
            .min(reply.stall.unwrap_or(usize::MAX));
        let done = stream
            .write_all(format!("{head}\r\n").as_bytes())
            .and_then(|()| stream.write_all(&body[..sent]));
        if reply.stall.is_some() {
            // Longer than any test waits; the process ends before.
            std::thread::sleep(Duration::from_secs(600));
        }
        if done.is_err() || sent < body.len() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

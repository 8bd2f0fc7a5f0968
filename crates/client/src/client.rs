//! The client itself: requests, negotiation, upgrades.

use std::cell::RefCell;
use std::io::{self, BufReader, Read as _};

use lighter_engine_api::{API_VERSION, ErrorResponse, go};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::{Body, Connection, Head, Request};
use crate::query::Query;
use crate::socket::Socket;
use crate::{Error, Host};

/// An engine, as one caller sees it. It keeps one idle connection; a second thread takes a [`Clone`], which has its own.
#[derive(Debug)]
pub struct Client {
    host: Host,
    agent: String,
    version: RefCell<Option<String>>,
    idle: RefCell<Option<Connection>>,
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Client {
            host: self.host.clone(),
            agent: self.agent.clone(),
            version: self.version.clone(),
            idle: RefCell::new(None),
        }
    }
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Answer {
    /// The `Content-Type`, or nothing.
    pub content_type: String,
    /// The body.
    pub body: Body,
}

/// A connection that became a stream of bytes both ways.
#[derive(Debug)]
pub struct Stream {
    /// What the engine sends. It may hold bytes that came with the answer's head.
    pub reader: BufReader<Socket>,
    /// What the engine is sent.
    pub writer: Socket,
    /// The `Content-Type`, or nothing.
    pub content_type: String,
}

impl Client {
    /// A client of the engine at `host`. `version` fixes the API's version (`1.44`); otherwise it is negotiated with the
    /// first request. Nothing is sent yet.
    pub fn new(host: Host, version: Option<String>, agent: &str) -> Client {
        Client {
            host,
            agent: agent.to_owned(),
            version: RefCell::new(version),
            idle: RefCell::new(None),
        }
    }

    /// Where the engine is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The version that both sides speak; asks the engine when it is not known yet.
    pub fn version(&self) -> Result<String, Error> {
        if let Some(version) = self.version.borrow().as_ref() {
            return Ok(version.clone());
        }
        let (head, body) = self.exchange(&Request {
            method: "HEAD",
            target: "/_ping",
            headers: &[("User-Agent", &self.agent)],
            body: None,
        })?;
        // An engine that does not say is as old as the oldest that this client knows.
        let theirs = head.header("api-version").unwrap_or("1.24");
        let version = if older(theirs, API_VERSION) {
            theirs
        } else {
            API_VERSION
        };
        let version = version.to_owned();
        self.keep(body);
        *self.version.borrow_mut() = Some(version.clone());
        Ok(version)
    }

    /// Sends a request; an answer of 400 and above is an error. `path` begins with a slash and has no version.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        query: &Query,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, Error> {
        let target = format!("/v{}{path}{}", self.version()?, query.as_str());
        let mut all = vec![("User-Agent", self.agent.as_str())];
        all.extend_from_slice(headers);
        let request = Request {
            method,
            target: &target,
            headers: &all,
            body,
        };
        let (head, body) = self.exchange(&request)?;
        let content_type = head.header("content-type").unwrap_or_default().to_owned();
        if head.status >= 400 {
            return Err(refused(head.status, path, body));
        }
        Ok(Answer { content_type, body })
    }

    /// [`Client::send`], and reads the body to its end.
    pub fn bytes(
        &self,
        method: &str,
        path: &str,
        query: &Query,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Vec<u8>, Error> {
        let mut answer = self.send(method, path, query, headers, body)?;
        let mut bytes = Vec::new();
        let read = answer.body.read_to_end(&mut bytes);
        read.map_err(Error::io("reading the daemon's answer"))?;
        self.keep(answer.body);
        Ok(bytes)
    }

    /// `GET`, read as JSON.
    pub fn get<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, Error> {
        parse(&self.bytes("GET", path, query, &[], None)?)
    }

    /// `POST` without a body whose answer is not looked at.
    pub fn post(&self, path: &str, query: &Query) -> Result<(), Error> {
        self.bytes("POST", path, query, &[], None).map(drop)
    }

    /// `POST` of JSON, the answer read as JSON.
    pub fn post_json<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
        body: &B,
    ) -> Result<T, Error> {
        let body = json(body)?;
        parse(&self.bytes("POST", path, query, &[], Some(&body))?)
    }

    /// `POST` that turns the connection into a stream.
    pub fn upgrade(&self, path: &str, query: &Query, body: Option<&[u8]>) -> Result<Stream, Error> {
        let target = format!("/v{}{path}{}", self.version()?, query.as_str());
        let headers = [
            ("User-Agent", self.agent.as_str()),
            ("Connection", "Upgrade"),
            ("Upgrade", "tcp"),
        ];
        let request = Request {
            method: "POST",
            target: &target,
            headers: &headers,
            body,
        };
        let (head, connection) = self.head_of(&request)?;
        if head.status != 101 && head.status != 200 {
            let body = Body::new(connection, &head, "POST");
            return Err(refused(head.status, path, body));
        }
        let writer = connection.reader.get_ref().try_clone();
        Ok(Stream {
            content_type: head.header("content-type").unwrap_or_default().to_owned(),
            writer: writer.map_err(Error::io("duplicating the connection"))?,
            reader: connection.reader,
        })
    }

    /// Takes back a connection whose answer was read.
    fn keep(&self, body: Body) {
        if let Some(connection) = body.into_reusable() {
            *self.idle.borrow_mut() = Some(connection);
        }
    }

    fn exchange(&self, request: &Request<'_>) -> Result<(Head, Body), Error> {
        let (head, connection) = self.head_of(request)?;
        let body = Body::new(connection, &head, request.method);
        Ok((head, body))
    }

    fn head_of(&self, request: &Request<'_>) -> Result<(Head, Connection), Error> {
        let idle = self.idle.borrow_mut().take();
        if let Some(mut connection) = idle {
            // The engine may have closed an idle connection; then nothing was done, and a new one is made.
            if connection.send(request).is_ok()
                && let Ok(Some(head)) = connection.head()
            {
                return Ok((head, connection));
            }
        }
        let socket = Socket::connect(&self.host).map_err(|source| self.unreachable(request, source))?;
        let mut connection = Connection::new(socket);
        connection
            .send(request)
            .map_err(Error::io("sending a request to the daemon"))?;
        let head = connection
            .head()
            .map_err(Error::io("reading the daemon's answer"))?;
        let head = head.ok_or_else(|| Error::Io {
            what: "reading the daemon's answer",
            source: io::ErrorKind::UnexpectedEof.into(),
        })?;
        Ok((head, connection))
    }

    fn unreachable(&self, request: &Request<'_>, source: io::Error) -> Error {
        let host = self.host.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NotRunning(host),
            io::ErrorKind::PermissionDenied => {
                let path = match &host {
                    Host::Unix(path) => path.display().to_string(),
                    Host::Tcp(address) => address.clone(),
                };
                let (first, rest) = request.method.split_at(1);
                let method = format!("{first}{}", rest.to_ascii_lowercase());
                let escaped = path.replace('/', "%2F");
                let request = format!(
                    "{method} \"http://{escaped}{}\": dial unix {path}: connect: permission denied",
                    request.target
                );
                Error::Denied { host, request }
            }
            _ => Error::Connect { host, source },
        }
    }
}

/// `value` as JSON.
pub fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Answer(error.to_string()))
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    go::from_slice(bytes).map_err(|error| Error::Answer(error.to_string()))
}

fn refused(status: u16, path: &str, mut body: Body) -> Error {
    let mut bytes = Vec::new();
    // What did come is all there is to show.
    let _ = body.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let message = match serde_json::from_slice::<ErrorResponse>(&bytes) {
        Ok(ErrorResponse { message }) if !message.is_empty() => message,
        _ if text.trim().is_empty() => {
            format!("the daemon answered {path} with status {status} and no words")
        }
        _ => text.trim().to_owned(),
    };
    Error::Engine { status, message }
}

/// Whether version `a` (`1.44`) is before `b`.
pub fn older(a: &str, b: &str) -> bool {
    let parts = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    parts(a) < parts(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert!(older("1.9", "1.24") && older("1.24", "1.51") && !older("1.51", "1.51"));
    }
}

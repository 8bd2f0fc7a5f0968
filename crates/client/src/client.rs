//! The client: connections, versions, errors.

use std::io::{self, Read as _};
use std::sync::{Mutex, OnceLock};

use lighter_engine_api::{API_VERSION, ErrorResponse, go};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::{Body, Connection, Head, Request};
use crate::query::escape;
use crate::socket::Socket;
use crate::{Error, Host, Query, Upgraded};

/// An engine, as a client sees it. Connections are made when they are needed and kept for the next request.
#[derive(Debug)]
pub struct Client {
    host: Host,
    /// `Some`: what the caller insists on.
    wanted: Option<String>,
    agreed: OnceLock<String>,
    user_agent: String,
    /// Further headers of each request.
    headers: Vec<(String, String)>,
    idle: Mutex<Vec<Connection>>,
}

/// What a request carries beside its path.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extra<'a> {
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<&'a [u8]>,
}

impl Client {
    /// A client of the engine at `host`. `version` (`1.44`) forgoes the negotiation. Nothing is connected yet.
    pub fn new(host: Host, version: Option<String>, user_agent: &str) -> Client {
        Client {
            host,
            wanted: version,
            agreed: OnceLock::new(),
            user_agent: user_agent.to_owned(),
            headers: Vec::new(),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Adds a header to every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Client {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the engine is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The version that both speak: what was asked for, else the older one of ours and the engine's. An engine that is
    /// not reached is taken to speak ours.
    pub fn api_version(&self) -> &str {
        self.agreed.get_or_init(|| match &self.wanted {
            Some(version) => version.clone(),
            None => self.negotiated(),
        })
    }

    fn negotiated(&self) -> String {
        let answer = self.once("HEAD", "/_ping", Extra::default());
        let theirs = answer.ok().and_then(|(head, body)| {
            let version = head.header("api-version").map(str::to_owned);
            self.keep(body);
            version
        });
        match theirs {
            Some(theirs) if !theirs.is_empty() && numbers(&theirs) < numbers(API_VERSION) => theirs,
            _ => API_VERSION.to_owned(),
        }
    }

    /// `GET path`: the body as it came. `path` begins with a slash, after the version.
    pub fn get(&self, path: &str, query: &Query) -> Result<Vec<u8>, Error> {
        self.ask("GET", path, query, Extra::default())
    }

    /// `GET path`, read as a `T` by Go's rules.
    pub fn get_as<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, Error> {
        read(&self.get(path, query)?)
    }

    /// `POST path` without a body.
    pub fn post(&self, path: &str, query: &Query) -> Result<Vec<u8>, Error> {
        self.ask("POST", path, query, Extra::default())
    }

    /// `POST path` with `body` as JSON, the answer read as a `T`.
    pub fn post_as<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let body = json(body)?;
        let extra = Extra {
            body: Some(&body),
            ..Extra::default()
        };
        read(&self.ask("POST", path, query, extra)?)
    }

    /// `DELETE path`.
    pub fn delete(&self, path: &str, query: &Query) -> Result<Vec<u8>, Error> {
        self.ask("DELETE", path, query, Extra::default())
    }

    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        query: &Query,
        extra: Extra<'_>,
    ) -> Result<Vec<u8>, Error> {
        let mut body = self.open(method, path, query, extra)?;
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)
            .map_err(Error::io("reading the daemon's answer"))?;
        self.keep(body);
        Ok(bytes)
    }

    /// An answer that is read as it comes. A refusal is an error already here.
    pub(crate) fn open(
        &self,
        method: &str,
        path: &str,
        query: &Query,
        extra: Extra<'_>,
    ) -> Result<Body, Error> {
        let target = format!("/v{}{path}{}", self.api_version(), query.as_str());
        let (head, body) = self.once(method, &target, extra)?;
        self.accepted(method, &target, head, body)
    }

    /// A stream both ways. The engine may answer 101, or 200 as old ones do.
    pub(crate) fn upgrade(&self, path: &str, query: &Query, body: Option<&[u8]>) -> Result<Upgraded, Error> {
        let target = format!("/v{}{path}{}", self.api_version(), query.as_str());
        let headers = &[("Connection", "Upgrade"), ("Upgrade", "tcp")];
        let (head, body) = self.once("POST", &target, Extra { headers, body })?;
        if head.status != 101 && head.status != 200 {
            self.accepted("POST", &target, head, body)?;
            return Err(Error::Answer("unable to upgrade to tcp".into()));
        }
        Upgraded::new(body.connection.reader).map_err(Error::io("duplicating a connection"))
    }

    fn accepted(&self, method: &str, target: &str, head: Head, mut body: Body) -> Result<Body, Error> {
        if head.status < 400 {
            return Ok(body);
        }
        let mut text = String::new();
        body.read_to_string(&mut text)
            .map_err(Error::io("reading the daemon's answer"))?;
        self.keep(body);
        let json = head
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json"));
        let message = match go::from_slice::<ErrorResponse>(text.as_bytes()) {
            Ok(answer) if json => answer.message,
            _ if text.trim().is_empty() => {
                format!(
                    "request returned {} for {method} {target}, check if the server supports the requested API version",
                    head.status
                )
            }
            _ => text,
        };
        Err(Error::Engine {
            status: head.status,
            message: message.trim().to_owned(),
        })
    }

    /// One request on an idle connection or a new one.
    fn once(&self, method: &str, target: &str, extra: Extra<'_>) -> Result<(Head, Body), Error> {
        let mut headers = vec![("User-Agent", self.user_agent.as_str())];
        headers.extend(
            self.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        headers.extend(extra.headers.iter().copied());
        let request = Request {
            method,
            target,
            headers: &headers,
            body: extra.body,
        };
        if let Some(mut connection) = self.take()
            && connection.send(&request).is_ok()
            // The engine may have closed it in the meantime: then nothing was done, and a new one is tried.
            && let Ok(Some(head)) = connection.head()
        {
            let body = Body::new(connection, &head, method);
            return Ok((head, body));
        }
        let socket =
            Socket::connect(&self.host).map_err(|source| self.unreachable(source, method, target))?;
        let mut connection = Connection::new(socket);
        let head = connection.send(&request).and_then(|()| connection.head());
        match head {
            Ok(Some(head)) => {
                let body = Body::new(connection, &head, method);
                Ok((head, body))
            }
            Ok(None) => Err(self.connect_error(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF"))),
            Err(source) => Err(self.connect_error(source)),
        }
    }

    fn unreachable(&self, source: io::Error, method: &str, target: &str) -> Error {
        let host = self.host.clone();
        match (source.kind(), &self.host) {
            (io::ErrorKind::PermissionDenied, Host::Unix(path)) => {
                let path = path.display().to_string();
                let mut escaped = String::new();
                escape(&path, &mut escaped);
                let (first, rest) = method.split_at(1);
                let request = format!(
                    "{first}{} \"http://{escaped}{target}\": dial unix {path}: connect: permission denied",
                    rest.to_ascii_lowercase()
                );
                Error::Denied { host, request }
            }
            (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, _) => Error::NotRunning(host),
            _ => self.connect_error(source),
        }
    }

    fn connect_error(&self, source: io::Error) -> Error {
        Error::Connect {
            host: self.host.clone(),
            source,
        }
    }

    fn take(&self) -> Option<Connection> {
        // A thread that panicked with the lock left at worst one connection fewer.
        self.idle.lock().map_or(None, |mut idle| idle.pop())
    }

    fn keep(&self, body: Body) {
        if let Some(connection) = body.into_reusable()
            && let Ok(mut idle) = self.idle.lock()
        {
            idle.push(connection);
        }
    }
}

pub(crate) fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Answer(error.to_string()))
}

pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    go::from_slice(bytes).map_err(|error| Error::Answer(error.to_string()))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

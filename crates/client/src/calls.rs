//! Typed calls: one method a route.

use std::io::{BufRead as _, BufReader, Read};

use lighter_engine_api::{
    ContainerCreateRequest, ContainerCreateResponse, ContainerInspectResponse, ContainerSummary,
    ContainerTopResponse, ContainerWaitResponse, EventMessage, ExecCreateRequest, ExecInspectResponse,
    ExecStartRequest, IdResponse, ImageDeleteResponseItem, ImageSummary, JsonMessage, SystemInfo,
    SystemVersion,
};
use serde::de::DeserializeOwned;

use crate::client::{Answer, Client, Stream, json, parse};
use crate::query::{Query, segment};
use crate::{Body, Error};

fn container(name: &str, rest: &str) -> String {
    format!("/containers/{}{rest}", segment(name))
}

impl Client {
    /// `GET /version`.
    pub fn system_version(&self) -> Result<SystemVersion, Error> {
        self.get("/version", &Query::new())
    }

    /// `GET /info`.
    pub fn info(&self) -> Result<SystemInfo, Error> {
        self.get("/info", &Query::new())
    }

    /// `GET /containers/json`.
    pub fn containers(&self, query: &Query) -> Result<Vec<ContainerSummary>, Error> {
        self.get("/containers/json", query)
    }

    /// `POST /containers/create`.
    pub fn create(
        &self,
        query: &Query,
        request: &ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse, Error> {
        self.post_json("/containers/create", query, request)
    }

    /// `GET /containers/{name}/json`.
    pub fn container(&self, name: &str) -> Result<ContainerInspectResponse, Error> {
        self.get(&container(name, "/json"), &Query::new())
    }

    /// `POST /containers/{name}/{verb}`: start, stop, restart, kill, pause, unpause, rename, resize.
    pub fn act(&self, name: &str, verb: &str, query: &Query) -> Result<(), Error> {
        self.post(&container(name, &format!("/{verb}")), query)
    }

    /// `DELETE /containers/{name}`.
    pub fn remove(&self, name: &str, query: &Query) -> Result<(), Error> {
        self.bytes("DELETE", &container(name, ""), query, &[], None)
            .map(drop)
    }

    /// `POST /containers/{name}/wait`: returns when the engine has begun to wait; [`Wait::end`] gives the end.
    pub fn wait(&self, name: &str, condition: &str) -> Result<Wait, Error> {
        let query = Query::new().with_some("condition", condition);
        let answer = self.send("POST", &container(name, "/wait"), &query, &[], None)?;
        Ok(Wait(answer))
    }

    /// `POST /containers/{name}/attach`.
    pub fn attach(&self, name: &str, query: &Query) -> Result<Stream, Error> {
        self.upgrade(&container(name, "/attach"), query, None)
    }

    /// `GET /containers/{name}/logs`.
    pub fn logs(&self, name: &str, query: &Query) -> Result<Answer, Error> {
        self.send("GET", &container(name, "/logs"), query, &[], None)
    }

    /// `GET /containers/{name}/top`.
    pub fn top(&self, name: &str, arguments: &str) -> Result<ContainerTopResponse, Error> {
        let query = Query::new().with_some("ps_args", arguments);
        self.get(&container(name, "/top"), &query)
    }

    /// `POST /containers/{name}/exec`.
    pub fn exec(&self, name: &str, request: &ExecCreateRequest) -> Result<IdResponse, Error> {
        self.post_json(&container(name, "/exec"), &Query::new(), request)
    }

    /// `POST /exec/{id}/start` that does not attach.
    pub fn exec_start(&self, id: &str, request: &ExecStartRequest) -> Result<(), Error> {
        let path = format!("/exec/{}/start", segment(id));
        self.bytes("POST", &path, &Query::new(), &[], Some(&json(request)?))
            .map(drop)
    }

    /// `POST /exec/{id}/start` with a stream.
    pub fn exec_attach(&self, id: &str, request: &ExecStartRequest) -> Result<Stream, Error> {
        let path = format!("/exec/{}/start", segment(id));
        self.upgrade(&path, &Query::new(), Some(&json(request)?))
    }

    /// `GET /exec/{id}/json`.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspectResponse, Error> {
        self.get(&format!("/exec/{}/json", segment(id)), &Query::new())
    }

    /// `GET /images/json`.
    pub fn images(&self, query: &Query) -> Result<Vec<ImageSummary>, Error> {
        self.get("/images/json", query)
    }

    /// `DELETE /images/{name}`.
    pub fn image_remove(&self, name: &str, query: &Query) -> Result<Vec<ImageDeleteResponseItem>, Error> {
        let path = format!("/images/{}", segment(name));
        parse(&self.bytes("DELETE", &path, query, &[], None)?)
    }

    /// `POST /images/{name}/tag`.
    pub fn image_tag(&self, name: &str, query: &Query) -> Result<(), Error> {
        self.post(&format!("/images/{}/tag", segment(name)), query)
    }

    /// `POST /images/create`: a pull. `auth` is base64 of an [`lighter_engine_api::AuthConfig`].
    pub fn pull(&self, query: &Query, auth: &str) -> Result<Messages<JsonMessage>, Error> {
        let headers = [("X-Registry-Auth", auth)];
        let answer = self.send("POST", "/images/create", query, &headers, None)?;
        Ok(Messages::new(answer.body))
    }

    /// `GET /events`.
    pub fn events(&self, query: &Query) -> Result<Messages<EventMessage>, Error> {
        let answer = self.send("GET", "/events", query, &[], None)?;
        Ok(Messages::new(answer.body))
    }
}

/// An engine that waits for a container's end.
#[derive(Debug)]
pub struct Wait(Answer);

impl Wait {
    /// Blocks until the end.
    pub fn end(mut self) -> Result<ContainerWaitResponse, Error> {
        let mut bytes = Vec::new();
        let read = self.0.body.read_to_end(&mut bytes);
        read.map_err(Error::io("waiting for the container"))?;
        parse(&bytes)
    }
}

/// JSON objects, one a line, as they come.
#[derive(Debug)]
pub struct Messages<T> {
    reader: BufReader<Body>,
    of: std::marker::PhantomData<T>,
}

impl<T> Messages<T> {
    fn new(body: Body) -> Self {
        Messages {
            reader: BufReader::new(body),
            of: std::marker::PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Iterator for Messages<T> {
    /// The message, and its text.
    type Item = Result<(T, String), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        loop {
            line.clear();
            match self.reader.read_line(&mut line) {
                Err(source) => {
                    let what = "reading the daemon's answer";
                    return Some(Err(Error::Io { what, source }));
                }
                Ok(0) => return None,
                Ok(_) if line.trim().is_empty() => {}
                Ok(_) => {
                    let text = line.trim_end().to_owned();
                    return Some(parse(text.as_bytes()).map(|message| (message, text)));
                }
            }
        }
    }
}

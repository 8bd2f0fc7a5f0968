//! Containers and the processes in them.

use lighter_engine_api::{
    ContainerCreateRequest, ContainerCreateResponse, ContainerInspectResponse, ContainerSummary,
    ContainerTopResponse, ContainerWaitResponse, ExecCreateRequest, ExecInspectResponse, ExecStartRequest,
    IdResponse,
};

use crate::client::{Extra, json};
use crate::{Body, Client, Error, JsonLines, Query, Upgraded, segment};

/// Which streams to attach.
#[derive(Debug, Clone, Default)]
pub struct AttachQuery {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// What was written before, too.
    pub logs: bool,
    /// Keys that end it: `ctrl-p,ctrl-q`; empty for the engine's own.
    pub detach_keys: String,
}

/// Which part of a log.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Go on until the container ends.
    pub follow: bool,
    /// RFC 3339 or seconds since 1970, fractions allowed.
    pub since: String,
    /// As `since`.
    pub until: String,
    /// A time before each line.
    pub timestamps: bool,
    /// Attributes before each line.
    pub details: bool,
    /// A number or `all`.
    pub tail: String,
}

impl Client {
    /// Lists containers. `filters` as JSON, or empty.
    pub fn container_list(
        &self,
        all: bool,
        limit: Option<i64>,
        size: bool,
        filters: &str,
    ) -> Result<Vec<ContainerSummary>, Error> {
        let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
        let query = Query::new()
            .flag("all", all)
            .with_some("limit", &limit)
            .flag("size", size)
            .with_some("filters", filters);
        self.get_as("/containers/json", &query)
    }

    /// Makes a container.
    pub fn container_create(
        &self,
        name: &str,
        platform: &str,
        request: &ContainerCreateRequest,
    ) -> Result<ContainerCreateResponse, Error> {
        let query = Query::new()
            .with_some("name", name)
            .with_some("platform", platform);
        self.post_as("/containers/create", &query, request)
    }

    /// Starts it.
    pub fn container_start(&self, name: &str, detach_keys: &str) -> Result<(), Error> {
        let query = Query::new().with_some("detachKeys", detach_keys);
        self.post(&of(name, "start"), &query).map(drop)
    }

    /// `verb` is `stop` or `restart`. Without `seconds`, the container's own patience.
    pub fn container_stop(
        &self,
        verb: &str,
        name: &str,
        signal: &str,
        seconds: Option<i64>,
    ) -> Result<(), Error> {
        let seconds = seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
        let query = Query::new().with_some("signal", signal).with_some("t", &seconds);
        self.post(&of(name, verb), &query).map(drop)
    }

    /// Sends a signal; empty for the engine's own choice.
    pub fn container_kill(&self, name: &str, signal: &str) -> Result<(), Error> {
        let query = Query::new().with_some("signal", signal);
        self.post(&of(name, "kill"), &query).map(drop)
    }

    /// Stops all its processes where they are.
    pub fn container_pause(&self, name: &str) -> Result<(), Error> {
        self.post(&of(name, "pause"), &Query::new()).map(drop)
    }

    /// Lets them go on.
    pub fn container_unpause(&self, name: &str) -> Result<(), Error> {
        self.post(&of(name, "unpause"), &Query::new()).map(drop)
    }

    /// Gives it another name.
    pub fn container_rename(&self, name: &str, new: &str) -> Result<(), Error> {
        let query = Query::new().with("name", new);
        self.post(&of(name, "rename"), &query).map(drop)
    }

    /// Removes it, its anonymous volumes, a link.
    pub fn container_remove(&self, name: &str, force: bool, volumes: bool, link: bool) -> Result<(), Error> {
        let query = Query::new()
            .flag("v", volumes)
            .flag("link", link)
            .flag("force", force);
        let path = format!("/containers/{}", segment(name));
        self.delete(&path, &query).map(drop)
    }

    /// All about it.
    pub fn container_inspect(&self, name: &str) -> Result<ContainerInspectResponse, Error> {
        self.get_as(&of(name, "json"), &Query::new())
    }

    /// The same as the engine wrote it.
    pub fn container_inspect_raw(&self, name: &str, size: bool) -> Result<Vec<u8>, Error> {
        self.get(&of(name, "json"), &Query::new().flag("size", size))
    }

    /// Its processes. `args` are those of `ps`.
    pub fn container_top(&self, name: &str, args: &str) -> Result<ContainerTopResponse, Error> {
        let query = Query::new().with_some("ps_args", args);
        self.get_as(&of(name, "top"), &query)
    }

    /// Waits for an end. The engine listens when this returns: call [`JsonLines::next`] for the exit. `condition` is
    /// `not-running`, `next-exit` or `removed`.
    pub fn container_wait(
        &self,
        name: &str,
        condition: &str,
    ) -> Result<JsonLines<ContainerWaitResponse>, Error> {
        let query = Query::new().with_some("condition", condition);
        self.open("POST", &of(name, "wait"), &query, Extra::default())
            .map(JsonLines::new)
    }

    /// Tells its terminal a size.
    pub fn container_resize(&self, name: &str, rows: u16, columns: u16) -> Result<(), Error> {
        self.post(&of(name, "resize"), &size(rows, columns)).map(drop)
    }

    /// Attaches to its streams.
    pub fn container_attach(&self, name: &str, what: &AttachQuery) -> Result<Upgraded, Error> {
        let query = Query::new()
            .with("stream", "1")
            .flag("stdin", what.stdin)
            .flag("stdout", what.stdout)
            .flag("stderr", what.stderr)
            .flag("logs", what.logs)
            .with_some("detachKeys", &what.detach_keys);
        self.upgrade(&of(name, "attach"), &query, None)
    }

    /// What it has written: raw with a terminal, else in frames.
    pub fn container_logs(&self, name: &str, what: &LogQuery) -> Result<Body, Error> {
        let query = Query::new()
            .with("stdout", "1")
            .with("stderr", "1")
            .with_some("since", &what.since)
            .with_some("until", &what.until)
            .flag("timestamps", what.timestamps)
            .flag("details", what.details)
            .flag("follow", what.follow)
            .with_some("tail", &what.tail);
        self.open("GET", &of(name, "logs"), &query, Extra::default())
    }

    /// Makes a further process, not started yet; its id.
    pub fn exec_create(&self, container: &str, request: &ExecCreateRequest) -> Result<String, Error> {
        let made: IdResponse = self.post_as(&of(container, "exec"), &Query::new(), request)?;
        Ok(made.id)
    }

    /// Starts it and leaves it alone.
    pub fn exec_start_detached(&self, id: &str, request: &ExecStartRequest) -> Result<(), Error> {
        let body = json(request)?;
        let extra = Extra {
            body: Some(&body),
            ..Extra::default()
        };
        self.ask("POST", &exec(id, "start"), &Query::new(), extra)
            .map(drop)
    }

    /// Starts it with its streams.
    pub fn exec_start(&self, id: &str, request: &ExecStartRequest) -> Result<Upgraded, Error> {
        let body = json(request)?;
        self.upgrade(&exec(id, "start"), &Query::new(), Some(&body))
    }

    /// How it is.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspectResponse, Error> {
        self.get_as(&exec(id, "json"), &Query::new())
    }

    /// Tells its terminal a size.
    pub fn exec_resize(&self, id: &str, rows: u16, columns: u16) -> Result<(), Error> {
        self.post(&exec(id, "resize"), &size(rows, columns)).map(drop)
    }
}

fn of(name: &str, verb: &str) -> String {
    format!("/containers/{}/{verb}", segment(name))
}

fn exec(id: &str, verb: &str) -> String {
    format!("/exec/{}/{verb}", segment(id))
}

fn size(rows: u16, columns: u16) -> Query {
    Query::new()
        .with("h", &rows.to_string())
        .with("w", &columns.to_string())
}

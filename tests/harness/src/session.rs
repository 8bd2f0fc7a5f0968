//! A host, a registry, an engine and a client.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::engine::{Engine, Kind, Options};
use crate::host::{Host, Machine};
use crate::output::{Output, OutputExt as _};
use crate::pty::Terminal;
use crate::registry::Registry;

/// Which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The machine's `docker`.
    Stock,
    /// `lighter`.
    Lighter,
}

/// What most tests want. Fields are dropped in order: the engine's host last.
#[derive(Debug)]
pub struct Session {
    /// The engine, until a test kills it.
    pub engine: Option<Engine>,
    /// The registry.
    pub registry: Registry,
    /// Which client [`Session::docker`] runs.
    pub client: Client,
    /// The host.
    pub host: Host,
}

impl Session {
    /// A fresh session.
    pub fn start(kind: Kind, client: Client) -> Session {
        Session::start_with(kind, client, &Options::default())
    }

    /// A fresh session whose engine gets `options`.
    pub fn start_with(kind: Kind, client: Client, options: &Options) -> Session {
        let host = Host::new();
        let registry = Registry::start(&host);
        let engine = Some(Engine::start(&host, kind, options));
        Session {
            engine,
            registry,
            client,
            host,
        }
    }

    /// The client's program name, for messages that name it.
    pub fn program(&self) -> &'static str {
        match self.client {
            Client::Stock => "docker",
            Client::Lighter => "lighter",
        }
    }

    /// Whether the engine is ours.
    pub fn is_ours(&self) -> bool {
        self.engine
            .as_ref()
            .is_none_or(|engine| engine.kind() != Kind::Docker)
    }

    /// A client's command line, to be run on the host.
    pub fn argv(&self, words: &[&str]) -> Vec<String> {
        let program = match self.client {
            Client::Stock => "docker".to_owned(),
            Client::Lighter => crate::dist()
                .join("lighter")
                .to_str()
                .expect("the path is UTF-8")
                .to_owned(),
        };
        let mut argv = vec![program, "-H".into(), format!("unix://{}", Engine::SOCKET)];
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        argv
    }

    /// A client's command.
    pub fn command(&self, words: &[&str]) -> Command {
        let argv = self.argv(words);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        self.host.command(Machine::Host, &argv)
    }

    /// Runs the client to its end.
    pub fn docker(&self, words: &[&str]) -> Output {
        self.command(words).result()
    }

    /// Runs the client on a terminal.
    pub fn terminal(&self, words: &[&str]) -> Terminal {
        let argv = self.argv(words);
        let mut all = vec!["setsid", "--ctty", "--wait"];
        all.extend(argv.iter().map(String::as_str));
        Terminal::start(self.host.command(Machine::Host, &all))
    }

    /// Pulls an image; panics when that fails.
    #[track_caller]
    pub fn pull(&self, image: &str) {
        self.docker(&["pull", "-q", image]).ok();
    }

    /// `inspect` with a template.
    #[track_caller]
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.docker(&["inspect", "--format", template, name]).ok()
    }

    /// The API's raw answer to a request without a body: status code and body.
    pub fn api(&self, method: &str, path: &str) -> (u16, String) {
        self.api_with(method, path, "")
    }

    /// The same with a JSON body.
    pub fn api_with(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        request(&self.host.path(Engine::SOCKET), method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The container's init, as this process numbers it.
    pub fn init_pid(&self, name: &str) -> u32 {
        let inside = self.inspect(name, "{{.State.Pid}}").parse().expect("a pid");
        self.host
            .outer_pid(inside)
            .unwrap_or_else(|| panic!("the init of {name} ({inside}) runs"))
    }
}

/// One HTTP request over a unix socket. The server closes: `Connection: close`.
pub(crate) fn request(socket: &Path, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if chunked { dechunk(body) } else { body.to_owned() }))
}

fn dechunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = after.get(..size).filter(|_| size > 0) else {
            break;
        };
        body.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or("");
    }
    body
}

pub(crate) fn ping(socket: &Path) -> bool {
    request(socket, "GET", "/_ping", "").is_ok_and(|(status, _)| status == 200)
}

pub(crate) fn kill_outer(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a pid");
    match rustix::process::kill_process(pid, signal) {
        // It has ended by itself: at a failpoint, say.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("killing a process of the host: {error}"),
    }
}

/// Each test of the block runs five times: with the stock client and with ours against our engine, with the stock client against our
/// engine over the real containerd, and with both against the real Docker (a test that the stock client fails there is wrong; one that ours fails there is our client's fault).
#[macro_export]
macro_rules! sessions {
    ($($(#[$meta:meta])* fn $name:ident($session:ident: &Session) $body:block)*) => {
        mod bodies {
            use super::*;
            $(pub(super) fn $name($session: &Session) $body)*
        }
        $crate::sessions!(@run stock_client, Lighter, Stock, $($(#[$meta])* $name)*);
        $crate::sessions!(@run our_client, Lighter, Lighter, $($(#[$meta])* $name)*);
        $crate::sessions!(@run over_containerd, OverContainerd, Stock, $($(#[$meta])* $name)*);
        $crate::sessions!(@run real_docker, Docker, Stock, $($(#[$meta])* $name)*);
        $crate::sessions!(@run peer_engine, Docker, Lighter, $($(#[$meta])* $name)*);
    };
    (@run $module:ident, $kind:ident, $client:ident, $($(#[$meta:meta])* $name:ident)*) => {
        mod $module {
            $($(#[$meta])* #[test] fn $name() {
                super::bodies::$name(&$crate::Session::start($crate::Kind::$kind, $crate::Client::$client));
            })*
        }
    };
}

//! The per-container supervisor.
//!
//! A shim is the parent of a container's first process. It holds the standard streams, writes the log, collects the
//! dead, keeps how they ended, and stays when everything above it goes away. It speaks containerd's shim v2 protocol
//! over ttrpc; the OCI runtime is a program that it runs and never waits for: one thread, one epoll.

mod arguments;
mod attach;
mod cgroup;
mod checkpoint;
mod child;
mod connection;
mod container;
mod delete;
mod fifo;
mod info;
mod io;
mod json;
mod logger;
mod oom;
mod operation;
mod options;
mod poll;
mod publish;
mod record;
mod rootfs;
mod runtime;
mod sandbox;
mod server;
mod sink;
mod socket;
mod spec;
mod start;
mod stats;
mod stdio;
mod task;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;

pub use arguments::{Arguments, ArgumentsError, Verb};
pub use lighter_log_write::Time;

/// What a main knows and a library does not look up.
#[derive(Debug, Clone)]
pub struct Config {
    /// containerd namespace.
    pub namespace: String,
    /// Path of this program: the runtime is looked for beside it.
    pub program: Option<PathBuf>,
    /// The environment, also of the runtime.
    pub environment: Vec<(OsString, OsString)>,
    /// Socket of the caller's event service.
    pub events: Option<PathBuf>,
    /// The time of day.
    pub clock: fn() -> Time,
}

/// What keeps a shim from starting or serving.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory of the sockets cannot be made.
    #[error("make the socket directory {path}")]
    SocketDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket cannot be bound.
    #[error("bind {path}")]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address cannot be written into the bundle.
    #[error("write {path}")]
    WriteAddress {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The shim cannot enter the cgroup that its caller wants it in.
    #[error("enter cgroup {path}")]
    Cgroup {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The runtime that is asked about is not there.
    #[error("look up the runtime {0:?}: it is neither beside the shim nor in PATH")]
    NoRuntime(String),
    /// The server process cannot be made.
    #[error("fork the server")]
    Fork(#[source] std::io::Error),
    /// The server cannot leave its caller's session.
    #[error("detach from the caller")]
    Detach(#[source] std::io::Error),
    /// The server cannot go on.
    #[error("serve")]
    Serve(#[source] std::io::Error),
    /// The caller does not take the answer.
    #[error("write the answer")]
    Answer(#[source] std::io::Error),
}

/// Does what the command line says. After `start` this returns in two processes: in the caller's at once, with the
/// address printed to `out`; in the server when it has ended.
/// `input` has the caller's options.
pub fn run(
    config: Config,
    arguments: &Arguments,
    input: &mut impl Read,
    out: &mut impl Write,
) -> Result<(), Error> {
    let text = match arguments.verb {
        Verb::Delete => delete::delete(&config, arguments),
        Verb::Version => info::version().into_bytes(),
        Verb::Info => info::info(&config, input)?,
        Verb::Start => match start::start(config, arguments, input)? {
            start::Started::Print(text) => text.into_bytes(),
            start::Started::Served => return Ok(()),
        },
    };
    out.write_all(&text)
        .and_then(|()| out.flush())
        .map_err(Error::Answer)
}

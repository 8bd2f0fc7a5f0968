//! What can go wrong between a client and an engine.

use std::io;

use crate::Host;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `-H` or `DOCKER_HOST` is no address.
    #[error("unable to parse docker host `{0}`")]
    Host(String),
    /// Nothing listens there.
    #[error("Cannot connect to the Docker daemon at {0}. Is the docker daemon running?")]
    NotRunning(Host),
    /// The socket is not this user's.
    #[error("permission denied while trying to connect to the Docker daemon socket at {host}: {request}")]
    Denied {
        /// Where to.
        host: Host,
        /// Which request was to be sent, and the reason, as Go words it.
        request: String,
    },
    /// Another failure of the connection's making.
    #[error("error during connect: {host}")]
    Connect {
        /// Where to.
        host: Host,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine's own word.
    #[error("Error response from daemon: {message}")]
    Engine {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The connection broke, or a local stream did.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An answer that is none.
    #[error("the daemon's answer is not understood: {0}")]
    Answer(String),
}

impl Error {
    /// Whether the engine says that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Engine { status: 404, .. })
    }

    /// The engine's message without what stands before it, if it is the engine's.
    pub fn engine_message(&self) -> Option<&str> {
        match self {
            Self::Engine { message, .. } => Some(message),
            _ => None,
        }
    }

    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { what, source }
    }
}

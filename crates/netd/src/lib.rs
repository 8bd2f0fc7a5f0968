//! The data plane: userland port proxy and its keeper.
//!
//! Three parties. The [`Client`] in the engine writes the desired state and asks for it. The keeper ([`keeper::run`]) holds the
//! listening sockets and little else, so that it has no reason to die. The worker ([`worker::run`]) moves bytes, without any
//! capability; when it dies the keeper starts another, and connections wait in the sockets' backlogs meanwhile.
//! The protocol is ours alone: docs/design/0001-seams.md, "Engine to netd".

mod bind;
mod client;
mod handover;
pub mod keeper;
mod state;
pub mod worker;

pub use client::Client;
pub use state::{Failed, Port, Proto};

use std::io;
use std::path::PathBuf;

/// A failure of the data plane. Printed with its causes by `lighter_stdx::error::chain`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory under the root.
    #[error("{step} {}", path.display())]
    File {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state file holds something else.
    #[error("state {}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The state file is newer than this program.
    #[error("state {} has format {found}, newer than this program knows", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its number.
        found: u32,
    },
    /// The program could not be started.
    #[error("starting {}", program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keeper did not answer, or not as agreed.
    #[error("asking the keeper to {request}")]
    Ask {
        /// What was asked.
        request: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keeper refused.
    #[error("the keeper refuses to {request}: {answer}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// Its words.
        answer: String,
    },
    /// A system call of keeper or worker.
    #[error("{step}")]
    System {
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The result of an operation of the data plane.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the step in which a system call failed.
pub(crate) fn step<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> Error {
    move |source| Error::System {
        step,
        source: source.into(),
    }
}

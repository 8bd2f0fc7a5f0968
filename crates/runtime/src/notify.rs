//! The agent that a seccomp profile names: it gets the descriptor at which calls with the action `SCMP_ACT_NOTIFY` wait.
//!
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#the-container-process-state

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use lighter_seccomp::Profile;
use serde::{Deserialize, Serialize};

use crate::console;
use crate::error::{Error, Result};
use crate::state::{Record, Status};
use crate::sync::Said;

/// Where the agent listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Agent {
    /// A unix socket; a name after `@` is an abstract one.
    pub(crate) path: PathBuf,
    /// `listenerMetadata`.
    pub(crate) metadata: String,
}

impl Agent {
    pub(crate) fn new(profile: &Profile, bundle: &Path) -> Self {
        let path = &profile.listener_path;
        Self {
            path: if path.starts_with('@') {
                path.into()
            } else {
                bundle.join(path)
            },
            metadata: profile.listener_metadata.clone(),
        }
    }

    /// Before anything is made: without an agent the first call that it is to be asked about would wait for ever.
    pub(crate) fn connect(&self) -> Result<OwnedFd> {
        console::connect(&self.path).map_err(|error| Error::Agent(Box::new(error)))
    }
}

#[derive(Serialize)]
struct State<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: crate::state::OciState<'a>,
}

/// A process whose listener is on its way to the agent.
#[derive(Debug)]
pub(crate) struct Listened<'a> {
    pub(crate) socket: &'a OwnedFd,
    pub(crate) agent: &'a Agent,
    /// The container, with the pid of its first process.
    pub(crate) record: &'a Record,
    pub(crate) status: Status,
    pub(crate) pid: i32,
    pub(crate) pidfd: BorrowedFd<'a>,
}

impl Listened<'_> {
    /// Hands over what the process said about its listener; anything else is given back.
    pub(crate) fn hand_over(&self, said: Said) -> Result<Option<Said>> {
        let failed = |reason: std::io::Error| Error::Call {
            operation: "hand the listener to the seccomp agent",
            source: reason,
        };
        let listener = match said {
            Said::Listener(listener) => listener,
            Said::ListenerAt(number) => lighter_sys::pidfd::get_fd(self.pidfd, number).map_err(failed)?,
            other => return Ok(Some(other)),
        };
        let state = State {
            oci_version: &self.record.oci_version,
            fds: ["seccompFd"],
            pid: self.pid,
            metadata: &self.agent.metadata,
            state: self.record.oci_state(self.status),
        };
        let text = serde_json::to_vec(&state).map_err(|error| failed(error.into()))?;
        let mut sent = lighter_sys::fdpass::send(self.socket, &text, &[listener.as_fd()]).map_err(failed)?;
        while sent < text.len() {
            sent += lighter_sys::fdpass::send(self.socket, &text[sent..], &[]).map_err(failed)?;
        }
        // The end of the document is the end of the stream.
        rustix::net::shutdown(self.socket, rustix::net::Shutdown::Write)
            .map_err(|error| failed(error.into()))?;
        Ok(None)
    }
}

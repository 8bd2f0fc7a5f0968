//! The desired state, and the answer to a request for it.

use std::net::IpAddr;
use std::path::Path;

use lighter_stdx::atomic::{self, Keep};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const VERSION: u32 = 1;

/// Name of the state file under the root.
pub(crate) const STATE: &str = "state.json";
/// Name of the control socket under the root.
pub(crate) const CONTROL: &str = "control.sock";
/// Name of the lock under the root; the keeper's pid is in it.
pub(crate) const LOCK: &str = "keeper.lock";
/// Longest message on the control socket and between keeper and worker.
pub(crate) const MESSAGE: usize = 256 * 1024;

/// What the proxy can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The engine's name for it.
    pub id: String,
    /// Protocol.
    pub proto: Proto,
    /// Address to bind; an unspecified IPv6 one takes IPv6 only.
    pub host_ip: IpAddr,
    /// Port to bind.
    pub host_port: u16,
    /// Where connections go.
    pub container_ip: IpAddr,
    /// Where connections go.
    pub container_port: u16,
    /// Bound, so that nobody else takes it, but not served.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reserve: bool,
}

impl Port {
    /// Both need the same socket.
    pub(crate) fn binds_like(&self, other: &Self) -> bool {
        let of = |port: &Self| (port.proto, port.host_ip, port.host_port, port.reserve);
        of(self) == of(other)
    }
}

/// The state file.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    ports: Vec<Port>,
}

/// A port that could not be bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub id: String,
    /// The kernel's words.
    pub error: String,
    /// The kernel's number.
    pub errno: i32,
}

/// The keeper's answer to a request.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) ok: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) failed: Vec<Failed>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
}

/// Replaces the state file; kill-safe.
pub(crate) fn write(root: &Path, ports: &[Port]) -> Result<()> {
    let path = root.join(STATE);
    let state = State {
        version: VERSION,
        ports: ports.to_vec(),
    };
    let bytes = serde_json::to_vec(&state).map_err(|source| Error::State {
        path: path.clone(),
        source,
    })?;
    atomic::write(&path, &bytes, 0o600, Keep::Kill).map_err(|source| Error::File {
        step: "write",
        path,
        source,
    })
}

/// Reads the state file; none means no ports.
pub(crate) fn read(root: &Path) -> Result<Vec<Port>> {
    let path = root.join(STATE);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(|source| Error::File {
            step: "read",
            path: path.clone(),
            source,
        })?,
    };
    let state: State = serde_json::from_slice(&bytes).map_err(|source| Error::State {
        path: path.clone(),
        source,
    })?;
    match state.version > VERSION {
        true => Err(Error::Newer {
            path,
            found: state.version,
        }),
        false => Ok(state.ports),
    }
}

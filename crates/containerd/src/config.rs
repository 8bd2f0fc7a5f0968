//! What the layer is told at its start.

use std::path::PathBuf;

use lighter_stdx::clock::Clock;

/// Places and programs.
#[derive(Debug, Clone)]
pub struct Config {
    /// What lasts: content, snapshots, records.
    pub root: PathBuf,
    /// What goes with the machine: bundles, sockets of shims.
    pub state: PathBuf,
    /// The socket on which the API is served; shims are told of it.
    pub address: PathBuf,
    /// Where shims are looked for, in order.
    pub programs: Vec<PathBuf>,
    /// The shim that serves `io.containerd.runc.v2`: a file name or an absolute path.
    pub runc_shim: String,
    /// The certificate authorities that registries are trusted by: a file of PEM certificates; without it none is.
    pub authorities: PathBuf,
    /// The time.
    pub clock: Clock,
    /// The version that clients are told.
    pub version: String,
    /// The revision that clients are told.
    pub revision: String,
    /// Whether shims shall log everything.
    pub debug: bool,
}

/// The runtime of a container that names none.
pub const DEFAULT_RUNTIME: &str = "io.containerd.lighter.v1";

/// The shim of [`DEFAULT_RUNTIME`].
pub const DEFAULT_SHIM: &str = "containerd-shim-lighter-v1";

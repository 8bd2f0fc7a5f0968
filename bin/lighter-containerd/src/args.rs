//! Arguments and surroundings for the layer.

use std::path::{Path, PathBuf};

use clap::Parser;
use lighter_containerd::config::{Config, DEFAULT_SHIM};
use lighter_stdx::clock::Clock;
use tracing_subscriber::filter::LevelFilter;

/// Where programs are looked for when nothing says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Debian's, Fedora's, SUSE's and Alpine's places of the system's certificate authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Blobs, snapshots, images and tasks: containerd's API.
#[derive(Debug, Parser)]
#[command(name = "lighter-containerd", version)]
pub(crate) struct Args {
    /// Directory of what lasts: blobs, snapshots, records
    #[arg(long, value_name = "DIR", default_value = "/var/lib/lighter/containerd")]
    root: PathBuf,
    /// Directory of what goes with the machine: sockets, bundles
    #[arg(long, value_name = "DIR", default_value = "/var/run/lighter/containerd")]
    state: PathBuf,
    /// Socket of the API [default: containerd.sock in the state directory]
    #[arg(short, long, value_name = "SOCKET")]
    address: Option<PathBuf>,
    /// What is worth a line on the error stream
    #[arg(short, long, value_name = "LEVEL", default_value = "info",
        value_parser = ["fatal", "error", "warn", "info", "debug", "trace"])]
    log_level: String,
    /// Program that serves the runtime io.containerd.runc.v2: a name or a path
    #[arg(long, value_name = "PROGRAM", default_value = DEFAULT_SHIM)]
    runc_shim: String,
    /// Die at a named step
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) abort_at: Option<String>,
}

impl Args {
    /// The level that was asked for: nothing is worse than an error.
    pub(crate) fn level(&self) -> LevelFilter {
        self.log_level.parse().unwrap_or(LevelFilter::ERROR)
    }

    /// The layer's configuration; directories are made absolute, since shims work elsewhere.
    pub(crate) fn config(self) -> std::io::Result<Config> {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        let address = self.address.unwrap_or_else(|| self.state.join("containerd.sock"));
        Ok(Config {
            root: std::path::absolute(self.root)?,
            state: std::path::absolute(self.state)?,
            address: std::path::absolute(address)?,
            programs: beside.into_iter().chain(std::env::split_paths(&path)).collect(),
            runc_shim: self.runc_shim,
            authorities: authorities(),
            clock: Clock::system(),
            version: format!("v{}", env!("CARGO_PKG_VERSION")),
            revision: option_env!("LIGHTER_REVISION").unwrap_or_default().to_owned(),
            debug: matches!(self.log_level.as_str(), "debug" | "trace"),
        })
    }
}

/// The system's bundle of certificate authorities: `SSL_CERT_FILE`, or where a distribution has it.
fn authorities() -> PathBuf {
    let own = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    own.map(PathBuf::from)
        .or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()))
        .unwrap_or_else(|| BUNDLES[0].into())
}

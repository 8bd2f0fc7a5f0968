//! Arguments and surroundings for the layer.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use lighter_containerd::config::{Config, DEFAULT_SHIM};
use lighter_containerd::settings::Settings;
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

const ROOT: &str = "/var/lib/lighter/containerd";
const STATE: &str = "/var/run/lighter/containerd";
/// Read when it is there and no other is named.
const FILE: &str = "/etc/lighter/containerd.toml";

/// Blobs, snapshots, images and tasks: containerd's API.
#[derive(Debug, Parser)]
#[command(name = "lighter-containerd", version)]
pub(crate) struct Args {
    /// Configuration file [default: /etc/lighter/containerd.toml, if it is there]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of what lasts: blobs, snapshots, records [default: /var/lib/lighter/containerd]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Directory of what goes with the machine: sockets, bundles [default: /var/run/lighter/containerd]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Socket of the API [default: containerd.sock in the state directory]
    #[arg(short, long, value_name = "SOCKET")]
    address: Option<PathBuf>,
    /// What is worth a line on the error stream [default: info]
    #[arg(short, long, value_name = "LEVEL", value_parser = LEVELS)]
    log_level: Option<String>,
    /// Program that serves the runtime io.containerd.runc.v2: a name or a path [default: containerd-shim-lighter-v1]
    #[arg(long, value_name = "PROGRAM")]
    runc_shim: Option<String>,
    /// Die at a named step
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) abort_at: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const LEVELS: [&str; 6] = ["fatal", "error", "warn", "info", "debug", "trace"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the configuration
    #[command(subcommand)]
    Config(Show),
    /// Look after what is kept
    #[command(subcommand)]
    Content(Content),
    /// Publish an event that stands on standard input: a protobuf Any
    Publish {
        /// Namespace of the event
        #[arg(long)]
        namespace: String,
        /// Topic of the event: /tasks/exit and the like
        #[arg(long)]
        topic: String,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Show {
    /// As it is without a file
    Default,
    /// As the file and the flags make it
    Dump,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Content {
    /// Hash every blob, compare every unpacked layer with its blob, and look for what records refer to; the daemon must be stopped
    Check {
        /// Drop bad blobs, so that the next pull fetches them, and unpack changed layers anew
        #[arg(long)]
        repair: bool,
    },
}

/// Flags and file together.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) settings: Settings,
    /// Keys of the file that nothing reads.
    pub(crate) ignored: Vec<String>,
    root: PathBuf,
    state: PathBuf,
    pub(crate) address: PathBuf,
}

impl Args {
    /// Reads the file; a flag outweighs it. Directories are made absolute, since shims work elsewhere.
    pub(crate) fn told(&self) -> anyhow::Result<Told> {
        let file = match &self.config {
            Some(file) => Some(file.as_path()),
            None => Some(Path::new(FILE)).filter(|file| file.exists()),
        };
        let file = match self.command {
            Some(Command::Config(Show::Default)) => None,
            _ => file,
        };
        let (mut settings, ignored) = match file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.with_context(|| format!("reading {}", file.display()))?;
                Settings::parse(&text).with_context(|| format!("configuration {}", file.display()))?
            }
            None => Default::default(),
        };
        let absolute = |flag: &Option<PathBuf>, said: &Option<PathBuf>, default: PathBuf| {
            std::path::absolute(flag.clone().or_else(|| said.clone()).unwrap_or(default))
                .context("finding the working directory")
        };
        let root = absolute(&self.root, &settings.root, ROOT.into())?;
        let state = absolute(&self.state, &settings.state, STATE.into())?;
        let address = absolute(&self.address, &settings.address, state.join("containerd.sock"))?;
        for (flag, said) in [
            (&self.log_level, &mut settings.level),
            (&self.runc_shim, &mut settings.runc_shim),
        ] {
            if flag.is_some() {
                said.clone_from(flag);
            }
        }
        if let Some(level) = settings.level.as_deref().filter(|level| !LEVELS.contains(level)) {
            anyhow::bail!("debug.level {level:?} is none of {}", LEVELS.join(", "));
        }
        Ok(Told {
            settings,
            ignored,
            root,
            state,
            address,
        })
    }
}

impl Told {
    /// The directory of what lasts.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The level that was asked for: nothing is worse than an error.
    pub(crate) fn level(&self) -> LevelFilter {
        let level = self.settings.level.as_deref().unwrap_or("info");
        level.parse().unwrap_or(LevelFilter::ERROR)
    }

    /// As a file would say it.
    pub(crate) fn to_toml(&self) -> String {
        let [root, state, address] =
            [&self.root, &self.state, &self.address].map(|path| path.to_string_lossy());
        self.settings.to_toml(&root, &state, &address)
    }

    /// The layer's configuration.
    pub(crate) fn config(&self) -> Config {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        let shim = self.settings.runc_shim.as_deref().unwrap_or(DEFAULT_SHIM);
        Config {
            root: self.root.clone(),
            state: self.state.clone(),
            address: self.address.clone(),
            programs: beside.into_iter().chain(std::env::split_paths(&path)).collect(),
            runc_shim: shim.to_owned(),
            authorities: authorities(),
            clock: Clock::system(),
            version: format!("v{}", env!("CARGO_PKG_VERSION")),
            revision: option_env!("LIGHTER_REVISION").unwrap_or_default().to_owned(),
            debug: self.level() >= LevelFilter::DEBUG,
        }
    }
}

/// The system's bundle of certificate authorities: `SSL_CERT_FILE`, or where a distribution has it.
fn authorities() -> PathBuf {
    let own = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    own.map(PathBuf::from)
        .or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()))
        .unwrap_or_else(|| BUNDLES[0].into())
}

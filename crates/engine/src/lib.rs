//! State machines of containers, exec, networks, events; no HTTP.
//!
//! [`Engine`] is what `engine-http` talks to. Each container is one task (an actor) that owns its state; readers see a
//! published snapshot and never wait for it. Everything that touches an image or a process is asked of the layer below
//! over containerd's gRPC API.

pub mod config;
pub mod containers;
mod error;
pub mod events;
pub mod images;
pub mod layer;
pub mod logs;
mod names;
mod networks;
mod socket;
mod spec;
mod supervise;
pub mod system;

use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use lighter_network::Network;

pub use config::Config;
pub use error::{Error, Kind, Result};

/// The engine: a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What all clones of an [`Engine`] share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) layer: layer::Layer,
    pub(crate) events: events::Bus,
    pub(crate) images: images::Store,
    pub(crate) network: Network,
    pub(crate) containers: containers::Index,
    pub(crate) store: containers::Store,
    pub(crate) execs: containers::Execs,
    /// The capabilities that containers can be given.
    pub(crate) held: Vec<String>,
    /// Whether the host has the unified cgroup hierarchy only.
    pub(crate) unified: bool,
    supervisor: supervise::Supervisor,
    /// Held while we live: one engine to a data root.
    _lock: File,
}

impl Engine {
    /// Starts the layer below unless one runs, and takes up the containers of an earlier engine: those that run go on, of
    /// those that ended meanwhile the end is recorded. Needs a tokio runtime.
    pub async fn start(config: Config) -> Result<Self> {
        for (dir, mode) in [
            (config.data_root.clone(), 0o711),
            (config.data_root.join("engine"), 0o700),
            (config.data_root.join("containers"), 0o710),
            (config.exec_root.clone(), 0o711),
            (config.exec_root.join("attach"), 0o700),
        ] {
            make_dir(&dir, mode)?;
        }
        let lock = lock(&config.data_root.join("engine").join("lock"))?;
        let supervisor = supervise::Supervisor::start(&config)?;
        let layer = layer::Layer::connect(supervisor.socket());
        let network = open_network(&config)?;
        let engine = Self {
            inner: Arc::new(Inner {
                events: events::Bus::new(config.clock.clone()),
                images: images::Store::new(layer.clone()),
                containers: containers::Index::default(),
                store: containers::Store::open(&config.data_root)?,
                execs: containers::Execs::default(),
                held: spec::caps::held(),
                unified: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
                network,
                layer,
                supervisor,
                config,
                _lock: lock,
            }),
        };
        engine.load()?;
        engine.restore().await?;
        Ok(engine)
    }

    /// Lets go of what containers do not need. They run on.
    pub async fn shutdown(&self) {
        if let Err(error) = self.inner.network.flush().await {
            tracing::warn!(error = lighter_stdx::error::chain(&error), "network");
        }
        let inner = self.inner.clone();
        // Blocks until the layer is gone.
        let stopped = tokio::task::spawn_blocking(move || inner.supervisor.stop()).await;
        if let Err(error) = stopped {
            tracing::warn!(%error, "the layer was not stopped");
        }
    }

    /// How this engine was set up.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The layer below.
    pub fn layer(&self) -> &layer::Layer {
        &self.inner.layer
    }
}

fn open_network(config: &Config) -> Result<Network> {
    let wanted = lighter_network::Config {
        bip: config.bip,
        iptables: config.iptables,
        ip_masq: config.ip_masq,
        userland_proxy: config.userland_proxy,
        netd: config.program("lighter-netd"),
        ..lighter_network::Config::new(&config.exec_root)
    };
    Network::open(wanted)
        .map_err(|error| Error::system("the default network cannot be made").with_source(error))
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| Error::system(format!("create {}", path.display())).with_source(error))
}

fn lock(path: &Path) -> Result<File> {
    let failed = |error: std::io::Error| Error::system(format!("lock {}", path.display())).with_source(error);
    let file = lighter_sys::flock::open(path).map_err(failed)?;
    match lighter_sys::flock::try_exclusive(&file).map_err(failed)? {
        true => Ok(file),
        false => Err(Error::conflict(format!(
            "another lighterd works on {}: stop it first, or give this one its own --data-root",
            path.ancestors().nth(2).unwrap_or(path).display()
        ))),
    }
}

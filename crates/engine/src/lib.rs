//! State machines of containers, exec, networks, events; no HTTP.
//!
//! [`Engine`] is what `engine-http` talks to. Each container is one task (an actor) that owns its state; readers see a
//! published snapshot and never wait for it. Everything that touches an image or a process is asked of the layer below
//! over containerd's gRPC API.

pub mod config;
mod error;
pub mod events;
pub mod images;
pub mod layer;
mod names;
mod socket;

use std::sync::Arc;

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
}

impl Engine {
    /// How this engine was set up.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The layer below.
    pub fn layer(&self) -> &layer::Layer {
        &self.inner.layer
    }
}

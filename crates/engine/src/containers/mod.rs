//! Containers: each is one task (an actor, [`actor`]) that owns its state; readers see what it published last ([`View`]).

mod actor;
mod attach;
mod check;
mod create;
mod detach;
mod exec;
mod exit;
mod files;
mod filter;
mod index;
mod inspect;
mod list;
mod mounts;
mod network;
mod record;
mod remove;
mod restart;
mod restore;
mod start;
mod stop;
mod store;
mod top;
mod wait;

use std::sync::Arc;

pub use attach::{AttachOptions, Attached, Frame, Input, InputClosed, Output, StreamKind};
pub use exec::ExecStartOptions;
pub(crate) use exec::Execs;
pub(crate) use index::{Container, Index};
pub use list::ListOptions;
pub(crate) use record::{Phase, Record, State};
pub(crate) use store::Store;
pub use wait::WaitCondition;

/// How to stop a container.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// In place of the container's own stop signal: a name or a number.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; -1 waits for ever. Without it the container's own, else 10.
    pub timeout: Option<i64>,
}

/// What a removal takes along.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it when it runs.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
    /// Only a link to it, not the container.
    pub link: bool,
}

/// What an actor published last.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) record: Arc<Record>,
    pub(crate) state: State,
    /// Its place on the network, while it has one.
    pub(crate) endpoint: Option<Arc<lighter_network::Endpoint>>,
    /// It is gone; nothing follows.
    pub(crate) removed: bool,
}

#[cfg(test)]
pub(crate) use record::tests;

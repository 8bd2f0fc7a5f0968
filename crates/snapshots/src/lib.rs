//! Snapshotters: overlayfs first, native copies where it does not work; one conformance suite for every one.
//!
//! A snapshotter keeps file trees: *active* ones that can be written, *committed* ones that are parents of others, and *views*
//! that can only be read. It hands out mounts; it mounts nothing itself.
//!
//! Semantics: containerd's snapshotter interface (core/snapshots, docs/snapshotters).

#![forbid(unsafe_code)]

pub mod check;
mod copy;
mod error;
mod local;
mod mount;
pub mod native;
pub mod overlayfs;
mod record;
mod snapshotter;
pub mod suite;
mod trash;
mod usage;

pub use error::{Error, Result};
pub use lighter_content::Labels;
pub use local::{Local, Repairs};
pub use mount::{Mount, unmount};
pub use snapshotter::{Info, Kind, Snapshotter, Snapshotters, Usage};

//! Snapshotters: overlayfs first, one conformance suite for every one.
//!
//! A snapshotter keeps file trees: *active* ones that can be written, *committed* ones that are parents of others, and *views*
//! that can only be read. It hands out mounts; it mounts nothing itself.
//!
//! Semantics: containerd's snapshotter interface (core/snapshots, docs/snapshotters).

#![forbid(unsafe_code)]

mod error;
mod mount;
mod snapshotter;

pub use error::{Error, Result};
pub use lighter_content::Labels;
pub use mount::Mount;
pub use snapshotter::{Info, Kind, Snapshotter, Snapshotters, Usage};

//! Query and follow what containers wrote.
//!
//! The shim writes Docker's json-file format: a line is `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}`,
//! and rotation renames `x-json.log` to `x-json.log.1`, that to `.2`, and so on. A reader needs no word with the writer: it
//! opens all of them, reads the oldest first, and follows by inotify, through rotations, until it is told that the writer
//! is gone.

mod entry;
mod follow;
mod reader;
mod tail;

pub use entry::{Entry, Source};
pub use reader::{Query, entries};

use std::path::PathBuf;

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened or read.
    #[error("failed to read the log {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The directory could not be watched.
    #[error("failed to follow the log {path}")]
    Watch {
        /// The log's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

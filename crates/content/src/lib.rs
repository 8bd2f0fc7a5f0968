//! Content-addressed blobs, resumable ingests, leases, mark and sweep.
//!
//! [`ContentStore`] is what images, the builder and the content service are written against; [`LocalContent`] keeps blobs in a
//! directory of this machine. Blobs are shared by namespaces: the bytes are there once, a namespace sees those that it has
//! ingested itself. [`lease`] protects what is being made, [`gc`] removes what nothing refers to.
//!
//! Semantics: containerd's content store (core/content) and garbage collection (docs/garbage-collection.md).

#![forbid(unsafe_code)]

pub mod check;
mod collector;
mod error;
pub mod gc;
mod ingest;
mod known;
pub mod labels;
pub mod lease;
mod local;
mod marks;
mod places;
mod reader;
mod store;
mod writer;

pub use collector::{Collected, Collector};
pub use error::{Error, Result};
pub use labels::Labels;
pub use local::{LocalContent, LocalStore, Repairs};
pub use store::{ContentStore, Info, ReadAt, Status, Writer, WriterOptions, read_blob, write_blob};

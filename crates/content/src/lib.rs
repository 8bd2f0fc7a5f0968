//! Content-addressed blobs, resumable ingests, leases, mark and sweep.
//!
//! [`ContentStore`] is what images, the builder and the content service are written against; [`LocalStore`] keeps blobs in a
//! directory of this machine. Blobs are shared by namespaces: the bytes are there once, a namespace sees those that it has
//! ingested itself. [`lease`] protects what is being made, [`gc`] removes what nothing refers to.
//!
//! Semantics: containerd's content store (core/content) and garbage collection (docs/garbage-collection.md).

#![forbid(unsafe_code)]

mod error;
pub mod gc;
pub mod lease;

mod store;

pub use error::{Error, Result};

pub use store::{ContentStore, Info, Labels, ReadAt, Status, Writer, WriterOptions, read_blob, write_blob};

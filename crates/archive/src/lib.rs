//! Layers: tar streams in, directories out, and back.
//!
//! [`apply`] unpacks one layer below a directory while it is still being read, and computes its diff id on the way. The
//! compression is told by the first bytes and not by a media type; everything is created by descriptor, so that no name and no
//! link of a layer leads out of the directory.
//!
//! [`diff`] writes the layer that makes one tree of another.
//!
//! Sources: OCI image-spec, layer.md; POSIX.1-2017 `pax`; the GNU tar manual, "Tar Internals".

#![forbid(unsafe_code)]

mod apply;
mod decode;
mod diff;
mod encode;
mod entry;
mod error;
mod made;
mod metadata;
mod name;
mod pax;
mod pipeline;
mod reader;
mod remove;
mod sparse;
mod tree;
mod write;

pub use apply::{Applied, Options, Whiteouts, apply};
pub use decode::{Compression, decode};
pub use diff::{DiffOptions, Diffed, diff};
pub use encode::Encoder;
pub use entry::{Entry, Kind, Metadata, Segment, Time};
pub use error::{Error, Result};
pub use reader::Reader;
pub use tree::Tree;
pub use write::Writer;

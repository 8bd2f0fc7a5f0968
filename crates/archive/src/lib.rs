//! Layers: tar streams in, directories out.
//!
//! [`apply`] unpacks one layer below a directory while it is still being read, and computes its diff id on the way. The
//! compression is told by the first bytes and not by a media type; everything is created by descriptor, so that no name and no
//! link of a layer leads out of the directory.
//!
//! Sources: OCI image-spec, layer.md; POSIX.1-2017 `pax`; the GNU tar manual, "Tar Internals".

#![forbid(unsafe_code)]

mod apply;
mod decode;
mod entry;
mod error;
mod metadata;
mod name;
mod pax;
mod pipeline;
mod reader;
mod remove;
mod sparse;

pub use apply::{Applied, Options, Whiteouts, apply};
pub use decode::{Compression, decode};
pub use entry::{Entry, Kind, Metadata, Segment, Time};
pub use error::{Error, Result};
pub use reader::Reader;

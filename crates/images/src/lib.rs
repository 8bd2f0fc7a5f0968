//! Pull images into a content store and a snapshotter, read them there, push them; import and export archives of them.
//!
//! Written against the two store traits, so that the stores may be here or behind a wire. [`pull`] unpacks a layer while it is being
//! downloaded. Image records are the caller's: it holds a lease while a pull runs (its stores are given with that lease), writes the
//! record last, and then lets the lease go.

#![forbid(unsafe_code)]

mod docker_archive;
mod error;
mod export;
mod fetch;
mod flow;
mod import;
mod labels;
mod layers;
mod progress;
mod pull;
mod push;
mod read;
mod rest;
mod take_in;
mod tar_header;
mod unpack;

pub use error::{Error, Result};
pub use export::{Export, export};
pub use fetch::discard_empty;
pub use import::{Import, import};
pub use labels::{SOURCE_LABEL, UNCOMPRESSED_LABEL};
pub use progress::{Event, Part, Progress, State, name};
pub use pull::{Pulled, Request, Stores, Unpack, pull};
pub use push::{Push, push};
pub use read::{Image, read};
pub use rest::{Rest, pull_rest};
pub use take_in::{TakeIn, take_in};

//! Pull images into a content store and a snapshotter, and read them there.
//!
//! Written against the two store traits, so that the stores may be here or behind a wire. [`pull`] unpacks a layer while it is being
//! downloaded. Image records are the caller's: it holds a lease while a pull runs (its stores are given with that lease), writes the
//! record last, and then lets the lease go.

#![forbid(unsafe_code)]

mod error;
mod fetch;
mod flow;
mod labels;
mod layers;
mod progress;
mod pull;
mod read;
mod unpack;

pub use error::{Error, Result};
pub use fetch::discard_empty;
pub use labels::{SOURCE_LABEL, UNCOMPRESSED_LABEL};
pub use progress::{Event, Progress, State};
pub use pull::{Pulled, Request, Stores, Unpack, pull};
pub use read::{Image, read};

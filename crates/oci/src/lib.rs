//! Names and data of the OCI world: references, digests, platforms, descriptors, manifests, image configs. No I/O.
//!
//! Parsing is by hand and without regular expressions: names are parsed on every command, and the first use of a compiled
//! expression costs more than a whole container.

mod config;
mod descriptor;
mod digest;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use config::{Healthcheck, History, ImageConfig, ProcessConfig, RootFs, chain_ids};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use manifest::{Document, Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{DEFAULT_DOMAIN, DEFAULT_TAG, Reference, ReferenceError};

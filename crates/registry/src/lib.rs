//! Distribution client: resolve and fetch from registries and their mirrors, push to registries.
//!
//! A [`Client`] knows where hosts are configured (containerd's `certs.d` directories) and whom to ask for credentials; a
//! [`Repository`] is one name on the hosts that serve it, mirrors first. Bodies are checked against their digests by whoever
//! keeps them; manifests, which are small, are checked here.
//!
//! Sources: the OCI distribution-spec; "Docker Registry v2 authentication via central service"; containerd's docs/hosts.md.

#![forbid(unsafe_code)]

mod auth;
mod blob;
mod challenge;
mod error;
mod hosts;
mod http;
mod push;
mod repository;
mod tls;

pub use auth::{Credential, Credentials, NoCredentials};
pub use blob::Blob;
pub use error::{Error, Result};
pub use http::Parts;
pub use push::Pushed;
pub use repository::{Client, Options, Repository, Resolved};

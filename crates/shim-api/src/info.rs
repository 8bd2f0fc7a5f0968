//! What a shim tells about itself when it is called with `-info`.
//!
//! Source: containerd's `types/introspection.proto`, since 2.0.

use crate::Any;

/// `containerd.types.RuntimeVersion`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RuntimeVersion {
    /// Of the shim.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Of its source.
    #[prost(string, tag = "2")]
    pub revision: String,
}

/// `containerd.types.RuntimeInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeInfo {
    /// Of the runtime, as callers name it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Of the shim.
    #[prost(message, optional, tag = "2")]
    pub version: Option<RuntimeVersion>,
    /// The options that were asked about, as they are understood.
    #[prost(message, optional, tag = "3")]
    pub options: Option<Any>,
    /// What the OCI runtime's `features` says: JSON under its own type's name.
    #[prost(message, optional, tag = "4")]
    pub features: Option<Any>,
}

/// Type of [`RuntimeInfo::features`].
pub const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

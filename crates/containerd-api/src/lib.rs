//! containerd's gRPC API: messages, clients, servers; generated (`examples/codegen.rs`), data only.
//!
//! Names and numbers are those of containerd 2.1's `api` module; the files under `proto` are our own. The short names
//! below (`tasks`, `images`, …) are the versioned modules of [`containerd`].

/// The generated modules, nested as the protobuf packages are.
#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    reason = "generated"
)]
mod generated {
    include!("generated/mod.rs");
}

pub mod any;

pub use containerd::events;
pub use containerd::runc::v1 as runc;
pub use containerd::services::containers::v1 as containers;
pub use containerd::services::content::v1 as content;
pub use containerd::services::diff::v1 as diff;
pub use containerd::services::events::v1 as event_service;
pub use containerd::services::images::v1 as images;
pub use containerd::services::introspection::v1 as introspection;
pub use containerd::services::leases::v1 as leases;
pub use containerd::services::namespaces::v1 as namespaces;
pub use containerd::services::sandbox::v1 as sandbox;
pub use containerd::services::snapshots::v1 as snapshots;
pub use containerd::services::streaming::v1 as streaming;
pub use containerd::services::tasks::v1 as tasks;
pub use containerd::services::transfer::v1 as transfer;
pub use containerd::services::version::v1 as version;
pub use containerd::types;
pub use containerd::types::transfer as transfer_types;
pub use containerd::v1::types as task_types;
pub use generated::grpc::health::v1 as health;
pub use generated::grpc::reflection::{v1 as reflection, v1alpha as reflection_alpha};
pub use generated::{containerd, google};
pub use prost_types::Any;

/// The metadata key that carries the containerd namespace of a request.
pub const NAMESPACE_HEADER: &str = "containerd-namespace";

/// The metadata key that carries the lease of a request.
pub const LEASE_HEADER: &str = "containerd-lease";

/// The descriptors of all of it: a `google.protobuf.FileDescriptorSet`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

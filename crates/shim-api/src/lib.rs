//! Shim v2 task protocol: messages and ttrpc framing, data only.
//!
//! The messages are generated from `proto/` (see `src/generated`); names and numbers are containerd's. The packages
//! `containerd.task.v2` and `containerd.task.v3` hold the same messages: [`task`] serves for both, and
//! [`service`] names the two services.

pub mod attach;
pub mod bootstrap;
pub mod event;
pub mod frame;
pub mod info;
pub mod log_uri;
pub mod sandbox;
pub mod service;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, rustdoc::all)]
mod generated {
    include!("generated/mod.rs");
}

pub use generated::containerd::events;
pub use generated::containerd::runc::v1 as runc_options;
pub use generated::containerd::services::events::ttrpc::v1 as forward;
pub use generated::containerd::task::v3 as task;
pub use generated::containerd::types;
pub use generated::containerd::v1::types as status;
pub use generated::io::containerd::cgroups::v1 as cgroups_v1;
pub use generated::io::containerd::cgroups::v2 as cgroups_v2;
pub use generated::runtimeoptions::v1 as runtime_options;
pub use generated::ttrpc;

pub use prost::Message;
pub use prost_types::{Any, Timestamp};

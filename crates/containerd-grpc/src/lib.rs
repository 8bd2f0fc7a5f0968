//! containerd's gRPC API in front of the layer: wire in, wire out, no behaviour of its own.
//!
//! A module a service; each has a `Service` over the [`Layer`](lighter_containerd::Layer) and is named in [`serve`].

#![forbid(unsafe_code)]

mod convert;
mod error;
mod request;

pub mod client;
mod containers;
mod content;
mod content_write;
mod descriptor;
mod diff;
mod events;
mod health;
mod images;
mod introspection;
mod leases;
mod namespaces;
pub mod proxy;
mod reflection;
mod sandboxes;
mod snapshots;
mod streaming;
mod tasks;
mod transfer;
mod version;

pub mod serve;

pub use serve::{serve, serve_with};

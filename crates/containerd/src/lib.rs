//! The containerd services with no wire in them.

#![forbid(unsafe_code)]

mod any;
pub mod check;
pub mod compare;
pub mod config;
pub mod containers;
mod diff;
mod error;
mod event_types;
pub mod events;
pub mod identifier;
pub mod images;
pub mod layer;
pub mod namespaces;
mod roots;
pub mod sandboxes;
pub mod settings;
pub mod tasks;
pub mod time;
mod told;
pub mod transfer;

pub use layer::Layer;
pub use lighter_snapshots::Snapshotters;

pub use error::{Error, Kind, Result};

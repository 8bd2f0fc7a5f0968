//! Bridges, IPAM, NAT and published ports.
//!
//! A driver is three verbs: validate, setup, teardown. [`Network`] holds the drivers of this release: the default bridge and
//! `none`. A network namespace is made and wired by us, pinned at `<exec-root>/netns/<container>`, and joined by the runtime.
//! No program is executed on the way: links and firewall are set by netlink.

mod bridge;
mod config;
mod conntrack;
mod endpoints;
mod error;
mod firewall;
mod ipam;
mod link;
mod netns;
mod network;
mod ports;
mod sysctl;

pub use config::{
    BadMac, Config, Endpoint, EndpointRequest, Kind, Link, Mac, NetworkInfo, PortBinding, PortRequest,
    Protocol,
};
pub use error::{BindError, Error, PortError, Result};
pub use network::Network;

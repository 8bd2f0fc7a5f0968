//! Private hosts, real peers, a real registry and real terminals for the suites.
//!
//! A [`Host`] is a fresh set of namespaces with a cgroup parent and a directory of its own. An engine in it (ours or the
//! real Docker) cannot touch the machine's bridges, firewall, cgroups or sockets, and all of it goes with the host. A
//! [`Session`] is a host with a registry, an engine and a client: what most tests want; [`sessions!`] makes each test run
//! with the stock client and with ours, against our engine and against the real Docker.

mod engine;
mod host;
mod lab;
mod output;
mod pty;
mod registry;
mod session;
mod wait;

pub use engine::{Engine, Kind, Options};
pub use host::{HOST_ADDRESS, Host, Machine, WORLD_ADDRESS};
pub use lab::{dist, lab};
pub use output::{Output, OutputExt};
pub use pty::Terminal;
pub use registry::Registry;
pub use session::{Client, Session};
pub use wait::{eventually, within};

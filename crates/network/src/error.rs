//! What may go wrong, by operation.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::Protocol;

/// A failure of a network operation. Printed with its causes by `lighter_stdx::error::chain`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record of the network could not be read or written.
    #[error("network record {}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The exec root was written by a newer program.
    #[error("network record {} has format {found}, newer than this program knows", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its number.
        found: u32,
    },
    /// A namespace could not be made or pinned.
    #[error("network namespace {}: {step}", path.display())]
    Namespace {
        /// Where it is pinned.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link, an address or a route could not be set.
    #[error("link {name}: {step}")]
    Link {
        /// Which.
        name: String,
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a change of the firewall.
    #[error("firewall table lighter: {step}")]
    Firewall {
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A kernel parameter could not be set.
    #[error("setting {}", path.display())]
    Sysctl {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Each pool overlaps a route of the host.
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )]
    NoPool,
    /// The subnet has no address left.
    #[error("no available IPv4 addresses on this network's address pools: {network}")]
    NoAddress {
        /// The network's name.
        network: String,
    },
    /// The asked address is in use.
    #[error("Address already in use")]
    AddressInUse,
    /// The asked address is not in the subnet.
    #[error("no configured subnet contains IP address {0}")]
    AddressOutside(IpAddr),
    /// Two endpoints for one container.
    #[error("container {0} has an endpoint already")]
    Exists(String),
    /// Ports could not be published. Worded as Docker does.
    #[error("driver failed programming external connectivity on endpoint {name} ({endpoint_id})")]
    Publish {
        /// The container's name.
        name: String,
        /// The endpoint.
        endpoint_id: String,
        /// Why.
        #[source]
        source: PortError,
    },
    /// A teardown went on after these errors.
    #[error("{}", join(.0))]
    Several(Vec<Error>),
    /// The thread that did the work is gone.
    #[error("the network worker thread died")]
    Worker,
}

/// Why a port could not be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Another container of this engine has it.
    #[error("Bind for {ip}:{port} failed: port is already allocated", ip = .host_ip, port = .host_port)]
    Allocated {
        /// Host address.
        host_ip: IpAddr,
        /// Host port.
        host_port: u16,
    },
    /// Another program of the host has it, or the address is not the host's.
    #[error(
        "failed to bind host port for {}:{host_port}:{container_ip}:{container_port}/{protocol}",
        bracketed(.host_ip)
    )]
    Bind {
        /// Host address.
        host_ip: IpAddr,
        /// Host port.
        host_port: u16,
        /// The container's address.
        container_ip: IpAddr,
        /// The container's port.
        container_port: u16,
        /// Protocol.
        protocol: Protocol,
        /// The kernel's answer.
        #[source]
        source: BindError,
    },
    /// Each port of the range is taken.
    #[error("all ports are allocated")]
    Exhausted,
    /// The keeper of the proxy does not answer.
    #[error("port proxy")]
    Proxy(#[source] lighter_netd::Error),
}

/// Why the kernel would not bind, in Go's words, which clients look for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", words(*.errno, .text))]
pub struct BindError {
    /// The error number.
    pub errno: i32,
    /// The message that came with it.
    pub text: String,
}

fn words(errno: i32, text: &str) -> String {
    match rustix::io::Errno::from_raw_os_error(errno) {
        rustix::io::Errno::ADDRINUSE => "address already in use".to_owned(),
        rustix::io::Errno::ADDRNOTAVAIL => "cannot assign requested address".to_owned(),
        rustix::io::Errno::ACCESS => "permission denied".to_owned(),
        _ => text.to_owned(),
    }
}

fn bracketed(ip: &IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn join(errors: &[Error]) -> String {
    let texts: Vec<_> = errors
        .iter()
        .map(|error| lighter_stdx::error::chain(error))
        .collect();
    texts.join("; ")
}

/// The result of a network operation.
pub type Result<T> = std::result::Result<T, Error>;

/// No error, the only one, or all of them.
pub(crate) fn gather(mut errors: Vec<Error>) -> Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(Error::Several(errors)),
    }
}

//! What callers ask and what they get.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// How the default network is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// The engine's exec root: `netns/`, `network/` and `netd/` are under it.
    pub exec_root: PathBuf,
    /// Name of the default network's bridge; `docker0`.
    pub bridge: String,
    /// The bridge's own address with its prefix (`--bip`). None: the first default pool that no route of the host overlaps.
    pub bip: Option<Ipv4Net>,
    /// Bytes in a packet of the bridge; 1500.
    pub mtu: u32,
    /// Rules are ours to make (`--iptables`).
    pub iptables: bool,
    /// Traffic of containers leaves under the host's address (`--ip-masq`).
    pub ip_masq: bool,
    /// The host may be made a router (`--ip-forward`).
    pub ip_forward: bool,
    /// Ports on loopback are served by the proxy (`--userland-proxy`), not by the kernel.
    pub userland_proxy: bool,
    /// The program `lighter-netd`. None: ports are not bound, so conflicts go unseen and loopback unserved.
    pub netd: Option<PathBuf>,
}

impl Config {
    /// Docker's defaults.
    pub fn new(exec_root: impl Into<PathBuf>) -> Self {
        Self {
            exec_root: exec_root.into(),
            bridge: "docker0".to_owned(),
            bip: None,
            mtu: 1500,
            iptables: true,
            ip_masq: true,
            ip_forward: true,
            userland_proxy: true,
            netd: None,
        }
    }
}

/// A transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP: by kernel NAT only.
    Sctp,
}

impl Protocol {
    /// The number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    /// Protocol.
    pub protocol: Protocol,
    /// Port in the container.
    pub container_port: u16,
    /// Host address; None: all, of IPv4 and of IPv6.
    pub host_ip: Option<IpAddr>,
    /// First and last host port to try; None: the next free one of the ephemeral range.
    pub host_ports: Option<(u16, u16)>,
}

/// What a container wants of the network.
#[derive(Debug, Clone, Default)]
pub struct EndpointRequest {
    /// The container's id: names the namespace and the record.
    pub container_id: String,
    /// The container's name: in messages.
    pub name: String,
    /// Ports to publish.
    pub ports: Vec<PortRequest>,
    /// A MAC address; None: one derived from the IPv4 address.
    pub mac: Option<Mac>,
    /// An address of the subnet; None: the lowest free one.
    pub ip: Option<Ipv4Addr>,
}

/// A published port as it was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortBinding {
    /// Protocol.
    pub protocol: Protocol,
    /// Port in the container.
    pub container_port: u16,
    /// Host address; may be the unspecified one.
    pub host_ip: IpAddr,
    /// Host port.
    pub host_port: u16,
}

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Locally administered, from the IPv4 address: `02:42` and its four bytes. Docker did so to version 27. Since one
    /// address then always has one MAC, no neighbour's cache is wrong when the address is used again.
    pub fn of(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// A text that is no MAC address.
#[derive(Debug, thiserror::Error)]
#[error("invalid MAC address {0}")]
pub struct BadMac(String);

impl std::str::FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| BadMac(text.to_owned()))?;
        }
        // An address with the lowest bit set is a group, which no interface can be.
        if parts.next().is_some() || bytes[0] & 1 == 1 {
            return Err(BadMac(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Self, BadMac> {
        text.parse()
    }
}

/// Which driver made an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The default bridge.
    Bridge,
    /// Loopback only.
    None,
}

/// A container's place on the network, as recorded under the exec root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Format of the record: 1.
    pub version: u32,
    /// The container.
    pub container_id: String,
    /// Its name, when the endpoint was made.
    pub name: String,
    /// Which driver.
    pub kind: Kind,
    /// The endpoint: 64 hexadecimal digits.
    pub endpoint_id: String,
    /// Its network: 64 hexadecimal digits.
    pub network_id: String,
    /// The pinned namespace.
    pub netns: PathBuf,
    /// Of a bridge's endpoint.
    pub link: Option<Link>,
    /// Published ports, in the order of the request.
    pub ports: Vec<PortBinding>,
}

/// An endpoint's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// In the container; `eth0`.
    pub interface: String,
    /// Address and prefix.
    pub ipv4: Ipv4Net,
    /// Default route.
    pub gateway: Ipv4Addr,
    /// Hardware address.
    pub mac: Mac,
    /// The other end, on the host.
    pub host_interface: String,
}

/// The default network, for `inspect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInfo {
    /// 64 hexadecimal digits; kept while the exec root is.
    pub id: String,
    /// `bridge`.
    pub name: String,
    /// The bridge device.
    pub bridge: String,
    /// Subnet.
    pub subnet: Ipv4Net,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// Bytes in a packet.
    pub mtu: u32,
}

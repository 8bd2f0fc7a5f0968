//! The bridge driver: a bridge on the host, a veth pair per container, NAT by the firewall.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;
use lighter_sys::netlink::{Family, Socket};
use serde::{Deserialize, Serialize};

use crate::config::{Config, EndpointRequest, Link, Mac};
use crate::endpoints;
use crate::error::{Error, Result};
use crate::firewall::Rules;
use crate::ipam::{self, Pool, Refusal};
use crate::{link, netns, sysctl};

const INTERFACE: &str = "eth0";
/// Names are random; two tries would do.
const NAME_TRIES: usize = 8;

/// The default bridge network.
#[derive(Debug)]
pub(crate) struct Bridge {
    name: String,
    mtu: u32,
    masquerade: bool,
    loopback: bool,
    /// The bridge's own address, which is the containers' gateway.
    address: Ipv4Net,
    pool: Mutex<Pool>,
    pub(crate) record: Record,
}

/// What must stay the same while the exec root is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// The network's id.
    pub(crate) id: String,
    bridge: String,
    address: Ipv4Net,
    /// The bridge was made by us and goes with us.
    made: bool,
}

impl Bridge {
    /// Makes the bridge or adopts it, and prepares the host: forwarding, and where the kernel serves loopback, routes for it.
    pub(crate) fn open(config: &Config, record: &Path) -> Result<Self> {
        let known = endpoints::read::<Record>(record)?.filter(|known| known.bridge == config.bridge);
        if let Some(known) = &known
            && known.version > endpoints::VERSION
        {
            return Err(Error::Newer {
                path: record.to_owned(),
                found: known.version,
            });
        }
        let socket = Socket::open(Family::Route).map_err(failed(&config.bridge, "netlink socket"))?;
        let found = link::index(&config.bridge).map_err(failed(&config.bridge, "look up"))?;
        let current = match found {
            Some(index) => link::address(&socket, index).map_err(failed(&config.bridge, "address"))?,
            None => None,
        };
        let address = match config
            .bip
            .or(current)
            .or(known.as_ref().map(|known| known.address))
        {
            Some(address) => address,
            None => default_address(&socket, &config.bridge)?,
        };
        let made = found.is_none() || known.as_ref().is_some_and(|known| known.made);
        let bridge = Self {
            name: config.bridge.clone(),
            mtu: config.mtu,
            masquerade: config.ip_masq,
            loopback: config.iptables && !config.userland_proxy,
            address,
            pool: Mutex::new(Pool::new(address, address.addr())),
            record: Record {
                version: endpoints::VERSION,
                id: known.map_or_else(random_id, |known| known.id),
                bridge: config.bridge.clone(),
                address,
                made,
            },
        };
        // Recorded before it is made: a bridge that nobody remembers making would never go.
        endpoints::write(record, &bridge.record)?;
        let index = bridge.ensure(&socket)?;
        if let Some(current) = current.filter(|current| *current != address) {
            link::remove_address(&socket, index, current).map_err(failed(&config.bridge, "old address"))?;
        }
        if config.ip_forward && (config.iptables || config.ip_masq) {
            sysctl::set("ipv4/ip_forward", "1")?;
        }
        Ok(bridge)
    }

    /// The bridge's number. It is made again when somebody removed it.
    fn ensure(&self, socket: &Socket) -> Result<u32> {
        let name = &self.name;
        let look = || link::index(name).map_err(failed(name, "look up"));
        let index = match look()? {
            Some(index) => index,
            None => {
                link::create_bridge(socket, name, random_mac(), self.mtu).map_err(failed(name, "create"))?;
                let index = look()?
                    .ok_or(std::io::ErrorKind::NotFound.into())
                    .map_err(failed(name, "look up"))?;
                // The bridge itself speaks IPv4 only, and listens to nobody's router advertisements.
                sysctl::set_if_known(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
                index
            }
        };
        link::add_address(socket, index, self.address).map_err(failed(name, "address"))?;
        link::set_up(socket, index).map_err(failed(name, "up"))?;
        if self.loopback {
            sysctl::set(&format!("ipv4/conf/{name}/route_localnet"), "1")?;
        }
        Ok(index)
    }

    /// Whether the request can be served at all; changes nothing.
    pub(crate) fn validate(&self, request: &EndpointRequest) -> Result<()> {
        match request.ip {
            Some(ip) if !self.address.contains(&ip) => Err(Error::AddressOutside(ip.into())),
            _ => Ok(()),
        }
    }

    /// An address for the request, and the names that go with it. Given back by [`Bridge::release`].
    pub(crate) fn reserve(&self, request: &EndpointRequest) -> Result<Link> {
        let ip = {
            let mut pool = self.pool();
            // An old link that cannot be looked up is taken to be there.
            let given = match request.ip {
                Some(ip) => pool.request(ip).map(|()| ip),
                None => pool.next(|name| !matches!(link::index(name), Ok(None))),
            };
            given.map_err(|refusal| match (refusal, request.ip) {
                (Refusal::Outside, Some(ip)) => Error::AddressOutside(ip.into()),
                (Refusal::Taken, _) => Error::AddressInUse,
                _ => Error::NoAddress {
                    network: "bridge".to_owned(),
                },
            })?
        };
        Ok(Link {
            interface: INTERFACE.to_owned(),
            ipv4: Ipv4Net::new_assert(ip, self.address.prefix_len()),
            gateway: self.address.addr(),
            mac: request.mac.unwrap_or_else(|| Mac::of(ip)),
            host_interface: random_name(),
        })
    }

    /// Takes over an address that an earlier engine gave out.
    pub(crate) fn adopt(&self, link: &Link) {
        // Outside the subnet (another `--bip`) or twice: nothing to keep free.
        let _ = self.pool().request(link.ipv4.addr());
    }

    /// Makes the namespace and its link; `hairpin` when it has published ports.
    pub(crate) fn setup(&self, link: &mut Link, path: &Path, hairpin: bool) -> Result<()> {
        let host = Socket::open(Family::Route).map_err(failed(&self.name, "netlink socket"))?;
        let bridge = match link::index(&self.name).map_err(failed(&self.name, "look up"))? {
            Some(index) => index,
            None => self.ensure(&host)?,
        };
        // With a MAC of its own, the address may be known to the host under another.
        if link.mac != Mac::of(link.ipv4.addr()) {
            link::forget_neighbour(&host, bridge, link.ipv4.addr())
                .map_err(failed(&self.name, "neighbour"))?;
        }
        netns::make(path, |inside| {
            let mut tries = 0;
            loop {
                let pair = link::Pair {
                    host: &link.host_interface,
                    bridge,
                    inner: INTERFACE,
                    namespace: inside.namespace.as_fd(),
                    mac: link.mac,
                    mtu: self.mtu,
                    hairpin,
                };
                tries += 1;
                match link::create_pair(&host, &pair) {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries < NAME_TRIES => {
                        link.host_interface = random_name();
                    }
                    result => break result.map_err(failed(&link.host_interface, "create"))?,
                }
            }
            let index = link::index(INTERFACE)
                .map_err(failed(INTERFACE, "look up"))?
                .unwrap_or_default();
            // No IPv6 on an IPv4 network: nothing that a neighbour could advertise itself through. ::1 stays.
            sysctl::set_if_known("ipv6/conf/eth0/disable_ipv6", "1")?;
            link::configure(&inside.socket, index, link.ipv4, link.gateway)
                .map_err(failed(INTERFACE, "configure"))
        })
    }

    /// Gives the address back. The links die with their namespace.
    pub(crate) fn release(&self, link: &Link) {
        self.pool().release(link.ipv4.addr(), &link.host_interface);
    }

    /// Removes the bridge when it is ours.
    pub(crate) fn remove(&self) -> Result<()> {
        let Some(index) = link::index(&self.name).map_err(failed(&self.name, "look up"))? else {
            return Ok(());
        };
        if !self.record.made {
            return Ok(());
        }
        let socket = Socket::open(Family::Route).map_err(failed(&self.name, "netlink socket"))?;
        link::delete(&socket, index).map_err(failed(&self.name, "delete"))
    }

    /// What the firewall must know.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            bridge: self.name.clone(),
            subnet: self.address.trunc(),
            masquerade: self.masquerade,
            loopback: self.loopback,
        }
    }

    /// The bridge's own address.
    pub(crate) fn address(&self) -> Ipv4Net {
        self.address
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn default_address(socket: &Socket, bridge: &str) -> Result<Ipv4Net> {
    let routes = link::routes(socket).map_err(failed(bridge, "routes of the host"))?;
    let pool = ipam::free_pool(&routes).ok_or(Error::NoPool)?;
    Ok(Ipv4Net::new_assert(
        Ipv4Addr::from(u32::from(pool.network()) + 1),
        pool.prefix_len(),
    ))
}

fn failed(name: &str, step: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Link {
        name: name.to_owned(),
        step,
        source,
    }
}

/// `veth` and seven random digits, as Docker names them.
fn random_name() -> String {
    format!("veth{:07x}", rand::random::<u32>() >> 4)
}

fn random_mac() -> Mac {
    let [a, b, c, d] = rand::random::<[u8; 4]>();
    Mac([0x02, 0x42, a, b, c, d])
}

/// 64 random hexadecimal digits.
pub(crate) fn random_id() -> String {
    rand::random::<[u8; 32]>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

//! Published ports: which host ports are ours, and the proxy that binds them all.
//!
//! Every port is bound by the keeper of the proxy, also one that kernel NAT serves: so no other program can take it, a conflict
//! is known before anything starts, and loopback is served.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lighter_netd::{Client, Failed, Port};

use crate::config::{PortBinding, PortRequest, Protocol};
use crate::error::{BindError, PortError};
use crate::sysctl;

/// The ports of all containers.
#[derive(Debug)]
pub(crate) struct Ports {
    state: Mutex<State>,
    client: Option<Client>,
    /// Sockets that are bound are served too; else they only hold the port.
    proxy: bool,
}

#[derive(Debug, Default)]
struct State {
    held: Vec<Held>,
    /// Where the search for a random port goes on.
    next: u16,
}

/// A port and whose it is.
#[derive(Debug, Clone)]
struct Held {
    container_id: String,
    container_ip: Ipv4Addr,
    binding: PortBinding,
}

impl Held {
    fn id(&self) -> String {
        let PortBinding {
            protocol,
            host_ip,
            host_port,
            ..
        } = self.binding;
        format!("{}/{protocol}/{host_ip}/{host_port}", self.container_id)
    }
}

impl Ports {
    pub(crate) fn new(client: Option<Client>, proxy: bool) -> Self {
        Self {
            state: Mutex::default(),
            client,
            proxy,
        }
    }

    /// Takes host ports for all `requests`, or none. The order of the answer is the requests', IPv4 before IPv6.
    pub(crate) fn publish(
        &self,
        container_id: &str,
        container_ip: Ipv4Addr,
        requests: &[PortRequest],
    ) -> Result<Vec<PortBinding>, PortError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let mut state = self.lock();
        // Ports that others of the host have, found on the way.
        let mut busy = HashSet::new();
        let before = state.held.len();
        let taken = loop {
            if let Err(error) = state.choose(container_id, container_ip, requests, self.proxy, &busy) {
                break Err(error);
            }
            let failed = match self.sync(&state.held) {
                Err(error) => break Err(PortError::Proxy(error)),
                Ok(failed) => failed,
            };
            let ours: Vec<_> = state.held[before..].to_vec();
            let mut again = false;
            let mut refused = None;
            for failure in &failed {
                let Some(held) = ours.iter().find(|held| held.id() == failure.id) else {
                    continue;
                };
                if no_such_family(held, failure) {
                    state.held.retain(|other| other.id() != failure.id);
                } else if is_choice(held, requests) && in_use(failure) {
                    again = true;
                    busy.insert((held.binding.protocol, held.binding.host_port));
                } else {
                    refused = Some(bind_error(held, failure));
                }
            }
            match refused {
                Some(error) => break Err(error),
                None if again => state.held.truncate(before),
                None => break Ok(state.held[before..].iter().map(|held| held.binding).collect()),
            }
        };
        if taken.is_err() {
            state.held.truncate(before);
            self.resync(&state.held);
        }
        taken
    }

    /// Gives back a container's ports.
    pub(crate) fn withdraw(&self, container_id: &str) -> Result<(), PortError> {
        let mut state = self.lock();
        let before = state.held.len();
        state.held.retain(|held| held.container_id != container_id);
        if state.held.len() == before {
            return Ok(());
        }
        self.sync(&state.held).map(drop).map_err(PortError::Proxy)
    }

    /// Takes over what an earlier engine published, `(container, address, ports)` each, and lets go of everything else. Returns
    /// what could not be bound again.
    pub(crate) fn restore(
        &self,
        endpoints: &[(String, Ipv4Addr, Vec<PortBinding>)],
    ) -> Result<Vec<PortError>, PortError> {
        let mut state = self.lock();
        state.held = endpoints
            .iter()
            .flat_map(|(container_id, container_ip, ports)| {
                ports.iter().map(|binding| Held {
                    container_id: container_id.clone(),
                    container_ip: *container_ip,
                    binding: *binding,
                })
            })
            .collect();
        let Some(client) = &self.client else {
            return Ok(Vec::new());
        };
        if state.held.is_empty() && !client.is_running() {
            return Ok(Vec::new());
        }
        let failed = self.sync(&state.held).map_err(PortError::Proxy)?;
        let find = |failure: &Failed| {
            state
                .held
                .iter()
                .find(|held| held.id() == failure.id)
                .map(|held| bind_error(held, failure))
        };
        Ok(failed.iter().filter_map(find).collect())
    }

    /// The proxy, when there is one.
    pub(crate) fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Binds again what the keeper may have lost. An error: the first port that another program has taken meanwhile.
    pub(crate) fn heal(&self) -> Result<(), PortError> {
        let state = self.lock();
        if state.held.is_empty() {
            return Ok(());
        }
        let failed = self.sync(&state.held).map_err(PortError::Proxy)?;
        let lost = |failure: &Failed| {
            state
                .held
                .iter()
                .find(|held| held.id() == failure.id)
                .map(|held| bind_error(held, failure))
        };
        failed.iter().find_map(lost).map_or(Ok(()), Err)
    }

    fn sync(&self, held: &[Held]) -> Result<Vec<Failed>, lighter_netd::Error> {
        let Some(client) = &self.client else {
            return Ok(Vec::new());
        };
        let port = |held: &Held| {
            let proto = match held.binding.protocol {
                Protocol::Tcp => lighter_netd::Proto::Tcp,
                Protocol::Udp => lighter_netd::Proto::Udp,
                // The kernel's alone.
                Protocol::Sctp => return None,
            };
            Some(Port {
                id: held.id(),
                proto,
                host_ip: held.binding.host_ip,
                host_port: held.binding.host_port,
                container_ip: IpAddr::V4(held.container_ip),
                container_port: held.binding.container_port,
                reserve: !self.proxy,
            })
        };
        client.sync(&held.iter().filter_map(port).collect::<Vec<_>>())
    }

    /// After a failure, which is what gets reported.
    fn resync(&self, held: &[Held]) {
        if let Err(error) = self.sync(held) {
            tracing::warn!(
                error = lighter_stdx::error::chain(&error),
                "port proxy not told of ports given back"
            );
        }
    }

    /// Held over the keeper's answer: syncs carry the whole state, so they come one after the other.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Busy = HashSet<(Protocol, u16)>;

impl State {
    /// Appends a held port for each request (two when all addresses are meant) that no container has and that is not `busy`.
    fn choose(
        &mut self,
        container_id: &str,
        container_ip: Ipv4Addr,
        requests: &[PortRequest],
        ipv6: bool,
        busy: &Busy,
    ) -> Result<(), PortError> {
        for request in requests {
            let addresses = match request.host_ip {
                Some(ip) => vec![ip],
                None if ipv6 && request.protocol != Protocol::Sctp => {
                    vec![
                        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                    ]
                }
                None => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            };
            let host_port = self.pick(request, &addresses, busy)?;
            self.held.extend(addresses.into_iter().map(|host_ip| Held {
                container_id: container_id.to_owned(),
                container_ip,
                binding: PortBinding {
                    protocol: request.protocol,
                    container_port: request.container_port,
                    host_ip,
                    host_port,
                },
            }));
        }
        Ok(())
    }

    fn pick(&mut self, request: &PortRequest, addresses: &[IpAddr], busy: &Busy) -> Result<u16, PortError> {
        let free = |state: &Self, port: u16| {
            !busy.contains(&(request.protocol, port))
                && !addresses.iter().any(|ip| {
                    state
                        .held
                        .iter()
                        .any(|held| held.conflicts(request.protocol, *ip, port))
                })
        };
        match request.host_ports {
            Some((first, last)) if first == last => match free(self, first) {
                true => Ok(first),
                false => Err(PortError::Allocated {
                    host_ip: addresses[0],
                    host_port: first,
                }),
            },
            Some((first, last)) => (first..=last)
                .find(|port| free(self, *port))
                .ok_or(PortError::Exhausted),
            None => {
                let (first, last) = sysctl::ephemeral_ports();
                let start = if (first..=last).contains(&self.next) {
                    self.next
                } else {
                    first
                };
                let found = (start..=last).chain(first..start).find(|port| free(self, *port));
                let port = found.ok_or(PortError::Exhausted)?;
                self.next = port.checked_add(1).unwrap_or(first);
                Ok(port)
            }
        }
    }
}

impl Held {
    fn conflicts(&self, protocol: Protocol, ip: IpAddr, port: u16) -> bool {
        let own = self.binding;
        own.protocol == protocol
            && own.host_port == port
            && own.host_ip.is_ipv4() == ip.is_ipv4()
            && (own.host_ip == ip || own.host_ip.is_unspecified() || ip.is_unspecified())
    }
}

/// The caller left the port's number to us.
fn is_choice(held: &Held, requests: &[PortRequest]) -> bool {
    let port = held.binding;
    let fits = |request: &&PortRequest| {
        request.protocol == port.protocol
            && request.container_port == port.container_port
            && request.host_ip.is_none_or(|ip| ip == port.host_ip)
            && request
                .host_ports
                .is_none_or(|(first, last)| (first..=last).contains(&port.host_port))
    };
    requests
        .iter()
        .filter(fits)
        .all(|request| request.host_ports.is_none_or(|(first, last)| first != last))
}

fn in_use(failure: &Failed) -> bool {
    rustix::io::Errno::from_raw_os_error(failure.errno) == rustix::io::Errno::ADDRINUSE
}

/// A host without IPv6 is no failure of a port that was asked for on all addresses.
fn no_such_family(held: &Held, failure: &Failed) -> bool {
    use rustix::io::Errno;
    held.binding.host_ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].contains(&Errno::from_raw_os_error(failure.errno))
}

fn bind_error(held: &Held, failure: &Failed) -> PortError {
    PortError::Bind {
        host_ip: held.binding.host_ip,
        host_port: held.binding.host_port,
        container_ip: IpAddr::V4(held.container_ip),
        container_port: held.binding.container_port,
        protocol: held.binding.protocol,
        source: BindError {
            errno: failure.errno,
            text: failure.error.clone(),
        },
    }
}

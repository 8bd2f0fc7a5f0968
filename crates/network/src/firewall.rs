//! The firewall: one nf_tables table of our own, `ip lighter`, changed by netlink, each change whole or not at all.
//!
//! Rules are few and change with networks; published ports are elements of two maps, so a port costs no rule. Base chains
//! accept: only traffic *into* a bridge that nothing allows is dropped. A drop in another's table always wins over us.
//!
//! ```text
//! map ports     protocol . port            -> address . port     ports on 0.0.0.0
//! map ports_at  address . protocol . port  -> address . port     ports on one address
//! prerouting, output    dnat by ports_at, then by ports, when the destination is an address of the host
//! postrouting           masquerade what leaves the subnet, and what comes back into it translated (hairpin)
//! forward               into a bridge: known connections and published ports; the rest is dropped
//! raw                   nothing from a bridge goes to a loopback address
//! ```

mod expression;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;
use lighter_sys::netlink::{APPEND, CREATE, Family, Refused, Request, Socket};

use crate::config::{PortBinding, Protocol};
use crate::error::{Error, Result};
use expression::{Expression, KNOWN, Verdict};

const TABLE: &str = "lighter";
const PORTS: &str = "ports";
const PORTS_AT: &str = "ports_at";

const SUBSYSTEM: u16 = 10 << 8;
const NEWTABLE: u16 = SUBSYSTEM;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const NEWRULE: u16 = SUBSYSTEM | 6;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const DELSETELEM: u16 = SUBSYSTEM | 14;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// `struct nfgenmsg`: family ip, version 0, resource 0.
const IP: [u8; 4] = [2, 0, 0, 0];
/// An attribute holds 64 KiB and an element about 60 bytes.
const ELEMENTS_PER_MESSAGE: usize = 500;

/// A bridge network, as the firewall sees it.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The bridge device.
    pub(crate) bridge: String,
    /// Its subnet.
    pub(crate) subnet: Ipv4Net,
    /// What leaves takes the host's address.
    pub(crate) masquerade: bool,
    /// The kernel serves published ports on loopback too (no userland proxy).
    pub(crate) loopback: bool,
}

/// A published port, as the firewall sees it: where it is, and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) protocol: Protocol,
    /// None: every address of the host.
    pub(crate) host: Option<Ipv4Addr>,
    pub(crate) port: u16,
    pub(crate) to: Ipv4Addr,
    pub(crate) to_port: u16,
}

impl Forward {
    /// The kernel's part of a binding; None: the proxy's alone.
    pub(crate) fn of(binding: &PortBinding, to: Ipv4Addr, loopback: bool) -> Option<Self> {
        let IpAddr::V4(host) = binding.host_ip else {
            return None;
        };
        let proxied = host.is_loopback() && !loopback;
        (!proxied).then_some(Self {
            protocol: binding.protocol,
            host: (!host.is_unspecified()).then_some(host),
            port: binding.host_port,
            to,
            to_port: binding.container_port,
        })
    }

    fn map(&self) -> &'static str {
        if self.host.is_some() { PORTS_AT } else { PORTS }
    }

    /// Each field takes four bytes.
    fn key(&self) -> Vec<u8> {
        let mut key = self.host.map(|host| host.octets().to_vec()).unwrap_or_default();
        key.extend_from_slice(&[self.protocol.number(), 0, 0, 0]);
        key.extend_from_slice(&self.port.to_be_bytes());
        key.extend_from_slice(&[0; 2]);
        key
    }

    fn value(&self) -> Vec<u8> {
        let mut value = self.to.octets().to_vec();
        value.extend_from_slice(&self.to_port.to_be_bytes());
        value.extend_from_slice(&[0; 2]);
        value
    }
}

/// The table, and what should be in it: what somebody flushed comes back with the next change.
#[derive(Debug)]
pub(crate) struct Firewall {
    networks: Vec<Rules>,
    /// Held over the kernel's answer, so that its order is ours.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    forwards: Vec<Forward>,
    /// Kept open: when the kernel closes a socket after a removal, it waits for an RCU grace period.
    socket: Option<Socket>,
}

impl Firewall {
    /// Changes nothing yet: the table of an earlier engine serves on.
    pub(crate) fn new(networks: Vec<Rules>) -> Self {
        Self {
            networks,
            state: Mutex::default(),
        }
    }

    /// Publishes ports.
    pub(crate) fn add(&self, forwards: &[Forward]) -> Result<()> {
        if forwards.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        state.forwards.extend_from_slice(forwards);
        let added = match state.change(NEWSETELEM, CREATE, forwards, "adding ports") {
            Ok(Outcome::Missing) => state.rebuild(&self.networks),
            other => other.map(drop),
        };
        if added.is_err() {
            state.forwards.retain(|forward| !forwards.contains(forward));
        }
        added
    }

    /// Withdraws ports; those that are not there are no error.
    pub(crate) fn remove(&self, forwards: &[Forward]) -> Result<()> {
        let mut state = self.lock();
        let ours: Vec<_> = forwards
            .iter()
            .filter(|forward| state.forwards.contains(forward))
            .copied()
            .collect();
        state.forwards.retain(|forward| !ours.contains(forward));
        match state.change(DELSETELEM, 0, &ours, "removing ports")? {
            Outcome::Done => Ok(()),
            // One that is missing refuses all, and was somebody else's doing.
            Outcome::Missing => state.rebuild(&self.networks),
        }
    }

    /// Makes the table anew with these ports and no others.
    pub(crate) fn replace(&self, forwards: Vec<Forward>) -> Result<()> {
        let mut state = self.lock();
        state.forwards = forwards;
        state.rebuild(&self.networks)
    }

    /// Removes the table; none there is no error.
    pub(crate) fn clear(&self) -> Result<()> {
        let mut state = self.lock();
        state.forwards.clear();
        let mut request = begin();
        request.message(NEWTABLE, CREATE, &IP).text(1, TABLE);
        request.message(DELTABLE, 0, &IP).text(1, TABLE);
        state.commit(request, "removing").map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a change went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Done.
    Done,
    /// The table or an element is not there: somebody flushed it. Nothing was changed.
    Missing,
}

impl State {
    /// Makes the table anew, in one step: no packet sees it missing or half full.
    fn rebuild(&mut self, networks: &[Rules]) -> Result<()> {
        let mut request = begin();
        // Made before it is removed, since removing one that is not there would fail.
        for (kind, flags) in [(NEWTABLE, CREATE), (DELTABLE, 0), (NEWTABLE, CREATE)] {
            request.message(kind, flags, &IP).text(1, TABLE);
        }
        map(&mut request, PORTS, &[12, 13]);
        map(&mut request, PORTS_AT, &[7, 12, 13]);
        for chain in CHAINS {
            chain.write(&mut request);
        }
        for (chain, expressions) in rules(networks) {
            request
                .message(NEWRULE, CREATE | APPEND, &IP)
                .text(1, TABLE)
                .text(2, chain);
            expression::write(&mut request, &expressions);
        }
        elements(&mut request, NEWSETELEM, CREATE, &self.forwards);
        let missing = || Error::Firewall {
            step: "rebuilding",
            source: io::ErrorKind::NotFound.into(),
        };
        match self.commit(request, "rebuilding")? {
            Outcome::Done => Ok(()),
            Outcome::Missing => Err(missing()),
        }
    }

    fn change(&mut self, kind: u16, flags: u16, forwards: &[Forward], step: &'static str) -> Result<Outcome> {
        if forwards.is_empty() {
            return Ok(Outcome::Done);
        }
        let mut request = begin();
        elements(&mut request, kind, flags, forwards);
        self.commit(request, step)
    }

    fn commit(&mut self, mut request: Request, step: &'static str) -> Result<Outcome> {
        let failed = |source| Error::Firewall { step, source };
        let socket = match &mut self.socket {
            Some(socket) => {
                socket.drain();
                socket
            }
            none => none.insert(Socket::open(Family::Netfilter).map_err(failed)?),
        };
        let last = request.acknowledge().count() - 1;
        request.message(BATCH_END, 0, &[0, 0, 0, 10]);
        match socket.batch(&request, last).map_err(failed)?.into_iter().next() {
            None => Ok(Outcome::Done),
            Some(Refused { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Outcome::Missing),
            Some(Refused { source, .. }) => Err(failed(source)),
        }
    }
}

fn begin() -> Request {
    let mut request = Request::new();
    request.message(BATCH_BEGIN, 0, &[0, 0, 0, 10]);
    request
}

fn elements(request: &mut Request, kind: u16, flags: u16, forwards: &[Forward]) {
    for map in [PORTS, PORTS_AT] {
        let ours: Vec<_> = forwards.iter().filter(|forward| forward.map() == map).collect();
        for part in ours.chunks(ELEMENTS_PER_MESSAGE) {
            request.message(kind, flags, &IP).text(1, TABLE).text(2, map);
            let list = request.open(3);
            for forward in part {
                let element = request.open(1);
                expression::data(request, 1, &forward.key());
                expression::data(request, 2, &forward.value());
                request.close(element);
            }
            request.close(list);
        }
    }
}

/// A map to address and port. `key` are nft's numbers of the types of its parts, each of four bytes: so `nft list` can print it.
fn map(request: &mut Request, name: &str, key: &[u32]) {
    const IS_MAP: u32 = 8;
    const ADDRESS_AND_PORT: u32 = 7 << 6 | 13;
    let kind = key.iter().fold(0, |sum, part| sum << 6 | part);
    let length = u32::try_from(key.len() * 4).unwrap_or_default();
    // The kernel wants a number that is unique in the batch.
    let id = length;
    request
        .message(NEWSET, CREATE, &IP)
        .text(1, TABLE)
        .text(2, name)
        .be32(3, IS_MAP);
    request
        .be32(4, kind)
        .be32(5, length)
        .be32(6, ADDRESS_AND_PORT)
        .be32(7, 8)
        .be32(10, id);
}

/// A base chain.
#[derive(Debug, Clone, Copy)]
struct Chain {
    name: &'static str,
    kind: &'static str,
    hook: u32,
    priority: i32,
}

const fn chain(name: &'static str, kind: &'static str, hook: u32, priority: i32) -> Chain {
    Chain {
        name,
        kind,
        hook,
        priority,
    }
}

const CHAINS: &[Chain] = &[
    chain("raw", "filter", 0, -300),
    chain("prerouting", "nat", 0, -100),
    chain("output", "nat", 3, -100),
    chain("postrouting", "nat", 4, 100),
    chain("forward", "filter", 2, 0),
];

impl Chain {
    fn write(&self, to: &mut Request) {
        const POLICY_ACCEPT: u32 = 1;
        to.message(NEWCHAIN, CREATE, &IP)
            .text(1, TABLE)
            .text(3, self.name);
        let hook = to.open(4);
        to.be32(1, self.hook).be32(2, self.priority.cast_unsigned());
        to.close(hook);
        to.be32(5, POLICY_ACCEPT).text(7, self.kind);
    }
}

fn rules(networks: &[Rules]) -> Vec<(&'static str, Vec<Expression>)> {
    use Expression::{Counter, DestinationIsLocal, Masquerade, Redirect, State, Translated};
    let drop = Expression::Verdict(Verdict::Drop);
    let accept = Expression::Verdict(Verdict::Accept);
    let by_address = vec![
        DestinationIsLocal,
        Redirect {
            map: PORTS_AT,
            address: true,
        },
    ];
    let by_port = vec![
        DestinationIsLocal,
        Redirect {
            map: PORTS,
            address: false,
        },
    ];
    let mut rules = vec![
        ("prerouting", by_address.clone()),
        ("prerouting", by_port.clone()),
    ];
    if networks.iter().all(|network| !network.loopback) {
        rules.push((
            "output",
            vec![loopback(false), Expression::Verdict(Verdict::Return)],
        ));
    }
    rules.extend([("output", by_address), ("output", by_port)]);
    for network in networks {
        let from = |equal| Expression::Interface {
            input: true,
            name: network.bridge.clone(),
            equal,
        };
        let into = |equal| Expression::Interface {
            input: false,
            name: network.bridge.clone(),
            equal,
        };
        let prefix = |source| Expression::Address {
            source,
            network: network.subnet.network().octets(),
            mask: network.subnet.netmask().octets(),
        };
        // Only the host itself has the loopback addresses, whatever route_localnet says (CVE-2020-8558).
        rules.push(("raw", vec![from(true), loopback(false), Counter, drop.clone()]));
        if network.masquerade {
            rules.push(("postrouting", vec![prefix(true), into(false), Masquerade]));
        }
        rules.push((
            "postrouting",
            vec![prefix(true), into(true), Translated, Masquerade],
        ));
        if network.loopback {
            rules.push((
                "postrouting",
                vec![loopback(true), into(true), Translated, Masquerade],
            ));
        }
        rules.push((
            "forward",
            vec![from(false), into(true), State(KNOWN), accept.clone()],
        ));
        rules.push((
            "forward",
            vec![from(false), into(true), Translated, accept.clone()],
        ));
        rules.push(("forward", vec![from(false), into(true), Counter, drop.clone()]));
    }
    rules
}

fn loopback(source: bool) -> Expression {
    Expression::Address {
        source,
        network: [127, 0, 0, 0],
        mask: [255, 0, 0, 0],
    }
}

//! Network devices: the loopback of a new namespace, and devices of the host that move into the container's.
//!
//= https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#network-devices

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

use lighter_sys::namespace as ns;
use lighter_sys::netlink::{self, Family, Request, Socket};

use crate::config::NetDevice;
use crate::error::{Context, Error, Result};
use crate::namespaces::Namespaces;

const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u8 = 0x80;
const IFF_UP: u32 = 1;
const LOOPBACK: u32 = 1;
/// `IFNAMSIZ` without its closing zero.
const LONGEST: usize = 15;

/// A device of the host that is to move.
#[derive(Debug)]
pub(crate) struct Moving {
    name: String,
    index: u32,
    /// Its name in the container.
    inside: String,
    /// What it keeps.
    addresses: Vec<Address>,
}

/// An address: its header (`struct ifaddrmsg`) and its attributes.
type Address = (Vec<u8>, Vec<(u16, Vec<u8>)>);

/// Looks at the devices of the configuration, in our own namespace.
pub(crate) fn find(devices: &BTreeMap<String, NetDevice>, namespaces: &Namespaces) -> Result<Vec<Moving>> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let refuse = |text: String| Err(Error::Config(text));
    if !namespaces.has(ns::NETWORK) {
        return refuse("unable to move network devices without a private NET namespace".into());
    }
    if namespaces
        .joined(ns::NETWORK)
        .is_some_and(|joined| joined.is_ours("net"))
    {
        return refuse("unable to move network devices to the host's NET namespace".into());
    }
    if crate::ids::ordinary() {
        return refuse("network devices are not supported for rootless containers".into());
    }
    let socket = Socket::open(Family::Route).doing("open a netlink socket")?;
    let mut request = Request::new();
    request.message(GETADDR, netlink::DUMP, &[0; 8]);
    let addresses = socket.dump(&request).doing("read the host's addresses")?;
    let mut found: Vec<Moving> = Vec::new();
    for (name, device) in devices {
        let inside = if device.name.is_empty() {
            name
        } else {
            &device.name
        };
        for name in [name, inside] {
            let good = !name.is_empty()
                && name.len() <= LONGEST
                && name != "."
                && name != ".."
                && !name.contains(|letter: char| letter == '/' || letter == ':' || letter.is_whitespace());
            if !good {
                return refuse(format!("linux.netDevices: invalid network device name {name:?}"));
            }
        }
        if found.iter().any(|other| other.inside == *inside) {
            return refuse(format!(
                "linux.netDevices: two devices named {inside:?} in the container"
            ));
        }
        let Some(index) = index_of(&socket, name)? else {
            return refuse(format!(
                "linux.netDevices: the host has no network device {name:?}"
            ));
        };
        let kept = addresses.iter().filter_map(|message| {
            let (header, rest) = message.payload.split_at_checked(8)?;
            // Of global scope, and not given for a time by somebody else.
            let kept =
                header[4..8] == index.to_ne_bytes() && header[3] == 0 && header[2] & IFA_F_PERMANENT != 0;
            let attributes = netlink::attributes(rest)
                .filter(|(kind, _)| !matches!(*kind, IFA_CACHEINFO | IFA_FLAGS))
                // A label begins with the device's name, which may be another then.
                .filter(|(kind, _)| *kind != 3)
                .map(|(kind, value)| (kind, value.to_vec()));
            kept.then(|| (header.to_vec(), attributes.collect()))
        });
        found.push(Moving {
            name: name.clone(),
            index,
            inside: inside.clone(),
            addresses: kept.collect(),
        });
    }
    Ok(found)
}

/// Moves the devices to the namespace that is joined, or else to that of `pid`.
pub(crate) fn push(devices: &[Moving], namespaces: &Namespaces, pid: i32) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let socket = Socket::open(Family::Route).doing("open a netlink socket")?;
    for device in devices {
        let mut request = Request::new();
        request.message(NEWLINK, netlink::ACK, &link(device.index, 0, 0));
        match namespaces.joined(ns::NETWORK) {
            Some(joined) => request.u32(IFLA_NET_NS_FD, joined.file.as_raw_fd().cast_unsigned()),
            None => request.u32(IFLA_NET_NS_PID, pid.cast_unsigned()),
        };
        request.text(IFLA_IFNAME, &device.inside);
        asked(
            &socket,
            &request,
            &format!("move network device {:?} to the container", device.name),
        )?;
    }
    Ok(())
}

/// Inside: gives the devices that have come their addresses back, and switches them on.
pub(crate) fn receive(devices: &[Moving]) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let socket = Socket::open(Family::Route).doing("open a netlink socket")?;
    for device in devices {
        let index = index_of(&socket, &device.inside)?
            .ok_or_else(|| Error::Config(format!("network device {:?} has not arrived", device.inside)))?;
        for (header, attributes) in &device.addresses {
            let mut header = header.clone();
            header[4..8].copy_from_slice(&index.to_ne_bytes());
            let mut request = Request::new();
            request.message(
                NEWADDR,
                netlink::ACK | netlink::CREATE | netlink::EXCLUSIVE,
                &header,
            );
            for (kind, value) in attributes {
                request.attribute(*kind, value);
            }
            asked(
                &socket,
                &request,
                &format!("give network device {:?} an address", device.inside),
            )?;
        }
        up(&socket, index, &device.inside)?;
    }
    Ok(())
}

/// Switches on the loopback of a namespace that is new.
pub(crate) fn loopback() -> Result<()> {
    switch_on(&here()?)
}

/// A way to ask about the network of this namespace, for who is elsewhere too.
pub(crate) fn here() -> Result<Socket> {
    Socket::open(Family::Route).doing("open a netlink socket")
}

/// Switches on the loopback of the namespace in which the socket was opened.
pub(crate) fn switch_on(socket: &Socket) -> Result<()> {
    up(socket, LOOPBACK, "lo")
}

fn up(socket: &Socket, index: u32, name: &str) -> Result<()> {
    let mut request = Request::new();
    request.message(NEWLINK, netlink::ACK, &link(index, IFF_UP, IFF_UP));
    asked(socket, &request, &format!("switch on network device {name:?}"))
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

fn asked(socket: &Socket, request: &Request, what: &str) -> Result<()> {
    let refused = socket
        .acknowledged(request)
        .doing("talk to the kernel about the network")?;
    refused.into_iter().next().map_or(Ok(()), |refused| {
        Err(Error::Config(format!(
            "{what}: {}",
            crate::program::words(refused.source)
        )))
    })
}

fn index_of(socket: &Socket, name: &str) -> Result<Option<u32>> {
    let mut request = Request::new();
    request.message(GETLINK, netlink::DUMP, &[0; 16]);
    let links = socket.dump(&request).doing("read the network devices")?;
    Ok(links.iter().find_map(|message| {
        let (header, rest) = message.payload.split_at_checked(16)?;
        let named = netlink::attributes(rest)
            .any(|(kind, value)| kind == IFLA_IFNAME && value.strip_suffix(b"\0") == Some(name.as_bytes()));
        let index = header[4..8].try_into().ok().map(u32::from_ne_bytes)?;
        named.then_some(index)
    }))
}

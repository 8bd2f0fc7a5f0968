//! Links, addresses, routes and neighbours, by rtnetlink. Every function speaks to the namespace its socket was opened in.
//!
//! Source: `rtnetlink(7)`, `linux/rtnetlink.h`, `linux/if_link.h`.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::Ipv4Net;
use lighter_sys::netlink::{self, ACK, CREATE, DUMP, EXCLUSIVE, Refused, Request, Socket};

use crate::config::Mac;

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const DELNEIGH: u16 = 29;

const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const MTU: u16 = 4;
const MASTER: u16 = 10;
const LINKINFO: u16 = 18;
const NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const VETH_PEER: u16 = 1;
const BRIDGE_PORT_MODE: u16 = 4;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;

const RTA_DST: u16 = 1;
const RTA_GATEWAY: u16 = 5;
const NDA_DST: u16 = 1;

const UP: u32 = 1;
const INET: u8 = 2;
/// `ifinfomsg`, `ifaddrmsg` and `rtmsg`: bytes before the attributes.
const ADDR_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

/// What a pair of links is made from.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    /// Name of the host's end.
    pub(crate) host: &'a str,
    /// Number of the bridge that the host's end joins.
    pub(crate) bridge: u32,
    /// Name in the container.
    pub(crate) inner: &'a str,
    /// The container's namespace.
    pub(crate) namespace: BorrowedFd<'a>,
    /// Address of the container's end.
    pub(crate) mac: Mac,
    /// Of both.
    pub(crate) mtu: u32,
    /// The bridge may send back through the port what came from it: where br_netfilter translates bridged packets, a container
    /// reaches its own published port in no other way.
    pub(crate) hairpin: bool,
}

/// Makes a veth pair of which one end is born in the container's namespace (down) and the other on the bridge (up).
/// Moving an end there afterwards would cost an RCU grace period.
pub(crate) fn create_pair(socket: &Socket, pair: &Pair<'_>) -> io::Result<()> {
    let mut request = Request::new();
    request
        .message(NEWLINK, CREATE | EXCLUSIVE | ACK, &link_header(0, UP, UP))
        .text(IFNAME, pair.host)
        .u32(MTU, pair.mtu)
        .u32(MASTER, pair.bridge);
    let info = request.open(LINKINFO);
    request.text(INFO_KIND, "veth");
    let data = request.open(INFO_DATA);
    let peer = request.open(VETH_PEER);
    request
        .raw(&link_header(0, 0, 0))
        .text(IFNAME, pair.inner)
        .attribute(ADDRESS, &pair.mac.0)
        .u32(MTU, pair.mtu)
        .u32(NET_NS_FD, pair.namespace.as_raw_fd().cast_unsigned());
    request.close(peer);
    request.close(data);
    request.close(info);
    if pair.hairpin {
        request
            .message(NEWLINK, ACK, &link_header(0, 0, 0))
            .text(IFNAME, pair.host);
        let info = request.open(LINKINFO);
        request.text(INFO_SLAVE_KIND, "bridge");
        let data = request.open(INFO_SLAVE_DATA);
        request.attribute(BRIDGE_PORT_MODE, &[1]);
        request.close(data);
        request.close(info);
    }
    one(socket, &request)
}

/// Makes a bridge, up, whose own address is fixed: else it takes its lowest port's, which comes and goes.
pub(crate) fn create_bridge(socket: &Socket, name: &str, mac: Mac, mtu: u32) -> io::Result<()> {
    let mut request = Request::new();
    request
        .message(NEWLINK, CREATE | EXCLUSIVE | ACK, &link_header(0, 0, 0))
        .text(IFNAME, name)
        .attribute(ADDRESS, &mac.0)
        .u32(MTU, mtu);
    let info = request.open(LINKINFO);
    request.text(INFO_KIND, "bridge");
    request.close(info);
    one(socket, &request)
}

/// Removes a link: tens of milliseconds.
pub(crate) fn delete(socket: &Socket, index: u32) -> io::Result<()> {
    let mut request = Request::new();
    request.message(DELLINK, ACK, &link_header(index, 0, 0));
    one(socket, &request)
}

/// Brings a link up.
pub(crate) fn set_up(socket: &Socket, index: u32) -> io::Result<()> {
    let mut request = Request::new();
    request.message(NEWLINK, ACK, &link_header(index, UP, UP));
    one(socket, &request)
}

/// Gives a link an address; one that it has is no error.
pub(crate) fn add_address(socket: &Socket, index: u32, address: Ipv4Net) -> io::Result<()> {
    let mut request = Request::new();
    address_message(&mut request, NEWADDR, CREATE | EXCLUSIVE, index, address);
    match one(socket, &request) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Takes an address away from a link.
pub(crate) fn remove_address(socket: &Socket, index: u32, address: Ipv4Net) -> io::Result<()> {
    let mut request = Request::new();
    address_message(&mut request, DELADDR, 0, index, address);
    one(socket, &request)
}

/// Gives the link an address, brings it up and routes everything through `gateway`, in one call.
pub(crate) fn configure(socket: &Socket, index: u32, address: Ipv4Net, gateway: Ipv4Addr) -> io::Result<()> {
    let mut request = Request::new();
    address_message(&mut request, NEWADDR, CREATE | EXCLUSIVE, index, address);
    request.message(NEWLINK, ACK, &link_header(index, UP, UP));
    // Table main, protocol boot, scope universe, type unicast: what `ip route add default` says.
    request
        .message(
            NEWROUTE,
            CREATE | EXCLUSIVE | ACK,
            &[INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0],
        )
        .attribute(RTA_GATEWAY, &gateway.octets());
    one(socket, &request)
}

fn address_message(request: &mut Request, kind: u16, flags: u16, index: u32, address: Ipv4Net) {
    let mut header = vec![INET, address.prefix_len(), 0, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    request
        .message(kind, flags | ACK, &header)
        .attribute(IFA_LOCAL, &address.addr().octets())
        .attribute(IFA_ADDRESS, &address.addr().octets())
        .attribute(IFA_BROADCAST, &address.broadcast().octets());
}

/// Forgets what the host knows of a neighbour: the address has a new owner. None known is no error.
pub(crate) fn forget_neighbour(socket: &Socket, index: u32, ip: Ipv4Addr) -> io::Result<()> {
    let mut header = vec![INET, 0, 0, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    header.extend_from_slice(&[0; 4]);
    let mut request = Request::new();
    request
        .message(DELNEIGH, ACK, &header)
        .attribute(NDA_DST, &ip.octets());
    match one(socket, &request) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The first IPv4 address of a link.
pub(crate) fn address(socket: &Socket, index: u32) -> io::Result<Option<Ipv4Net>> {
    let mut request = Request::new();
    request.message(GETADDR, DUMP, &[INET, 0, 0, 0, 0, 0, 0, 0]);
    let messages = socket.dump(&request)?;
    Ok(messages.iter().find_map(|message| {
        let (header, rest) = message.payload.split_at_checked(ADDR_HEADER)?;
        (header[4..8] == index.to_ne_bytes()).then_some(())?;
        let local = netlink::attributes(rest).find(|(kind, _)| *kind == IFA_LOCAL)?.1;
        Ipv4Net::new(ipv4(local)?, header[1]).ok()
    }))
}

/// The destinations of the host's routes in the main table, without the default route.
pub(crate) fn routes(socket: &Socket) -> io::Result<Vec<Ipv4Net>> {
    const MAIN: u8 = 254;
    let mut request = Request::new();
    request.message(GETROUTE, DUMP, &[INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let messages = socket.dump(&request)?;
    let destination = |message: &netlink::Message| {
        let (header, rest) = message.payload.split_at_checked(ROUTE_HEADER)?;
        (header[4] == MAIN).then_some(())?;
        let destination = netlink::attributes(rest).find(|(kind, _)| *kind == RTA_DST)?.1;
        Ipv4Net::new(ipv4(destination)?, header[1]).ok()
    };
    Ok(messages.iter().filter_map(destination).collect())
}

/// The number of a link in the calling thread's namespace; None: there is none of that name.
pub(crate) fn index(name: &str) -> io::Result<Option<u32>> {
    let socket = ioctl_socket()?;
    match rustix::net::netdevice::name_to_index(&socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn ioctl_socket() -> io::Result<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    Ok(rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

/// `struct ifinfomsg`: family, type, number, flags, which flags change.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn one(socket: &Socket, request: &Request) -> io::Result<()> {
    let mut refused: Vec<Refused> = socket.acknowledged(request)?;
    match refused.is_empty() {
        true => Ok(()),
        false => Err(refused.swap_remove(0).source),
    }
}
